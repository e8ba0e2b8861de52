"""Find the recordings to predict: files, folders, or manifests; cut long ones into windows."""

import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ser.audio.find import find_audio, recording_name
from ser.audio.reader import AUDIO_SUFFIXES, OVERSHOOT_S, is_audio, probe
from ser.config.settings import Predict
from ser.corpora.published import read_corpus
from ser.data.manifest import Manifest, Utterance, refuse_duplicates
from ser.data.manifest_io import read_manifest
from ser.errors import ConfigError, DataError, SerError, setting
from ser.files import is_table

_ARRAY = ".npy"
_SAME = 1e-3  # windows that begin within this share of a hop are the same
_MOST_WINDOWS = 1_000_000

_log = logging.getLogger(__name__)


def are_recordings(path: Path) -> bool:
    """Return whether a path is recordings or waveforms; a file of features may have any other name and content."""
    suffix = path.suffix.lower()
    is_known = path.is_dir() or is_table(path) or suffix in (*AUDIO_SUFFIXES, _ARRAY)
    return is_known or (suffix != ".json" and is_audio(path))


def is_array(path: Path) -> bool:
    """Return whether a path names an array of waveforms."""
    return path.suffix.lower() == _ARRAY


Kind = Literal["stream", "recordings", "clips", "frames"]

_KINDS: dict[Kind, str] = {
    "stream": "a stream",
    "recordings": "recordings",
    "clips": "an array of clips",
    "frames": "a file of features",
}
_READ_FOR: dict[str, Kind] = {
    **dict.fromkeys(
        (
            "root",
            "corpus",
            "words",
            "transcript",
            "turns",
            "language",
            "align",
            "window_s",
            "hop_s",
            "min_probability",
        ),
        "recordings",
    ),
    "sample_rate": "stream",
}
"""Kind of input for which a setting of `ser predict` is used; other kinds need null."""


def kind_of(given: str | Sequence[str], *, stream: bool) -> Kind:
    """Return the kind of input of `ser predict`.

    Args:
        given: Setting `input`.
        stream: Setting `stream`.
    """
    if stream:
        return "stream"
    if not isinstance(given, str):
        return "recordings"
    if is_array(Path(given)):
        return "clips"
    return "recordings" if are_recordings(Path(given)) else "frames"


def refuse_unread(settings: Predict, kind: Kind) -> None:
    """Refuse settings of `ser predict` that would not be used.

    Raises:
        ConfigError: A setting would not be used; the message names the first one.
    """
    for name, read_for in _READ_FOR.items():
        value = getattr(settings, name)
        if value is not None and kind != read_for:
            raise ConfigError(
                f"{setting(name, value)}: is for {_KINDS[read_for]}, but the input is {_KINDS[kind]}. "
                "Leave it out."
            )
    if settings.calibrate and kind == "stream":
        raise ConfigError(
            "calibrate=true: the temperature is that of whole recordings, but stream=true decides at every frame. "
            "Leave one of them out."
        )
    if settings.min_probability is not None and settings.min_probability > 1:
        raise ConfigError(
            f"min_probability={settings.min_probability:g}: expected a probability, 0 to 1. Set min_probability=0.6"
        )


def refuse_unfit(settings: Predict, kind: Kind, model: Path, *, over_time: bool) -> None:
    """Refuse settings of `ser predict` that do not fit the model.

    Args:
        settings: Settings of the command.
        kind: Kind of the input.
        model: Checkpoint, for messages.
        over_time: Whether the model predicts values over time.

    Raises:
        ConfigError: A setting is for other models; the message names the first one.
    """
    names = ("window_s", "hop_s") if over_time else ("words", "transcript", "turns", "language", "align")
    for name in names:
        if (value := getattr(settings, name)) is not None:
            what = (
                "predicts a value every 0.1 s of a whole recording"
                if over_time
                else "has no steps with words"
            )
            raise ConfigError(f"{setting(name, value)}: {model} {what}. Leave {name} out.")
    if over_time and kind in ("clips", "frames"):
        raise ConfigError(
            f"{setting('input', settings.input)}: is {_KINDS[kind]}, but {model} predicts recordings. Give a file of "
            "audio, a folder, or a manifest."
        )
    if over_time and settings.scores:
        raise ConfigError(
            f"scores=true: {model} predicts values, so there are no class probabilities. Leave it out."
        )


