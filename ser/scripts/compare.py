"""Compare runs on the same items: a table with 95% intervals, a test for each pair, plots.

ser compare RUN SWEEP ... output=FOLDER
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ser.comparison.compare import compare as compare_rows
from ser.comparison.rows import group_runs
from ser.comparison.runs import find_runs
from ser.comparison.scores import SCORES
from ser.comparison.tables import entry_table
from ser.comparison.wording import describe_notes, describe_pair
from ser.comparison.write import write_comparison
from ser.errors import SerError
from ser.runs.environment import as_options
from ser.runs.tables import print_table

_MOST_PRINTED = 15


def compare(arguments: Sequence[str] | None = None) -> int:
    """Print the table and a sentence for each pair, and write them with plots; return 0 unless it is impossible."""
    parser = argparse.ArgumentParser(prog="ser compare", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folder of a run, or of the runs of a sweep")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="default: test")
    parser.add_argument(
        "--metric", default="accuracy", help=f"{' or '.join(SCORES)}: sorts rows, tests pairs"
    )
    parser.add_argument("--output", type=Path, default=Path("logs/comparison"), help="gets tables and plots")
    given = parser.parse_args(as_options(arguments, "split", "metric", "output"))
    try:
        found = find_runs(given.runs, given.split)
        comparison = compare_rows(group_runs(found.runs), split=given.split, metric=given.metric)
        files = write_comparison(given.output, comparison, found)
    except SerError as error:
        print(error, file=sys.stderr)
        return 1
    print_table(f"{given.split}, percent", *entry_table(comparison))
    for pair in comparison.pairs[:_MOST_PRINTED]:
        print(describe_pair(pair, comparison))
    if len(comparison.pairs) > _MOST_PRINTED:
        print(f"{len(comparison.pairs) - _MOST_PRINTED} more pairs are in {given.output / 'comparison.md'}.")
    print("", *describe_notes(comparison, found.left_out), sep="\n")
    print(f"Files in {given.output}: {', '.join(files)}")
    return 0
