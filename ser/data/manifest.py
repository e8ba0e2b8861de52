"""Manifest: a table of utterances with audio file, speaker, text and labels.

`ser.data.manifest_io` reads one from a table or a folder, `ser.corpora.published` from the file names of a published
corpus.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ser.errors import DataError
from ser.names import normalize_name

Label = str | int | float


@dataclass(frozen=True)
class Utterance:
    """One segment of speech with its metadata; names have the form of `normalize_name`.

    Args:
        id: Id, unique in its manifest and kept verbatim.
        path: Audio file, absolute or relative to the working directory.
        start: Start in the file, in seconds.
        end: End in the file, in seconds; None for the end of the file.
        speaker: Speaker.
        group: Name of what must stay in one split, such as a video or a dialogue.
        split: Predefined split: "train", "validation" or "test".
        labels: Label of each label field, such as {"emotion": "anger"}.
        text: Words spoken, or the corpus's code for them: equal texts are equal sentences.
        language: ISO 639 code.
        corpus: Name of the corpus, where there are several.
        turns: Start and end in seconds of each turn of the subject, where others speak, too; None if nobody else does.
    """

    id: str
    path: Path
    start: float = 0.0
    end: float | None = None
    speaker: str | None = None
    group: str | None = None
    split: str | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)
    text: str | None = None
    language: str | None = None
    corpus: str | None = None
    turns: Sequence[tuple[float, float]] | None = None

    def __post_init__(self) -> None:
        """Normalise names, so that equal-looking names are equal, whatever reader made them."""
        for name in ("speaker", "group", "split", "language", "corpus"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, normalize_name(str(value)) or None)
        labels = {normalize_name(name): _normalize_label(label) for name, label in self.labels.items()}
        object.__setattr__(
            self, "labels", {name: label for name, label in labels.items() if label not in ("", None)}
        )


def _normalize_label(label: Label) -> Label:
    return normalize_name(label) if isinstance(label, str) else label


@dataclass(frozen=True)
class Manifest:
    """Utterances in a fixed order.

    Args:
        utterances: Utterances, N, with unique ids.
        source: File or folder they come from, as the user gave it; for messages.
        speaker_remedy: How to name missing speakers, as the beginning of a sentence; None to fill in a column.
    """

    utterances: tuple[Utterance, ...]
    source: str
    speaker_remedy: str | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def select(self, indices: Iterable[int]) -> "Manifest":
        """Select the utterances at these indices, in this order."""
        return replace(self, utterances=tuple(self.utterances[index] for index in indices))


def refuse_duplicates(manifest: Manifest, places: Sequence[str], *, remedy: str) -> None:
    """Check that ids are unique after normalisation.

    Args:
        manifest: Manifest of N utterances.
        places: Where each of them was found, for the message.
        remedy: How to fix it, as a sentence.

    Raises:
        DataError: An id occurs twice; the message names the first such id and its first two places.
    """
    first: dict[str, str] = {}
    for utterance, place in zip(manifest, places, strict=True):
        name = normalize_name(utterance.id)
        if name in first:
            raise DataError(
                f"{manifest.source}: id {utterance.id!r} occurs twice: {first[name]} and {place}. {remedy}"
            )
        first[name] = place


def speaker_remedy(manifest: Manifest, columns: str) -> str:
    """Return how to add missing speakers, as the beginning of a sentence."""
    return manifest.speaker_remedy or f"Fill in {columns}"


def first_ten(items: Sequence[object]) -> str:
    """Format the first ten items, one per line, and the number of the others."""
    lines = "".join(f"\n  {item}" for item in items[:10])
    return lines + (f"\n  ... and {len(items) - 10} more" if len(items) > 10 else "")
