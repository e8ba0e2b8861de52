"""Recordings to predict: one file, a folder of them, or a manifest; long ones cut into windows."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ser.data.audio import probe
from ser.data.manifest import (
    AUDIO_SUFFIXES,
    Manifest,
    Utterance,
    find_files,
    read_manifest,
    refuse_duplicates,
)
from ser.errors import ConfigError, DataError

_TABLES, _ARRAY = (".csv", ".jsonl"), ".npy"
_SAME = 1e-3  # windows that begin within this share of a hop are one


def are_recordings(path: Path) -> bool:
    """Whether a path stands for recordings or waveforms, by its name; a file of features may have any other."""
    return path.is_dir() or path.suffix.lower() in (*AUDIO_SUFFIXES, *_TABLES, _ARRAY)


def is_array(path: Path) -> bool:
    """Whether a path stands for waveforms in one array, by its name."""
    return path.suffix.lower() == _ARRAY


def find_recordings(path: Path) -> Manifest:
    """All recordings that a path stands for; ids of a folder's are paths below it, without suffix.

    Args:
        path: an audio file, a folder that is searched at any depth, or a manifest.

    Raises:
        DataError: there is nothing of that kind, or an id occurs twice.
    """
    if path.suffix.lower() in _TABLES:
        return read_manifest(path)
    if path.is_file():
        return Manifest((Utterance(path.stem, path),), str(path))
    files = find_files(path, AUDIO_SUFFIXES)
    if not files:
        raise DataError(
            f"{path}: holds no audio ({', '.join(AUDIO_SUFFIXES)}). Give another folder or a file."
        )
    places = [file.relative_to(path) for file in files]
    found = (
        Utterance(place.with_suffix("").as_posix(), file) for place, file in zip(places, files, strict=True)
    )
    manifest = Manifest(tuple(found), str(path))
    refuse_duplicates(manifest, [str(place) for place in places], remedy="Rename or remove one of them.")
    return manifest


def with_ends(manifest: Manifest) -> Manifest:
    """The same utterances, with the end of the file where none is given; only headers are read.

    Where that cannot be, no end is given: what is wrong with a recording is said where recordings are read, of all of
    them at once.
    """
    utterances = tuple(u if u.end is not None else replace(u, end=_end(u.path)) for u in manifest)
    return Manifest(utterances, manifest.source)


def _end(path: Path) -> float | None:
    try:
        return probe(path).duration_s
    except DataError:
        return None


def windows(manifest: Manifest, window_s: float | None, hop_s: float | None) -> Manifest:
    """Cut what is longer than a window into windows; the last one ends where its utterance does.

    Args:
        manifest: with ends; what has none stays whole.
        window_s: length of a window, in seconds; None = everything stays whole.
        hop_s: from the start of one to the start of the next, in seconds; None = `window_s`.

    Raises:
        ConfigError: a length is not positive, the windows would leave gaps, or there is a hop without a window.
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
    cut = (window for utterance in manifest for window in _cut(utterance, window_s, hop_s))
    return Manifest(tuple(cut), manifest.source)


def _cut(utterance: Utterance, window_s: float, hop_s: float) -> Iterator[Utterance]:
    last = -math.inf if utterance.end is None else utterance.end - window_s
    if last <= utterance.start:
        yield utterance
        return
    for number in range(math.ceil((last - utterance.start) / hop_s - _SAME)):
        start = utterance.start + number * hop_s
        yield replace(utterance, id=f"{utterance.id}#{start:.3f}", start=start, end=start + window_s)
    yield replace(utterance, id=f"{utterance.id}#{last:.3f}", start=last)
