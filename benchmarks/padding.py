"""Compare padding and randomness: padded / real frames, and how often batch mates meet again in the next epoch.

At equal budgets of padded frames: our pools, batches of 64 at random and sorted, and lhotse's
DynamicBucketingSampler, where it is installed.
"""

import importlib.util
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks import generate
from benchmarks.measure import Goal, Options, Ratio, Result, main, spread
from ser.batching.bucketing import padding_ratio, plan_batches

Plan = Sequence[Sequence[int]]

BUDGETS = (8_000, 14_700)
OUR_POOLS = (1_000, 1_500, 2_000, 2_600, 3_900)
LHOTSE_BUCKETS = (30, 60)
_FRAMES_PER_SECOND = 100
_UNLIMITED = 1 << 20


@dataclass(frozen=True)
class Measured:
    """Costs of a way of batching over several epochs.

    Args:
        padding: Padded / real frames.
        batches: Number of batches in an epoch.
        mates: Probability that two batch mates meet again in the next epoch.
    """

    padding: Ratio
    batches: float
    mates: float


def padding(options: Options) -> Result:
    """Measure all ways of batching; the headline is that of our larger batches."""
    lengths = generate.lengths(generate.QUICK_UTTERANCES if options.quick else generate.COURSE_UTTERANCES)
    measured = {
        name: measure(lengths, plan, epochs=2 + options.repetitions) for name, plan in ways(lengths).items()
    }
    rows = [
        [name, f"{found.padding.median:.3f}", f"{found.batches:.0f}", f"{found.mates:.3f}"]
        for name, found in measured.items()
    ]
    notes = [] if has_lhotse() else ["lhotse: not installed"]
    small, large = (measured[_our_name(budget, 2_000)] for budget in BUDGETS)
    goals = [
        Goal("padding ratio at 8,000 frames", small.padding.median, "<=", 1.03),
        Goal("its mates", small.mates, "<=", 0.20),
        Goal("padding ratio at 14,700 frames", large.padding.median, "<=", 1.055),
        Goal("its mates", large.mates, "<=", 0.20),
    ]
    for budget, buckets in itertools.product(BUDGETS, LHOTSE_BUCKETS if has_lhotse() else ()):
        goal, note = against_lhotse(measured, budget, buckets)
        goals += goal
        notes += note
    return Result(
        name="padding",
        headline="padded / real frames, 14,700 frames in pools of 2,000",
        ratio=large.padding,
        columns=["batches", "padded / real", "number", "mates"],
        rows=rows,
        goals=goals,
        notes=notes,
    )


def ways(lengths: np.ndarray) -> dict[str, Callable[[int], Plan]]:
    """Return functions that plan the batches of an epoch, by name."""
    plans: dict[str, Callable[[int], Plan]] = {
        "64 at random": partial(random_batches, lengths),
        "64 sorted, batches shuffled": partial(sorted_batches, lengths),
    }
    for budget in BUDGETS:
        if has_lhotse():
            for buckets in LHOTSE_BUCKETS:
                plans[_lhotse_name(budget, buckets)] = partial(lhotse_batches, lengths, budget, buckets)
        for pool in OUR_POOLS:
            plans[_our_name(budget, pool)] = partial(our_batches, lengths, budget, pool)
    return plans


def measure(lengths: np.ndarray, plan: Callable[[int], Plan], *, epochs: int) -> Measured:
    """Measure a way of batching over some epochs."""
    plans = [plan(epoch) for epoch in range(epochs)]
    pairs = itertools.pairwise(plans)
    return Measured(
        padding=spread([padding_ratio(lengths, batches) for batches in plans]),
        batches=float(np.mean([len(batches) for batches in plans])),
        mates=float(np.mean([mates_kept(now, then) for now, then in pairs])),
    )


def mates_kept(now: Plan, then: Plan) -> float:
    """Compute the share of the pairs of batch mates in `now` that are batch mates in `then`."""
    batch_then = {index: number for number, batch in enumerate(then) for index in batch}
    pairs = kept = 0
    for batch in now:
        together = np.unique([batch_then.get(index, -1) for index in batch], return_counts=True)[1]
        pairs += len(batch) * (len(batch) - 1)
        kept += int((together * (together - 1)).sum())
    return kept / max(pairs, 1)


def random_batches(lengths: np.ndarray, epoch: int) -> Plan:
    """Return batches of 64 in random order."""
    return _of_64(np.random.default_rng(epoch).permutation(len(lengths)))


def sorted_batches(lengths: np.ndarray, _: int) -> Plan:
    """Return batches of 64 neighbours in length, the same in every epoch."""
    return _of_64(np.argsort(lengths, kind="stable"))


def our_batches(lengths: np.ndarray, budget: int, pool: int, epoch: int) -> Plan:
    """Return the plan of our sampler."""
    return plan_batches(lengths, max_frames=budget, max_utterances=_UNLIMITED, pool=pool, seed=0, epoch=epoch)


def lhotse_batches(lengths: np.ndarray, budget: int, buckets: int, epoch: int) -> Plan:
    """Return the batches of lhotse's DynamicBucketingSampler for a shuffled set of cuts."""
    from lhotse import CutSet, MonoCut
    from lhotse.dataset import DynamicBucketingSampler

    def cuts() -> Iterator[MonoCut]:
        for index, length in enumerate(lengths.tolist()):
            yield MonoCut(id=str(index), start=0, duration=length / _FRAMES_PER_SECOND, channel=0)

    warnings.filterwarnings("ignore", ".*eagerly read CutSet.*")
    sampler = DynamicBucketingSampler(
        CutSet.from_cuts(cuts()),
        max_duration=budget / _FRAMES_PER_SECOND,
        num_buckets=min(buckets, len(lengths) // 4),
        buffer_size=20_000,
        shuffle=True,
        seed=epoch,
    )
    return [[int(cut.id) for cut in batch] for batch in sampler]


def against_lhotse(
    measured: Mapping[str, Measured], budget: int, buckets: int
) -> tuple[list[Goal], list[str]]:
    """Return the goal to pad less than lhotse at an equal rate of mates, or a note if our rate is always lower.

    Padding is interpolated between our pools.
    """
    lhotse = measured[_lhotse_name(budget, buckets)]
    ours = sorted((measured[_our_name(budget, pool)] for pool in OUR_POOLS), key=lambda found: found.mates)
    mates = [found.mates for found in ours]
    paddings = [found.padding.median for found in ours]
    if lhotse.mates > mates[-1]:
        return [], [
            f"{_lhotse_name(budget, buckets)}: mates {lhotse.mates:.2f}, more than any of our pools gives; "
            f"it pads {lhotse.padding.median:.3f}, our largest pools {paddings[-1]:.3f} at {mates[-1]:.2f}"
        ]
    name = f"padding ratio at the mates of {_lhotse_name(budget, buckets)}"
    return [
        Goal(name, float(np.interp(lhotse.mates, mates, paddings)), "<=", round(lhotse.padding.median, 4))
    ], []


def has_lhotse() -> bool:
    """Return whether lhotse is installed."""
    return importlib.util.find_spec("lhotse") is not None


def _of_64(order: np.ndarray) -> Plan:
    return [order[start : start + 64].tolist() for start in range(0, len(order), 64)]


def _our_name(budget: int, pool: int) -> str:
    return f"ser, {budget} frames, pools of {pool}"


def _lhotse_name(budget: int, buckets: int) -> str:
    return f"lhotse, {budget} frames, {buckets} buckets"


if __name__ == "__main__":
    main(padding)
