"""Compute the features of a manifest's recordings once, and keep them in shards of a few hundred utterances.

Recordings that are missing or damaged are noted, too, so that a later start reports the same without opening a file.
One that cannot be read for its permissions or the disk is not: a later start, or another user, tries it again.
"""

import json
import logging
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

from ser.audio.reader import AudioInfo, decoder_versions, probe, read_audio
from ser.batch import Padded
from ser.data.cache import Row, Shard, ShardCache, explain_errors, file_state
from ser.data.manifest import Manifest, Utterance, first_ten
from ser.data.store import Store
from ser.data.store_io import join_stores
from ser.errors import DataError, FileAccessError
from ser.features.steps import split_roles
from ser.files import allow_open_files
from ser.shards.cuts import cut
from ser.sources import digest_of_code

if TYPE_CHECKING:
    from ser.features.extractors import Extractor

OnError = Literal["raise", "skip"]
SKIPPING = ", or set data.on_error=skip"
"""Part of a message: the alternative to fixing recordings that cannot be used."""

_MOST_THREADS = 8  # each thread may hold a waveform of hours
_BAR_FROM_UTTERANCES = 200  # fewer utterances are read in about a second

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtractedFeatures:
    """Features of the recordings of a manifest that could be read.

    Args:
        store: Features of N utterances in the manifest's order, without labels, as labels may change and features do
            not.
        kept: Indices of these utterances in the manifest [N] int64.
        skipped: Id and reason of each utterance that could not be read.
        seconds: Length of each of the N recordings in s [N].
    """

    store: Store
    kept: np.ndarray
    skipped: list[tuple[str, str]]
    seconds: np.ndarray


def read_features(
    manifest: Manifest,
    extractor: "Extractor",
    *,
    cache_dir: str | Path,
    settings: str,
    on_error: OnError = "raise",
) -> ExtractedFeatures:
    """Return the features of all recordings; if they are cached, no file is opened.

    Args:
        manifest: Ids, files and segments of the utterances.
        extractor: Feature extractor.
        cache_dir: Folder of the cache; created if it does not exist.
        settings: All settings of the extractor, as text.
        on_error: What to do if a recording is missing, damaged or too short: "raise" an error, or "skip" it with a
            warning.

    Raises:
        DataError: A recording cannot be read, no recording can, or the cache cannot be written.
    """
    shards = _ManifestShards(manifest, extractor, settings).read(Path(cache_dir))
    remarks = [remark for shard in shards for remark in shard.remarks]
    unusable = [place for place, remark in enumerate(remarks) if isinstance(remark, str)]
    skipped = [(manifest.utterances[place].id, remarks[place]) for place in unusable]
    if len(skipped) == len(manifest) or (skipped and on_error == "raise"):
        raise _unusable_error(manifest, skipped)
    if skipped:
        _log.warning("%s", _summarize_skipped(manifest, skipped, "are skipped because they cannot be used"))
    kept = np.delete(np.arange(len(manifest)), unusable)
    ids = [manifest.utterances[place].id for place in kept.tolist()]
    seconds, is_silent = zip(*(remarks[place] for place in kept.tolist()), strict=True)
    if any(is_silent):
        first = ids[is_silent.index(True)]
        _log.warning(
            "%s: digital silence in %d of %d recordings, first %r",
            *(manifest.source, sum(is_silent), len(ids), first),
        )
    store = join_stores([shard.store for shard in shards if shard.store is not None], ids)
    return ExtractedFeatures(store, kept, skipped, np.array(seconds))


