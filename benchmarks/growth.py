"""Measure time and memory as data grows: 1x to 8x the utterances, and 1x to 8x their length.

More utterances: reading the JSON, a later start, and an epoch of batches without a model; memory is what the
process holds itself, without the mapped cache, which the system takes back at will. Longer utterances: a
training step of each model over 16 of them.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from math import ceil, floor, log2
from pathlib import Path

import torch

from benchmarks import generate, recipe
from benchmarks.measure import (
    ROOT,
    ChildRun,
    Goal,
    Options,
    Result,
    interleave,
    main,
    paired_ratio,
    run_child,
    spread,
)
from ser.batch import Batch, Padded
from ser.batching.datamodule import SpeechData
from ser.corpora.challenge_reader import read_challenge
from ser.report.figures import make_panels, save
from ser.report.palette import class_styles
from ser.targets.quadrants import Quadrant
from ser.training import setup

FACTORS = (1, 2, 4, 8)
PLOT = ROOT / "docs" / "growth.png"
READ, START, EPOCH = "read JSON", "later start", "epoch of batches"

_BASE_UTTERANCES = 1_950  # a quarter of the course's size; 8x is 1.75 GB of JSON
_BASE_FRAMES = 200
_STEP_UTTERANCES = 16
_LINEAR = 1.15  # time that grows with a higher power of the size counts as more than linear

Runs = Mapping[str, Sequence[Sequence[ChildRun]]]
"""Repetitions for each factor, by name."""
Curves = Mapping[str, Sequence[float]]
"""Value for each factor, by name."""


def growth(options: Options) -> Result:
    """Measure both tables, the exponents between neighbours, and draw the plot."""
    factors = FACTORS[:2] if options.quick else FACTORS
    found = {**more_utterances(factors, options), **longer_utterances(factors, options)}
    if not options.quick:
        curves = ({name: [*map(of, runs)] for name, runs in found.items()} for of in (_seconds, _memory))
        plot(factors, *curves)
    totals = [
        [sum(found[stage][index][repetition].seconds for stage in (READ, START, EPOCH)) for index in (0, -1)]
        for repetition in range(options.repetitions)
    ]
    ratio = paired_ratio([last for _, last in totals], [first for first, _ in totals])
    held = [max(_memory(found[stage][index]) for stage in (READ, EPOCH)) for index in (0, -1)]
    return Result(
        name="growth",
        headline=f"time at {factors[-1]}x / 1x the utterances",
        ratio=ratio,
        columns=["what", *(f"{factor}x" for factor in factors), "powers"],
        rows=[_row(name, runs) for name, runs in found.items()],
        goals=[
            Goal(f"time at {factors[-1]}x / 1x the utterances", ratio.median, "<=", 1.1 * factors[-1]),
            Goal(f"memory at {factors[-1]}x / 1x the utterances", held[1] / held[0], "<=", 1.1),
        ],
        notes=[_verdict(name, factors, runs) for name, runs in found.items()],
    )


def more_utterances(factors: Sequence[int], options: Options) -> Runs:
    """Run in fresh processes on files with `factor` times as many utterances."""
    base = generate.QUICK_UTTERANCES // 4 if options.quick else _BASE_UTTERANCES
    stages = {READ: read_afresh, START: read_again, EPOCH: draw_epoch}
    contestants: dict[tuple[str, int], Callable[[], ChildRun]] = {}
    for stage, factor in product(
        stages, factors
    ):  # the files are in the cache once they have been read afresh
        path = generate.challenge_file(options.folder, factor * base)
        contestants[stage, factor] = partial(stages[stage], path, options.folder / f"cache-growth-{factor}")
    return _by_name(interleave(contestants, options.repetitions))


def longer_utterances(factors: Sequence[int], options: Options) -> Runs:
    """Run a training step in fresh processes on utterances with `factor` times as many frames."""
    contestants = {
        (f"step, {model}", factor): partial(run_step, model, factor * _BASE_FRAMES, options.threads)
        for model, factor in product(recipe.MODELS, factors)
    }
    return _by_name(interleave(contestants, options.repetitions))


def read_afresh(path: Path, cache: Path) -> ChildRun:
    """Read a file into an empty cache."""
    shutil.rmtree(cache, ignore_errors=True)
    return read_again(path, cache)


def read_again(path: Path, cache: Path) -> ChildRun:
    """Read a file from the cache or from JSON."""
    imports = "from ser.corpora.challenge_reader import read_challenge"
    return run_child(imports, "read_challenge(arguments[0], cache_dir=arguments[1])", path, cache)


def draw_epoch(path: Path, cache: Path) -> ChildRun:
    """Draw all training batches of an epoch; memory excludes the pages of the mapped cache."""
    run = run_child("from benchmarks.growth import draw", "draw(*arguments)", path, cache)
    return replace(run, peak_mib=run.anonymous_mib)


def draw(path: str, cache: str) -> None:
    """Draw the training batches of an epoch, and discard them."""
    data = SpeechData({"train": read_challenge(path, cache_dir=cache)}, Quadrant(), recipe.BUDGET)
    for _ in data.train_dataloader():
        pass


def run_step(model: str, frames: int, threads: int) -> ChildRun:
    """Run a training step on utterances of `frames` frames."""
    imports = (
        "from benchmarks.growth import Step\nstep = Step(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))"
    )
    return run_child(imports, "step()", model, str(frames), str(threads))


class Step:
    """Training step of a model, run by a call.

    Args:
        model: Option of the group `model`.
        frames: Number of frames of each utterance.
        threads: Number of threads of torch.
    """

    def __init__(self, model: str, frames: int, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        data = recipe.speech(generate.lengths(_STEP_UTTERANCES))
        self.task = setup.make_task(recipe.settings(model), data).train()
        self.labels = torch.arange(_STEP_UTTERANCES) % data.target.out_dim
        self.audio = self.random_audio(16)
        self()  # the first step of a process selects algorithms
        self.audio = self.random_audio(frames)

    def random_audio(self, frames: int) -> Padded:
        """Generate utterances of equal length."""
        lengths = torch.full((_STEP_UTTERANCES,), frames)
        return Padded(torch.randn(_STEP_UTTERANCES, frames, generate.FEATURE_DIM), lengths)

    def __call__(self) -> None:
        """Run forward and backward."""
        batch = Batch(range(_STEP_UTTERANCES), self.audio, self.labels, self.labels)
        self.task.objective(self.task.model(self.audio), batch).mean().backward()


def plot(factors: Sequence[int], seconds: Curves, memory: Curves) -> None:
    """Plot time and memory against size, both relative to 1x.

    Args:
        factors: Sizes.
        seconds: Seconds of each factor, by name.
        memory: Memory of each factor, by name, in any unit.
    """
    figure, panels = make_panels("Time", "Memory", size=(10.0, 4.8))
    for axes, curves in zip(panels, (seconds, memory), strict=True):
        axes.plot(factors, factors, color="#888888", linestyle="--", label="linear")
        for (name, values), style in zip(curves.items(), class_styles(len(curves)), strict=True):
            multiples = [value / values[0] for value in values]
            axes.plot(factors, multiples, marker="o", color=style.color, label=name)
        axes.set(xlabel="size, as a multiple of 1x", ylabel="multiple of 1x", xscale="log", yscale="log")
        axes.set_xticks(factors, [f"{factor}x" for factor in factors])
        lowest, highest = axes.get_ylim()
        powers = range(floor(log2(lowest)), ceil(log2(highest)) + 1)
        axes.set_yticks([2.0**power for power in powers], [f"{2.0**power:g}x" for power in powers])
        axes.set_ylim(lowest, highest)
        axes.minorticks_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    PLOT.parent.mkdir(exist_ok=True)
    save(figure, PLOT)


def _by_name(answers: Mapping[tuple[str, int], list[ChildRun]]) -> Runs:
    names = dict.fromkeys(name for name, _ in answers)
    return {name: [runs for (other, _), runs in answers.items() if other == name] for name in names}


def _seconds(runs: Sequence[ChildRun]) -> float:
    return spread([run.seconds for run in runs]).median


def _memory(runs: Sequence[ChildRun]) -> float:
    return max(run.peak_mib for run in runs)


def _powers(runs: Sequence[Sequence[ChildRun]]) -> list[float]:
    """Compute the exponent of growth from each factor to its double."""
    return [log2(_seconds(after) / _seconds(before)) for before, after in pairwise(runs)]


def _row(name: str, runs: Sequence[Sequence[ChildRun]]) -> list[str]:
    cells = [f"{_seconds(of_factor):.3g} s, {_memory(of_factor):.0f} MiB" for of_factor in runs]
    return [name, *cells, ", ".join(f"{power:.2f}" for power in _powers(runs))]


def _verdict(name: str, factors: Sequence[int], runs: Sequence[Sequence[ChildRun]]) -> str:
    for factor, power in zip(factors[1:], _powers(runs), strict=True):
        if power > _LINEAR:
            return f"{name}: more than linear up to {factor}x, power {power:.2f}"
    return f"{name}: linear or less"


if __name__ == "__main__":
    main(growth)