def is_single(path: Path) -> bool:
    """Return whether a path is one recording, and no folder or manifest."""
    return not path.is_dir() and not is_table(path)


@contextmanager
def predict_remedies(*, root: str = "root") -> Iterator[None]:
    """Replace settings `data.*`, and those of `ser align`, in error messages by those of `ser predict`.

    Args:
        root: Setting for `data.root`: `input` where the folder is that of a published corpus.
    """
    settings = {"root": root, "cache_dir": "cache_dir", "on_error": "on_error"}
    try:
        yield
    except SerError as error:
        message = re.sub(r"\bdata\.(root|cache_dir|on_error)\b", lambda match: settings[match[1]], str(error))
        message = re.sub(r"\bmethod=", "align=", message)  # of an alignment
        raise type(error)(message) from error


def find_recordings(
    paths: Sequence[Path], root: str | Path | None = None, corpus: str | None = None
) -> Manifest:
    """Find all recordings of some paths; ids in a folder are paths below it, without suffix.

    If ids of several paths are equal, each id begins with its path.

    Args:
        paths: Audio files, folders that are searched at any depth, and manifests.
        root: Folder that the paths in manifests are relative to; None for that of each manifest.
        corpus: Name of a published corpus in the only path, whose file names contain the labels.

    Raises:
        ConfigError: A root is given without a manifest, a corpus without a folder, or one of several paths is not a
            recording.
        DataError: There is no recording, or an id occurs twice.
    """
    if root is not None and not any(is_table(path) for path in paths):
        raise ConfigError(
            f"root={root}: is the folder that the paths in a manifest are relative to, but no input is one. "
            "Leave root out."
        )
    if corpus is not None:
        if len(paths) > 1 or not paths[0].is_dir():
            raise ConfigError(f"corpus={corpus}: needs the folder of the corpus. Give it as input=DIR.")
        return read_corpus(corpus, paths[0], label=None)
    if len(paths) == 1:
        return _find_path(paths[0], root)
    for path in paths:
        if is_array(path) or not are_recordings(path):
            raise ConfigError(
                f"input: {path} is no recording, folder or manifest, and a list may hold nothing else. Give it alone, "
                "in a command of its own."
            )
    parts = [_find_path(path, root) for path in paths]
    source = ", ".join(map(str, paths))
    ids = [utterance.id for part in parts for utterance in part]
    if len({*ids}) < len(ids):
        parts = [_prefix_ids(part, path) for part, path in zip(parts, paths, strict=True)]
    manifest = Manifest(tuple(utterance for part in parts for utterance in part), source)
    refuse_duplicates(
        manifest, [str(utterance.path) for utterance in manifest], remedy="Give each recording once."
    )
    return manifest


def _find_path(path: Path, root: str | Path | None) -> Manifest:
    if is_table(path):
        return read_manifest(path, root=root)
    if path.is_file():
        return Manifest((Utterance(recording_name(Path(path.name)), path),), str(path))
    files = find_audio(path)
    if not files:
        raise DataError(f"{path}: holds no audio that can be read. Give another folder or a file.")
    places = [file.relative_to(path) for file in files]
    manifest = Manifest(
        tuple(Utterance(recording_name(place), file) for place, file in zip(places, files, strict=True)),
        str(path),
    )
    refuse_duplicates(manifest, [str(place) for place in places], remedy="Rename or remove one of them.")
    return manifest


def _prefix_ids(manifest: Manifest, path: Path) -> Manifest:
    """Prefix the ids of utterances with the path in which they were found."""
    if path.is_file() and not is_table(path):
        return Manifest((replace(manifest.utterances[0], id=recording_name(path)),), manifest.source)
    named = tuple(replace(utterance, id=f"{path.as_posix()}/{utterance.id}") for utterance in manifest)
    return Manifest(named, manifest.source)


