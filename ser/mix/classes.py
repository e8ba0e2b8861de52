"""Keep the classes that all corpora of a mix have, and name what is dropped."""

from collections import Counter
from collections.abc import Mapping, Sequence

from ser.data.manifest import Manifest, Utterance
from ser.errors import DataError
from ser.mix.labels import Counts, quadrants_shared


def count_classes(manifests: Mapping[str, Manifest], fields: Sequence[str]) -> Counts:
    """Count the utterances of each class of each corpus.

    Args:
        manifests: Manifest of each corpus, labelled.
        fields: Label fields that make up a class.
    """
    return {
        name: Counter(class_of(utterance, fields) for utterance in manifest)
        for name, manifest in manifests.items()
    }


def class_of(utterance: Utterance, fields: Sequence[str]) -> str:
    """Return the class of an utterance, as messages name it: `anger`, or `valence=0, activation=1`."""
    if len(fields) == 1:
        return str(utterance.labels.get(fields[0], ""))
    return ", ".join(f"{field}={utterance.labels.get(field, '')}" for field in fields)


def shared_classes(counts: Counts) -> set[str]:
    """Return the classes that all corpora have.

    Raises:
        DataError: There are fewer than two; the message lists the classes of each corpus.
    """
    shared = set.intersection(*({*own} for own in counts.values()))
    if len(shared) > 1:
        return shared
    listed = "".join(f"\n  {name}: {', '.join(sorted(own))}" for name, own in counts.items())
    found = f"only the class {shared.pop()!r}" if shared else "no class"
    quadrants = "label_map=quadrant target=quadrant, " if quadrants_shared(counts) else ""
    raise DataError(
        f"data.corpora: the corpora have {found} in common:{listed}\n"
        f"Translate their labels to common ones: {quadrants}or by a map of a corpus, "
        f"data.settings.{[*counts][-1]}.label_map=FILE. Or keep all: data.labels=all"
    )


def describe_dropped(counts: Counts, shared: set[str]) -> list[str]:
    """Describe the classes that are dropped, a line for each corpus that has some."""
    lines = []
    for name, own in counts.items():
        gone = {label: count for label, count in own.items() if label not in shared}
        if gone:
            listed = ", ".join(f"{count} {label}" for label, count in sorted(gone.items()))
            lines.append(
                f"{name}: {sum(gone.values())} of {own.total()} utterances are dropped, as not all corpora have "
                f"their classes: {listed}."
            )
    return lines


def describe_lone_classes(counts: Counts) -> list[str]:
    """Describe the classes that some corpora lack, where all classes are kept."""
    names = sorted({label for own in counts.values() for label in own})
    lines = []
    for label in names:
        lacking = [name for name, own in counts.items() if label not in own]
        if lacking:
            lines.append(
                f"{label}: not in {', '.join(lacking)}, so a model can tell the corpora apart by it."
            )
    return lines
