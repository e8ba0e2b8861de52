"""Describe a corpus before a training: splits, classes, speakers, leaks, and faults of its recordings.

ser describe data=ravdess data.root=DIR
ser describe data=ravdess data.root=DIR output=table.csv
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from ser.config.main import main
from ser.config.paths import literal_path
from ser.config.settings import Describe, Train
from ser.data.manifest import Manifest, Utterance
from ser.errors import ConfigError, counted, setting, shell_word
from ser.files import short
from ser.runs import environment

_PICTURED = 5
_OWN = ("output", "overwrite", "audit")
"""Settings that a training does not have."""
_ALSO_OF_TABLES = ("data.on_error", "data.cache_dir", "data.validation", "data.declared_leaks")
"""Settings of a corpus that hold for the table that was written of it, too."""


@main("describe", help=__doc__)
def describe(settings: Describe) -> None:
    """Print splits, classes by speaker, labels, leaks and faults of recordings; draw some with their features."""
    refuse_output(settings)
    from rich.console import Console  # torch and all that: first the config must be right

    from ser.data import summary
    from ser.training import setup

    splits = setup.read_splits(settings)
    data = setup.make_data(settings, splits)
    fields = data.target.label_names
    console = Console()
    console.print(summary.table(data.summaries()))
    for name, manifest in splits.manifests.items():
        print(
            f"{name}, by speaker",
            *by_speaker(manifest, fields if data.target.class_names else ()),
            sep="\n  ",
        )
    for label in splits.facts.labels:
        of = "" if label.corpus is None else f" of {label.corpus}"
        print(f"label {label.raw}{of}: {counted(label.utterances, 'utterance')}, {label.mapped or 'dropped'}")
    for line in (*splits.facts.remarks, *splits.facts.stamps):
        console.print(line, soft_wrap=True, highlight=False)
    found = read_manifest(settings)
    if found is None:
        return
    whole, declared, corpus = found
    folder = Path(HydraConfig.get().runtime.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if settings.audit:
        split_of = {each.id: name for name, own in splits.manifests.items() for each in own}
        labels = class_labels(whole, fields if data.target.class_names else ())
        for line in check(whole, labels, split_of, folder):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
    labels = class_labels(whole, fields if data.target.class_names else ())
    for line in advise(corpus, whole, labels):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    draw(splits.manifests["train"], settings.features, folder / "recordings.png", fields=fields)
    print(f"Recordings and their features: {short(folder / 'recordings.png')}")
    if settings.output is not None:
        names = (settings.data.get("label") or "emotion",) if len(fields) < 2 else fields
        print(write_table(Path(settings.output), whole, names, declared=declared))


def refuse_output(settings: Describe) -> None:
    """Refuse to replace a table, or to write one that cannot be read back.

    Raises:
        ConfigError: The file exists, or is no .csv.
    """
    if settings.output is None:
        return
    path = Path(settings.output)
    if path.suffix.lower() != ".csv":
        raise ConfigError(f"{setting('output', settings.output)}: is no .csv. Set output=table.csv")
    if path.is_dir():
        raise ConfigError(f"{setting('output', settings.output)}: is a folder. Give another file.")
    if not path.parent.is_dir():
        raise ConfigError(
            f"{setting('output', settings.output)}: its folder does not exist. Make it, or give another file."
        )
    if path.exists() and not settings.overwrite:
        raise ConfigError(
            f"{setting('output', settings.output)}: exists already. Add overwrite=true, or give another file."
        )


def read_manifest(settings: Train) -> tuple[Manifest, Sequence[str], Any] | None:
    """Return the utterances with their labels after the label map, the leaks that are declared, and the corpus.

    None if there are no recordings.

    Raises:
        ConfigError: A table is to be written, but there are no recordings.
    """
    from ser.training import setup

    corpus = setup.build_corpus(settings, setup.example_target(settings.target))
    declared = getattr(corpus, "declared_leaks", ())
    logging.disable(logging.WARNING)  # the splits were read from it, with the same warnings
    try:
        if hasattr(corpus, "labelled"):
            manifest: Manifest = corpus.labelled()[0]
            return manifest, declared, corpus
        if hasattr(corpus, "utterances"):
            recordings: Manifest = corpus.utterances()
            return recordings, declared, corpus
    finally:
        logging.disable(logging.NOTSET)
    if isinstance(settings, Describe) and settings.output is not None:
        raise ConfigError(
            f"{setting('output', settings.output)}: these data are files of features, not a table of recordings. "
            "Leave it out."
        )
    return None


def class_labels(manifest: Manifest, fields: Sequence[str]) -> list[str | None]:
    """Return the class of each utterance, for display; None where it has none."""
    return [
        "/".join(str(each.labels[field]) for field in fields)
        if fields and all(field in each.labels for field in fields)
        else None
        for each in manifest
    ]


def check(
    manifest: Manifest, labels: Sequence[str | None], split_of: Mapping[str, str], folder: Path
) -> Iterator[str]:
    """Yield lines about faults, duplicates and confounded labels; write them to a folder, too.

    Args:
        manifest: Manifest of N utterances.
        labels: Class of each of them [N].
        split_of: Split of each utterance, by id.
        folder: Folder for audit.csv and audit.json.
    """
    from ser.audit import confounding, report
    from ser.audit.recordings import audit
    from ser.runs.tables import print_table

    found = audit(manifest, labels)
    associations = confounding.associate_all(manifest, labels)
    report.write_audit(folder, found, associations)
    minutes = sum(each.measures.seconds for each in found.recordings if each.measures is not None) / 60
    print_table(f"Audio: {len(manifest)} recordings, {minutes:.1f} minutes", *report.measure_table(found))
    yield from report.describe_faults(found)
    yield from report.describe_pairs(found, split_of)
    yield from map(str, associations)
    yield f"Measures and faults of each recording: {short(folder / 'audit.csv')}"


def advise(corpus: Any, manifest: Manifest, labels: Sequence[str | None]) -> list[str]:
    """Return a line with the command for few speakers, if there are few.

    Args:
        corpus: The corpus.
        manifest: Its N utterances.
        labels: Class of each of them [N].
    """
    from ser.audit.advice import advise_few_speakers

    parts = corpus.parts(manifest) if hasattr(corpus, "parts") else [manifest]
    words = advise_few_speakers(parts, labels, published=getattr(corpus, "published_name", None))
    if words is None:
        return []
    typed = [word.lstrip("+") for word in environment.typed_command()[1:]]
    kept = [
        shell_word(literal_path(word, is_sweep=False))
        for word in typed
        if environment.is_of_run(word)
        and word.partition("=")[0] not in (*_OWN, "split", "experiment", "model", "pooling", "head.normalize")
        and not word.startswith("data.split.")
    ]
    command = " ".join([*environment.program_words("train"), "-m", *words, *kept])
    return [f"Few speakers: one split says little. Test on all of them with {command}"]


def write_table(
    path: Path, manifest: Manifest, labels: Sequence[str], *, declared: Sequence[str] = ()
) -> str:
    """Write the utterances as a table, and return the command that reads it.

    Args:
        path: The table.
        manifest: The utterances.
        labels: Label fields of the target.
        declared: Leaks that the corpus declares.
    """
    from ser.data.manifest_io import write_manifest

    files = [os.path.abspath(each.path) for each in manifest]  # noqa: PTH100  links are not resolved
    here = os.path.abspath(path.parent)  # noqa: PTH100
    shared = os.path.commonpath([here, *files])
    root = None if shared == here else Path(os.path.commonpath([os.path.dirname(file) for file in files]))  # noqa: PTH120
    write_manifest(path, manifest, root=root)
    words = [setting("data.path", path), *([] if root is None else [setting("data.root", root)])]
    if len(labels) > 1:
        words.append(setting("data.fields", [*labels]))
    elif labels[0] != "emotion":
        words.append(setting("data.label", labels[0]))
    kept = kept_words(environment.typed_command()[1:])
    if declared and not any(word.startswith("data.declared_leaks=") for word in kept):
        words.append(setting("data.declared_leaks", [*declared]))
    words += map(shell_word, kept)
    return f"Train on the table: {' '.join([*environment.program_words('train'), 'data=manifest', *words])}"


def kept_words(typed: Sequence[str]) -> list[str]:
    """Return the typed settings that hold for the written table, too: not those of the corpus it was made from."""
    kept = []
    for word in typed:
        key = word.partition("=")[0].lstrip("+~")
        is_kept = key in _ALSO_OF_TABLES or key.startswith("data.split.")
        is_of_corpus = key in ("data", "label_map", *_OWN) or key.startswith("data.")
        if environment.is_of_run(word) and (is_kept or not is_of_corpus):
            kept.append(word)
    return kept


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