def with_folder_labels(
    manifest: Manifest, folders: Sequence[Path], field: str, class_names: Sequence[str]
) -> Manifest:
    """Label recordings with the name of their subfolder, if any such folder is named like a class.

    Args:
        manifest: Recordings from `find_recordings`; existing labels are kept.
        folders: Paths that are folders.
        field: Label field.
        class_names: Class names of a model.
    """
    labelled = []
    for utterance in manifest:
        folder = next((folder for folder in folders if utterance.path.is_relative_to(folder)), None)
        below = () if folder is None else utterance.path.relative_to(folder).parts[:-1]
        labels = utterance.labels if field in utterance.labels or not below else {field: below[0]}
        labelled.append(replace(utterance, labels=labels))
    found = {str(u.labels[field]) for u in labelled if field in u.labels}
    if not found or not found.isdisjoint(class_names):
        return Manifest(tuple(labelled), manifest.source)
    if any(field in utterance.labels for utterance in manifest):
        return manifest
    _log.info(
        "%s: not scored, as none of its folders (%s) is a class of the model (%s)",
        *(manifest.source, ", ".join(sorted(found)), ", ".join(class_names)),
    )
    return manifest


def with_ends(manifest: Manifest) -> Manifest:
    """Set the end of utterances to that of the file, if it is missing or slightly beyond the file.

    Only headers are read. If that fails, or if an end is far beyond the file, the utterance stays unchanged: errors
    of all recordings are reported together when they are read.
    """
    durations = {path: _duration(path) for path in dict.fromkeys(u.path for u in manifest)}
    return Manifest(tuple(_with_end(u, durations[u.path]) for u in manifest), manifest.source)


def _with_end(utterance: Utterance, duration: float | None) -> Utterance:
    if duration is None:
        return utterance
    if utterance.end is None or duration < utterance.end <= duration + OVERSHOOT_S:
        return replace(utterance, end=duration)
    return utterance


def _duration(path: Path) -> float | None:
    try:
        return probe(path).duration_s
    except DataError:
        return None


def cut_windows(manifest: Manifest, window_s: float | None, hop_s: float | None) -> Manifest:
    """Cut utterances that are longer than a window into windows; the last one ends where its utterance ends.

    Args:
        manifest: Manifest with ends; an utterance without an end stays whole.
        window_s: Length of a window in seconds; None for no windows.
        hop_s: Distance from the start of one window to the start of the next, in seconds; None for `window_s`.

    Raises:
        ConfigError: A length is not positive, the windows would leave gaps, or there is a hop without a window.
    """
    if window_s is None:
        if hop_s is not None:
            raise ConfigError(
                f"hop_s={hop_s}: is from one window to the next, but nothing is cut into windows. Set window_s, too, "
                "or leave hop_s out."
            )
        return manifest
    hop_s = window_s if hop_s is None else hop_s
    if not 0 < hop_s <= window_s:
        raise ConfigError(
            f"window_s={window_s}, hop_s={hop_s}: windows must be longer than 0 s and leave no gap between them. "
            "Choose 0 < hop_s <= window_s."
        )
    total = sum(len(_starts(utterance, window_s, hop_s)) for utterance in manifest)
    if total > _MOST_WINDOWS:
        raise ConfigError(
            f"window_s={window_s}, hop_s={hop_s}: makes {total} windows of {manifest.source}, of which {_MOST_WINDOWS} "
            "are allowed. Set a longer hop_s, or give fewer recordings at a time."
        )
    cut = (window for utterance in manifest for window in _cut(utterance, window_s, hop_s))
    return Manifest(tuple(cut), manifest.source)


def _starts(utterance: Utterance, window_s: float, hop_s: float) -> range:
    """Number the windows of an utterance, except for the last one; none if it stays whole.

    An utterance that ends beyond its file stays whole, so that reading it reports the error.
    """
    span = 0.0 if utterance.end is None else utterance.end - window_s - utterance.start
    if span <= 0:
        return range(0)
    duration = _duration(utterance.path)
    if duration is not None and utterance.end is not None and utterance.end > duration + OVERSHOOT_S:
        return range(0)
    return range(math.ceil(span / hop_s - _SAME))


def _cut(utterance: Utterance, window_s: float, hop_s: float) -> Iterator[Utterance]:
    numbers = _starts(utterance, window_s, hop_s)
    if not numbers or utterance.end is None:
        yield utterance
        return
    for number in numbers:
        start = utterance.start + number * hop_s
        yield replace(utterance, id=f"{utterance.id}#{start:.3f}", start=start, end=start + window_s)
    last = utterance.end - window_s
    yield replace(utterance, id=f"{utterance.id}#{last:.3f}", start=last)