class _ManifestShards:
    """Shards of the features of a manifest.

    Args:
        manifest: Utterances.
        extractor: Feature extractor.
        settings: All settings of the extractor, as text.
    """

    def __init__(self, manifest: Manifest, extractor: "Extractor", settings: str) -> None:
        self._utterances = manifest.utterances
        self._source = manifest.source
        self._reader = _FeatureReader(extractor)
        modules = {type(part).__module__ for part in extractor.modules()}
        code = digest_of_code(__name__, *(name for name in modules if not name.startswith("torch.")))
        self._kind = sha256(json.dumps([code, decoder_versions(), settings]).encode()).hexdigest()

    def read(self, cache_dir: Path) -> list[Shard]:
        """Return all shards; those that the cache lacks are computed.

        Raises:
            DataError: A file changed while it was read, or the cache cannot be written.
        """
        paths = _absolute_paths(self._utterances)
        shares = Counter(paths)
        states = {path: file_state(path) for path in shares}
        sizes = [(states[path] or [0])[0] / shares[path] for path in paths]
        digests = [
            self._digest(utterance, path, states[path])
            for utterance, path in zip(self._utterances, paths, strict=True)
        ]
        places = cut(digests, sizes)
        parts = [digests[part.start : part.stop] for part in places]
        allow_open_files(len(parts))
        with explain_errors(cache_dir):
            cache = ShardCache(cache_dir, self._kind)
            found = [cache.find(part) for part in parts]
            missing = sum(len(part) for part, shard in zip(parts, found, strict=True) if shard is None)
            with _bar(missing, self._source) as advance:
                shards = cache.fill(
                    parts,
                    found,
                    lambda index, rows: self._compute(places[index], parts[index], rows, advance),
                )
        if missing:
            self._reader.report(self._source)
        return shards

    def _digest(self, utterance: Utterance, path: str, state: list[int] | None) -> str:
        """Return the digest of everything that determines an utterance's features, of which the path is absolute."""
        content = [self._kind, path, utterance.start, utterance.end, utterance.turns, state]
        return sha256(repr(content).encode()).hexdigest()[:32]

    def _compute(
        self, part: range, digests: Sequence[str], rows: Sequence[int], advance: Callable[[], None]
    ) -> Iterator[Row]:
        """Yield the features of some utterances of a shard."""
        utterances = [self._utterances[part[row]] for row in rows]
        for result in self._reader.read(utterances):
            advance()
            if isinstance(result, DataError):
                yield Row(None, None, str(result), is_lasting=not isinstance(result, FileAccessError))
            else:
                yield Row(result.frames, result.speech, [result.seconds, result.is_silent])
        for utterance, path, row in zip(utterances, _absolute_paths(utterances), rows, strict=True):
            if self._digest(utterance, path, file_state(path)) != digests[row]:
                raise DataError(
                    f"{utterance.path}: was changed while it was read. Start again once it is complete."
                )


def _absolute_paths(utterances: Sequence[Utterance]) -> list[str]:
    """Return the absolute path of each utterance's file, in a fifth of the time that Path.absolute takes."""
    here = os.getcwd()  # noqa: PTH109
    return [os.path.join(here, utterance.path) for utterance in utterances]  # noqa: PTH118


class _Features(NamedTuple):
    """Features [T, F] of an utterance, speech mask [T], whether every sample is zero, and length in s."""

    frames: np.ndarray
    speech: np.ndarray | None
    is_silent: bool
    seconds: float


class _FeatureReader:
    """Read utterances in several threads; decoding, resampling and torch release the interpreter lock.

    Args:
        extractor: Feature extractor.
    """

    def __init__(self, extractor: "Extractor") -> None:
        self._extractor = extractor
        self._files: dict[Path, AudioInfo] = {}

    def read(self, utterances: Sequence[Utterance]) -> Iterator[_Features | DataError]:
        """Yield the features of each utterance, or the error, in order, holding only a few of them."""
        with _one_thread_per_operation() as threads, ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[_Features | DataError]] = deque()
            for utterance in utterances:
                waiting.append(pool.submit(self._extract_or_error, utterance))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def report(self, source: str) -> None:
        """Log how many files were resampled or mixed down to mono."""
        rate = self._extractor.sample_rate
        resampled = sum(info.sample_rate != rate for info in self._files.values())
        mixed = sum(info.channels > 1 for info in self._files.values())
        if resampled or mixed:
            _log.info(
                "%s: of %d files, resampled to %d Hz: %d, mixed down to mono: %d",
                *(source, len(self._files), rate, resampled, mixed),
            )

    def _extract_or_error(self, utterance: Utterance) -> _Features | DataError:
        try:
            return self._extract(utterance)
        except DataError as error:
            return error

    @torch.inference_mode()
    def _extract(self, utterance: Utterance) -> _Features:
        rate = self._extractor.sample_rate
        if utterance.path not in self._files:
            self._files[utterance.path] = probe(utterance.path)
        waveform = read_audio(utterance.path, rate, start=utterance.start, end=utterance.end)
        if utterance.turns is not None and self._extractor.num_roles > 1:
            roles = split_roles(torch.from_numpy(waveform), utterance.turns, rate)
            frames, speech = extract_features(roles.numpy(), self._extractor, str(utterance.path))
        else:
            frames, speech = extract_features(waveform, self._extractor, str(utterance.path))
        return _Features(frames, speech, not waveform.any(), round(len(waveform) / rate, 3))


