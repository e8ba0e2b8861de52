"""Find equal and nearly equal recordings: other gain, other encoding, slightly other ends.

Three steps, each for what the one before leaves. Coarse fingerprints, unit vectors, are compared with matrix products,
only between recordings of about the same length. Patterns of log-mel levels are compared at every shift. The waveforms
are read again and compared at every shift, too: two takes of a sentence, which may have almost the same pattern, never
have the same waveform. The thresholds were measured on RAVDESS and EmoDB, where each speaker says each sentence several
times: see docs/data_check.md.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

BANDS = 16
STEP_S = 0.032
"""Time of a step of a pattern."""
MOST_STEPS = 96  # of a pattern, about its centre of energy: 3 s, 1.5 kB
DEPTH_DB = 50.0  # what is quieter than this below the loudest band counts as silence
CANDIDATE = 0.55  # cosine of two coarse fingerprints
ALIKE = 0.75  # correlation of two patterns
EQUAL = 0.7  # correlation of two waveforms below 2 kHz
COMPARED_RATE = 4000
"""Sample rate in Hz at which waveforms are compared."""
LENGTH_S = 0.5  # copies differ in length by less
_MOST_CANDIDATES = 20  # of a recording
_BLOCK = 1024
_WORTH_REFINING = 0.4  # of a correlation at whole samples; between them, that of a copy rises from 0.58 to 1
_FINER = 4  # shifts of patterns are quarters of a step, 8 ms
_COARSE_BANDS = 8
_SLOWEST_HZ = 2.0  # slower changes, such as from silence to speech, are alike in many recordings


class Fingerprint(NamedTuple):
    """What recordings are compared by.

    Args:
        digest: Digest of the samples, equal for equal recordings.
        pattern: Levels of bands below the loudest one, [T, BANDS] uint8, in fifths of a dB.
        seconds: Length in s.
    """

    digest: bytes
    pattern: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Pair:
    """Two recordings that are alike.

    Args:
        first: Index of the earlier one.
        second: Index of the other.
        similarity: Correlation of their waveforms, 1 for equal recordings.
        is_exact: Whether all samples are equal.
    """

    first: int
    second: int
    similarity: float
    is_exact: bool


Read = Callable[[int], np.ndarray]
"""Function that reads the waveform of the recording with an index, at COMPARED_RATE."""


def find_duplicates(fingerprints: Sequence[Fingerprint], read: Read, *, threads: int = 1) -> list[Pair]:
    """Return pairs of equal recordings, each with the first one, then those of nearly equal ones.

    Args:
        fingerprints: Fingerprints of the recordings.
        read: Reads recordings again, if their patterns are alike.
        threads: Number of threads that compare waveforms.
    """
    first: dict[bytes, int] = {}
    exact = []
    for index, each in enumerate(fingerprints):
        earlier = first.setdefault(each.digest, index)
        if earlier != index:
            exact.append(Pair(earlier, index, 1.0, is_exact=True))
    unique = [index for index in first.values() if fingerprints[index].pattern.any()]
    alike = sorted(
        tuple(sorted((unique[one], unique[other])))
        for one, other in alike_pairs([fingerprints[index] for index in unique])
    )
    kept = lru_cache(maxsize=256)(read)  # pairs of a recording follow one another
    with ThreadPoolExecutor(threads) as pool:
        similarities = [*pool.map(lambda pair: compare_waveforms(*map(kept, pair)), alike)]
    near = [
        Pair(one, other, similarity, is_exact=False)
        for (one, other), similarity in zip(alike, similarities, strict=True)
        if similarity >= EQUAL
    ]
    return [*exact, *near]


def alike_pairs(fingerprints: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of indices whose patterns are alike."""
    if len(fingerprints) < 2:
        return
    order = np.argsort([each.seconds for each in fingerprints], kind="stable")
    ordered = [fingerprints[index] for index in order.tolist()]
    patterns = torch.cat([_centred_patterns(ordered[i : i + _BLOCK]) for i in range(0, len(ordered), _BLOCK)])
    seconds = np.array([each.seconds for each in ordered])
    coarse = torch.cat([coarse_vectors(part) for part in torch.split(patterns, _BLOCK)])
    for pairs in candidates(coarse, seconds):
        for part in torch.split(pairs, _BLOCK):
            one, other = part.T
            is_alike = correlate(patterns[one], patterns[other]) >= ALIKE
            for i, j in part[is_alike].tolist():
                yield int(order[i]), int(order[j])


