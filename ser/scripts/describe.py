"""Describe a corpus before a training.

ser describe data=ravdess data.root=DIR
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from ser.config.main import main
from ser.config.settings import Train
from ser.data.manifest import Manifest, Utterance

_PICTURED = 5


@main("train", help=__doc__)
def describe(settings: Train) -> None:
    """Print splits, classes by speaker, labels and leaks; draw some recordings with their features."""
    from rich.console import Console  # torch and all that: first the config must be right

    from ser.data import summary
    from ser.training import setup

    splits = setup.read_splits(settings)
    data = setup.make_data(settings, splits)
    console = Console()
    console.print(summary.table(data.summaries()))
    for name, manifest in splits.manifests.items():
        print(
            f"{name}, by speaker",
            *by_speaker(manifest, data.target.label_names if data.target.class_names else ()),
            sep="\n  ",
        )
    for label in splits.facts.labels:
        of = "" if label.corpus is None else f" of {label.corpus}"
        print(f"label {label.raw}{of}: {label.utterances} utterances, {label.mapped or 'dropped'}")
    for line in (*splits.facts.remarks, *splits.facts.stamps):
        console.print(line, soft_wrap=True, highlight=False)
    if splits.manifests:
        folder = Path(HydraConfig.get().runtime.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        draw(
            splits.manifests["train"],
            settings.features,
            folder / "recordings.png",
            fields=data.target.label_names,
        )
        print(f"Recordings and their features: {folder / 'recordings.png'}")


def by_speaker(manifest: Manifest, fields: tuple[str, ...]) -> Iterator[str]:
    """Return a line for each speaker: number of utterances, and of each class if there are classes."""
    counts: dict[str, Counter[str]] = {}
    for utterance in manifest:
        label = "/".join(str(utterance.labels.get(field, "no label")) for field in fields)
        counts.setdefault(utterance.speaker or "unknown", Counter())[label] += 1
    for speaker, classes in sorted(counts.items()):
        listed = ", ".join(f"{label} {count}" for label, count in sorted(classes.items()))
        yield f"{speaker}: {classes.total()} utterances{f' ({listed})' if fields else ''}"


def draw(
    manifest: Manifest, features: Mapping[str, Any], path: Path, *, fields: tuple[str, ...] = ()
) -> None:
    """Plot evenly spaced utterances: waveforms on a common y-axis, and their features.

    Args:
        manifest: of the utterances, one or more.
        features: spec of the features.
        path: of the picture.
        fields: of the labels that each is titled by.
    """
    import torch

    from ser.audio.reader import read_audio
    from ser.batch import Padded
    from ser.config.instantiate import build
    from ser.report import figures, sound_plots

    extractor = build(features, slot="features")
    chosen = manifest.utterances[:: max(1, len(manifest) // _PICTURED)][:_PICTURED]
    waveforms = {
        _title(u, fields): read_audio(u.path, extractor.sample_rate, start=u.start, end=u.end) for u in chosen
    }
    frames = [
        extractor(Padded.collate([torch.from_numpy(waveform)[:, None]])).values[0].numpy()
        for waveform in waveforms.values()
    ]
    settings = {"unit": extractor.unit(), "frequencies": extractor.band_frequencies()}
    figures.save(
        sound_plots.recordings(waveforms, frames, sample_rate=extractor.sample_rate, **settings), path
    )


def _title(utterance: Utterance, fields: tuple[str, ...]) -> str:
    """Return name, label and speaker; labels over time are not of an utterance."""
    known = [str(utterance.labels.get(field)) for field in fields] if utterance.labels else []
    speaker = "speaker unknown" if utterance.speaker is None else f"speaker {utterance.speaker}"
    return f"{utterance.id}: {', '.join([*['/'.join(known)] * bool(known), speaker])}"
