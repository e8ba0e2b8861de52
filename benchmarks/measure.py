"""What the benchmarks share: paired repetitions, peak memory of a fresh process, a table, a line of JSON."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

Name = TypeVar("Name", bound=Hashable)
Answer = TypeVar("Answer")

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_FOLDER = Path(tempfile.gettempdir()) / "ser-benchmarks"

_CHILD = """
import json, sys, time
from benchmarks.measure import memory_mib
{imports}
arguments = sys.argv[1:]
before, anonymous = memory_mib("VmRSS"), memory_mib("RssAnon")
started = time.perf_counter()
answer = {expression}
seconds = time.perf_counter() - started
print(json.dumps([seconds, memory_mib("VmHWM") - before, memory_mib("RssAnon") - anonymous]))
"""


@dataclass(frozen=True)
class Options:
    """How a benchmark is run.

    Args:
        quick: small sizes, to see that everything works; its figures mean nothing.
        repetitions: of each contestant.
        threads: of torch on the CPU.
        folder: where generated files are kept for the next benchmark.
        device: where benchmarks.gpu computes.
    """

    quick: bool
    repetitions: int = 5
    threads: int = 2
    folder: Path = DEFAULT_FOLDER
    device: str = "cuda"


@dataclass(frozen=True)
class Ratio:
    """A ratio and how far it spread over the repetitions.

    Args:
        median: of the repetitions.
        low: the smallest.
        high: the largest.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}..{self.high:.3g})"


@dataclass(frozen=True)
class Goal:
    """A figure, and the bound it has to keep.

    Args:
        figure: what it is, with its unit.
        value: measured.
        relation: of the value to the bound.
        bound: that it has to keep.
    """

    figure: str
    value: float
    relation: Literal["<=", ">="]
    bound: float

    @property
    def met(self) -> bool:
        """Whether the bound is kept."""
        return self.value <= self.bound if self.relation == "<=" else self.value >= self.bound

    def __str__(self) -> str:
        verdict = "met" if self.met else "missed"
        return f"{self.figure}: {self.value:.4g} {self.relation} {self.bound:g}, {verdict}"


@dataclass(frozen=True)
class Result:
    """What a benchmark found.

    Args:
        name: of the benchmark.
        headline: what `ratio` is.
        ratio: the headline; None where nothing was measured.
        columns: of the table.
        rows: of the table, cells as they are shown.
        goals: figures with a bound.
        notes: what a reader must know, such as what was left out.
    """

    name: str
    headline: str
    ratio: Ratio | None
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON."""
        return {
            "name": self.name,
            "headline": self.headline,
            "ratio": None if self.ratio is None else self.ratio.median,
            "spread": None if self.ratio is None else [self.ratio.low, self.ratio.high],
            "goals": [{**asdict(goal), "met": goal.met} for goal in self.goals],
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class ChildRun:
    """What an expression took in a fresh process.

    Args:
        seconds: without the imports.
        peak_mib: the most memory it had, above what it had after the imports.
        anonymous_mib: what it had more at its end, without mapped files, which the system drops at will.
    """

    seconds: float
    peak_mib: float
    anonymous_mib: float


def main(benchmark: Callable[[Options], Result]) -> None:
    """Run a benchmark as a command: print its table and, last, its line of JSON."""
    options = parse_options(sys.modules[benchmark.__module__].__doc__)
    result = benchmark(options)
    show(result)
    print(json.dumps({**result.to_dict(), "quick": options.quick}))


def parse_options(description: str | None) -> Options:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes; the figures mean nothing")
    parser.add_argument("--repetitions", type=int, help="of each contestant (5; quick: 1)")
    parser.add_argument("--threads", type=int, default=2, help="of torch on the CPU")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="of generated files, reused")
    parser.add_argument("--device", default="cuda", help="of benchmarks.gpu")
    arguments = vars(parser.parse_args())
    arguments["repetitions"] = arguments["repetitions"] or (1 if arguments["quick"] else 5)
    return Options(**arguments)


def interleave(
    contestants: Mapping[Name, Callable[[], Answer]], repetitions: int
) -> dict[Name, list[Answer]]:
    """What each contestant returns in each repetition; they take turns, each beginning in its turn.

    A machine drifts by tens of per cent within minutes, so only neighbours are compared with each other.
    """
    names = list(contestants)
    answers: dict[Name, list[Answer]] = {name: [] for name in names}
    for repetition in range(repetitions):
        first = repetition % len(names)
        for name in names[first:] + names[:first]:
            answers[name].append(contestants[name]())
    return answers


def paired_ratio(dividends: Sequence[float], divisors: Sequence[float]) -> Ratio:
    """The ratio of two contestants, repetition by repetition."""
    return spread([dividend / divisor for dividend, divisor in zip(dividends, divisors, strict=True)])


def spread(values: Sequence[float]) -> Ratio:
    """Median, smallest and largest of some values."""
    return Ratio(statistics.median(values), min(values), max(values))


def timed(action: Callable[[], Any]) -> float:
    """Seconds that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def run_child(imports: str, expression: str, *arguments: str | Path) -> ChildRun:
    """Evaluate an expression in a fresh Python.

    Args:
        imports: statements before the clock starts.
        expression: what is measured; it finds the strings `arguments`.
        arguments: for the expression.
    """
    script = _CHILD.format(imports=imports, expression=expression)
    return ChildRun(*json.loads(run_python("-c", script, *map(str, arguments)).splitlines()[-1]))


def run_python(*arguments: str | Path, cwd: Path = ROOT, code: int = 0) -> str:
    """What a fresh Python prints.

    Args:
        arguments: of the interpreter.
        cwd: folder to run in.
        code: exit code to expect.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if result.returncode != code:
        raise RuntimeError(f"{' '.join(command)[:200]}: exit code {result.returncode}\n{result.stderr}")
    return result.stdout


def memory_mib(entry: str) -> float:
    """Memory of this process in MiB, by the name that Linux has for it; NaN on other systems.

    Not `ru_maxrss`: a child inherits the peak of the process that started it.

    Args:
        entry: VmRSS now, VmHWM at most so far, RssAnon now and without mapped files.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    lines = (line.split() for line in status.read_text().splitlines())
    return next(int(words[1]) / 1024 for words in lines if words[0] == f"{entry}:")


def show(result: Result) -> None:
    """Print a result as a table, with its goals and notes below."""
    from rich.console import Console  # not at the top: processes whose memory is measured import this module
    from rich.table import Table

    console = Console()
    table = Table(title=f"{result.name}: {result.headline} {result.ratio or 'not measured'}")
    for number, column in enumerate(result.columns):
        table.add_column(column, justify="right" if number else "left")
    for row in result.rows:
        table.add_row(*row)
    console.print(table)
    for line in (*map(str, result.goals), *result.notes):
        console.print(line, highlight=False, soft_wrap=True)