def compare_waveforms(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest correlation of two waveforms [samples] over all shifts, where they overlap; of any sign."""
    size = 1 << (len(one) + len(other) - 1).bit_length()
    first, second = (torch.from_numpy(each).float() for each in (one, other))
    spectrum = torch.fft.rfft(first, size) * torch.fft.rfft(second, size).conj()
    products = torch.fft.irfft(spectrum, size).abs()
    place = int(products.argmax())
    shift = place - size * (place > size // 2)
    first, second = first[max(0, shift) :], second[max(0, -shift) :]
    length = min(len(first), len(second))
    norms = (first[:length].norm() * second[:length].norm()).clamp_min(1e-9)
    if products[place] < _WORTH_REFINING * norms:
        return float(products[place] / norms)
    between = _FINER * torch.fft.irfft(spectrum, _FINER * size).abs()
    return float(between.amax() / norms)


def candidates(coarse: Tensor, seconds: np.ndarray) -> Iterator[Tensor]:
    """Yield pairs [P, 2] of similar unit vectors [N, D] whose lengths in s [N], ascending, are similar, too."""
    ends = np.searchsorted(seconds, seconds + LENGTH_S, side="right")
    for begin in range(0, len(coarse), _BLOCK):
        rows = torch.arange(begin, min(begin + _BLOCK, len(coarse)))
        stop = int(ends[rows[-1]])
        scores = coarse[rows] @ coarse[begin:stop].T
        columns = torch.arange(begin, stop)
        beyond = columns[None] >= torch.from_numpy(ends[rows])[:, None]
        scores = scores.masked_fill((columns[None] <= rows[:, None]) | beyond, -1)
        best, places = scores.topk(min(_MOST_CANDIDATES, scores.shape[1]))
        row, rank = (best >= CANDIDATE).nonzero(as_tuple=True)
        yield torch.stack([rows[row], columns[places[row, rank]]], 1)


def _centred_patterns(fingerprints: Sequence[Fingerprint]) -> Tensor:
    """Return patterns [N, MOST_STEPS, BANDS] float16 about their centres of energy, less the mean of each band."""
    padded = torch.zeros(len(fingerprints), MOST_STEPS, BANDS, dtype=torch.float16)
    for row, each in zip(padded, fingerprints, strict=True):
        pattern = torch.from_numpy(each.pattern).float() / 5
        weight = pattern.mean(1)
        centre = round(float((torch.arange(len(pattern)) * weight).sum() / weight.sum()))
        begin = centre - MOST_STEPS // 2
        first, stop = max(0, begin), min(len(pattern), begin + MOST_STEPS)
        row[first - begin : stop - begin] = (pattern[first:stop] - pattern[first:stop].mean(0)).half()
    return padded


def coarse_vectors(patterns: Tensor) -> Tensor:
    """Return unit vectors [N, D] of patterns [N, T, B], blurred in time."""
    blurred = functional.avg_pool1d(patterns.float().transpose(1, 2), 7, stride=3, padding=3)
    merged = functional.avg_pool1d(blurred.transpose(1, 2), BANDS // _COARSE_BANDS)
    return functional.normalize(merged.flatten(1))


def correlate(one: Tensor, other: Tensor) -> Tensor:
    """Return the largest correlation [N] of patterns [N, T, B] over all shifts by parts of a step."""
    size = 2 * one.shape[1]
    first, second = (torch.fft.rfft(each.float(), size, dim=1) for each in (one, other))
    lowest = int(_SLOWEST_HZ * size * STEP_S)
    first[:, :lowest], second[:, :lowest] = 0, 0
    products = _FINER * torch.fft.irfft((first * second.conj()).sum(2), _FINER * size, dim=1)
    norms = [torch.fft.irfft(each, size, dim=1).flatten(1).norm(dim=1) for each in (first, second)]
    best: Tensor = products.amax(1) / (norms[0] * norms[1]).clamp_min(1e-9)
    return best
