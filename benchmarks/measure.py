"""Shared parts of the benchmarks: paired repetitions, peak memory of a fresh process, a table, a line of JSON."""

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
    """Options of a benchmark.

    Args:
        quick: Whether to use small sizes, to test that everything works; the figures are meaningless.
        repetitions: Number of repetitions of each contestant.
        threads: Number of threads of torch on the CPU.
        folder: Folder of generated files, which further benchmarks reuse.
        device: Device of benchmarks.gpu.
    """

    quick: bool
    repetitions: int = 5
    threads: int = 2
    folder: Path = DEFAULT_FOLDER
    device: str = "cuda"


@dataclass(frozen=True)
class Ratio:
    """Ratio with its spread over the repetitions.

    Args:
        median: Median over the repetitions.
        low: Smallest value.
        high: Largest value.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}..{self.high:.3g})"


@dataclass(frozen=True)
class Goal:
    """Figure with a bound.

    Args:
        figure: Description with unit.
        value: Measured value.
        relation: Required relation of value and bound.
        bound: The bound.
    """

    figure: str
    value: float
    relation: Literal["<=", ">="]
    bound: float

    @property
    def met(self) -> bool:
        """Return whether the value satisfies the bound."""
        return self.value <= self.bound if self.relation == "<=" else self.value >= self.bound

    def __str__(self) -> str:
        verdict = "met" if self.met else "missed"
        return f"{self.figure}: {self.value:.4g} {self.relation} {self.bound:g}, {verdict}"


@dataclass(frozen=True)
class Result:
    """Result of a benchmark.

    Args:
        name: Name of the benchmark.
        headline: Description of `ratio`.
        ratio: Main figure; None if nothing was measured.
        columns: Columns of the table.
        rows: Rows of the table, cells as text.
        goals: Figures with a bound.
        notes: Further information for readers, such as what was skipped.
    """

    name: str
    headline: str
    ratio: Ratio | None
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
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
    """Time and memory of an expression in a fresh process.

    Args:
        seconds: Seconds without the imports.
        peak_mib: Peak memory above that after the imports.
        anonymous_mib: Growth of memory at the end, without mapped files, which the system can drop.
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
    """Parse the command line."""
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
    """Run the contestants in turns, starting with another one in each repetition; return all results by contestant.

    The speed of a machine drifts by tens of per cent within minutes, so only neighbouring runs are compared.
    """
    names = list(contestants)
    answers: dict[Name, list[Answer]] = {name: [] for name in names}
    for repetition in range(repetitions):
        first = repetition % len(names)
        for name in names[first:] + names[:first]:
            answers[name].append(contestants[name]())
    return answers


def paired_ratio(dividends: Sequence[float], divisors: Sequence[float]) -> Ratio:
    """Compute the ratio of two contestants for each repetition."""
    return spread([dividend / divisor for dividend, divisor in zip(dividends, divisors, strict=True)])


def spread(values: Sequence[float]) -> Ratio:
    """Return median, minimum and maximum."""
    return Ratio(statistics.median(values), min(values), max(values))


def timed(action: Callable[[], Any]) -> float:
    """Measure the seconds of an action."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def run_child(imports: str, expression: str, *arguments: str | Path) -> ChildRun:
    """Evaluate an expression in a fresh Python process.

    Args:
        imports: Statements that run before the measurement.
        expression: Expression to measure; it can use the list of strings `arguments`.
        arguments: Arguments of the expression.
    """
    script = _CHILD.format(imports=imports, expression=expression)
    return ChildRun(*json.loads(run_python("-c", script, *map(str, arguments)).splitlines()[-1]))


def run_python(*arguments: str | Path, cwd: Path = ROOT, code: int = 0) -> str:
    """Run a fresh Python process and return its output.

    Args:
        arguments: Arguments of the interpreter.
        cwd: Working folder.
        code: Expected exit code.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if result.returncode != code:
        raise RuntimeError(f"{' '.join(command)[:200]}: exit code {result.returncode}\n{result.stderr}")
    return result.stdout


def memory_mib(entry: str) -> float:
    """Read the memory of this process in MiB by its name in Linux; NaN on other systems.

    `ru_maxrss` is not used, because a child inherits the peak of its parent.

    Args:
        entry: VmRSS for now, VmHWM for the peak, RssAnon for now without mapped files.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    lines = (line.split() for line in status.read_text().splitlines())
    return next(int(words[1]) / 1024 for words in lines if words[0] == f"{entry}:")


def show(result: Result) -> None:
    """Print a result as a table, with its goals and notes."""
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
