"""Merge several runs of the benchmark into one table.

ser serab-compare RUN RUN ...
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ser.errors import SerError
from ser.serab import compare


def serab_compare(arguments: Sequence[str] | None = None) -> int:
    """Write the tables and print them; return 0 unless the runs cannot be compared."""
    parser = argparse.ArgumentParser(prog="ser serab-compare", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folder of a run, or of the runs of a sweep")
    parser.add_argument("--output", type=Path, default=Path("logs/serab/comparison"), help="gets the tables")
    given = parser.parse_args(arguments)
    try:
        several = compare.merge_runs([run for folder in given.runs for run in compare.find_runs(folder)])
        text = compare.write(given.output, several)
    except SerError as error:
        print(error, file=sys.stderr)
        return 1
    print(text)
    print(f"Tables: {', '.join(str(given.output / name) for name in compare.FILES)}")
    return 0