@torch.inference_mode()
def extract_features(
    waveform: np.ndarray, extractor: "Extractor", name: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Compute features [T, F] of a waveform [samples] as they are stored, and whether each frame is speech, [T] bool.

    The mask is None if the extractor does not detect silence.

    Args:
        waveform: Waveform [samples], or a channel for each role [samples, roles]; float32, finite, at the extractor's
            sample rate.
        extractor: Feature extractor.
        name: Name of the waveform, for messages.

    Raises:
        DataError: The waveform is too short, or its features are not finite.
    """
    if len(waveform) < extractor.min_samples:
        rate = extractor.sample_rate
        raise DataError(
            f"{name}: {_milliseconds(len(waveform), rate)} are too short, one step of features "
            f"needs {_milliseconds(extractor.min_samples, rate)}. Leave the utterance out."
        )
    channels = torch.from_numpy(waveform).reshape(1, len(waveform), -1)
    padded = Padded(channels, torch.tensor([len(waveform)])).to(extractor.device)
    features, speech = extractor.with_speech(padded)
    frames = _stored(features.values[0].cpu().numpy(), extractor, name)
    return frames, None if speech is None else speech[0].cpu().numpy()


def _stored(frames: np.ndarray, extractor: "Extractor", name: str) -> np.ndarray:
    """Convert features [T, F] to the type in which they are stored, after checking that they are finite."""
    if not np.isfinite(frames).all():
        raise DataError(
            f"{name}: its features are not finite. Leave it out, or change the features' settings."
        )
    if not extractor.stores_half:
        return frames
    if np.abs(frames).max() > np.finfo(np.float16).max:
        raise DataError(f"{name}: its features exceed half precision. Train with features.precision=float32.")
    return frames.astype(np.float16)


@contextmanager
def _one_thread_per_operation() -> Iterator[int]:
    """Set torch to one thread per operation; yield the number of utterances to process in parallel.

    Whole utterances in parallel are faster than one operation in several threads, whose parts are too small. Besides,
    the result then does not depend on the number of threads, so equal recordings get equal features.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield min(threads, _MOST_THREADS)
    finally:
        torch.set_num_threads(threads)


def _unusable_error(manifest: Manifest, skipped: Sequence[tuple[str, str]]) -> DataError:
    listed = _summarize_skipped(manifest, skipped, "cannot be used")
    are_missing = any(": no such file. " in reason for _, reason in skipped)
    elsewhere = ", or give the folder that paths in a manifest are relative to with data.root=FOLDER"
    skipping = SKIPPING if len(skipped) < len(manifest) else ""  # else none would be left
    return DataError(f"{listed}\nFix or remove these{skipping}{elsewhere if are_missing else ''}.")


def _summarize_skipped(manifest: Manifest, skipped: Sequence[tuple[str, str]], what: str) -> str:
    reasons = [f"utterance {name!r}: {reason}" for name, reason in skipped]
    return f"{manifest.source}: {len(skipped)} of {len(manifest)} recordings {what}:{first_ten(reasons)}"


def _milliseconds(samples: int, sample_rate: int) -> str:
    return f"{1000 * samples / sample_rate:.1f} ms ({samples} samples at {sample_rate} Hz)"


@contextmanager
def _bar(utterances: int, source: str) -> Iterator[Callable[[], None]]:
    """Show a progress bar if there are many utterances and the output is a terminal; yield what advances it by one."""
    if utterances <= _BAR_FROM_UTTERANCES or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console  # imported here, because a start from the cache shows no bar
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(f"Reading {source}"), total=utterances)
        yield lambda: bar.advance(task)
