"""Read and measure the recordings of a manifest in several threads, and flag what is unusual among them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from ser.audio.reader import probe, read_audio
from ser.audit.duplicates import COMPARED_RATE, Fingerprint, Pair, find_duplicates
from ser.audit.measures import Measures, measure
from ser.data.manifest import Manifest, Utterance
from ser.errors import DataError

_MOST_THREADS = 8
_DEVIATIONS, _TIMES = 5.0, 2.0
_LEAST_DEVIATION = 0.05  # of the logarithm of lengths, where most are equal


@dataclass(frozen=True)
class Audited:
    """A recording and what was found.

    Args:
        utterance: Utterance of the manifest.
        label: Its label, for display; None without.
        measures: Measures; None if it cannot be read.
        error: Why it cannot be read; None if it can.
        flags: Names of faults.
    """

    utterance: Utterance
    label: str | None
    measures: Measures | None
    error: str | None
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """Recordings of a manifest with their faults.

    Args:
        recordings: Recordings, in the order of the manifest.
        pairs: Equal and nearly equal recordings, by index.
    """

    recordings: Sequence[Audited]
    pairs: Sequence[Pair]


def audit(manifest: Manifest, labels: Sequence[str | None]) -> Audit:
    """Read and measure all recordings, and compare them with each other.

    Args:
        manifest: Manifest of N utterances.
        labels: Label of each of them [N], for display.
    """
    threads = min(torch.get_num_threads(), _MOST_THREADS)
    torch.set_num_threads(1)  # whole recordings in parallel are faster than parts of one
    try:
        with ThreadPoolExecutor(threads) as pool:
            found = [*pool.map(_measure_or_error, manifest)]
        readable = [index for index, each in enumerate(found) if not isinstance(each, str)]
        fingerprints = [each[1] for each in found if not isinstance(each, str)]
        read = partial(_read_narrow, [manifest.utterances[index] for index in readable])
        pairs = [
            Pair(readable[pair.first], readable[pair.second], pair.similarity, is_exact=pair.is_exact)
            for pair in find_duplicates(fingerprints, read, threads=threads)
        ]
    finally:
        torch.set_num_threads(threads)
    flags: list[list[str]] = [["unreadable"] if isinstance(each, str) else each[0].flags() for each in found]
    lengths = np.array([each.seconds for each in fingerprints])
    for index, name in zip(readable, flag_lengths(lengths), strict=True):
        flags[index] += [name] * bool(name)
    for pair in pairs:
        flags[pair.second].append("duplicate" if pair.is_exact else "near_duplicate")
    return Audit(
        [
            Audited(
                utterance,
                label,
                None if isinstance(each, str) else each[0],
                each if isinstance(each, str) else None,
                tuple(dict.fromkeys(own)),
            )
            for utterance, label, each, own in zip(manifest, labels, found, flags, strict=True)
        ],
        pairs,
    )


def flag_lengths(seconds: np.ndarray) -> list[str]:
    """Return for each length in s [N] `short`, `long`, or an empty text.

    A length is unusual if its logarithm lies 5 standard deviations, estimated from the median deviation, from the
    median, and it is half or twice the median.
    """
    if not len(seconds):
        return []
    logs = np.log(seconds) - np.log(np.median(seconds))
    deviation = max(1.4826 * float(np.median(np.abs(logs))), _LEAST_DEVIATION)
    limit = max(_DEVIATIONS * deviation, np.log(_TIMES))
    return ["short" if log < -limit else "long" if log > limit else "" for log in logs.tolist()]


def _measure_or_error(utterance: Utterance) -> tuple[Measures, Fingerprint] | str:
    try:
        rate = probe(utterance.path).sample_rate
        return measure(read_audio(utterance.path, rate, start=utterance.start, end=utterance.end), rate)
    except DataError as error:
        return str(error)


def _read_narrow(utterances: Sequence[Utterance], index: int) -> np.ndarray:
    each = utterances[index]
    return read_audio(each.path, COMPARED_RATE, start=each.start, end=each.end)
