"""Average finished runs of classes, with weights fitted on validation; `ser predict ckpt=FOLDER` uses them.

ser ensemble RUN RUN ... output=FOLDER
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ser.errors import ConfigError, SerError, setting
from ser.files import short
from ser.runs.environment import as_options


def ensemble(arguments: Sequence[str] | None = None) -> int:
    """Write the folder of an ensemble, print its scores beside those of its members, and return the exit code."""
    parser = argparse.ArgumentParser(prog="ser ensemble", description=__doc__.splitlines()[0])
    parser.add_argument(
        "run", nargs="+", type=Path, help="folder of a run that predicts classes, two or more"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder to write, for `ser predict ckpt=FOLDER`"
    )
    parser.add_argument("--equal", action="store_true", help="equal weights, instead of fitted ones")
    given = parser.parse_args(as_options(arguments, "output"))
    try:
        _combine(given.run, given.output, fitted=not given.equal)
    except SerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _combine(runs: Sequence[Path], output: Path, *, fitted: bool) -> None:
    if len(runs) < 2:
        raise ConfigError(f"{runs[0]}: is one run, which needs no ensemble. Give two or more.")
    if (output / "metrics.json").is_file():
        raise ConfigError(f"--output {output}: holds a run or an ensemble already. Give another folder.")
    from ser.calibration.ensemble import combine_runs  # torch takes 1.4 s: first the arguments must be right
    from ser.html_report.elements import Table
    from ser.html_report.evaluation_page import write_ensemble_page
    from ser.runs.predictions_file import predictions_path
    from ser.runs.run_folder import RunFolder
    from ser.runs.tables import print_table

    for run in runs:
        if not RunFolder(run).best.is_file():
            raise ConfigError(
                f"{run}: has no checkpoints/best.ckpt. Give the folder of a run that has ended."
            )
    untested = [run for run in runs if not predictions_path(run, "test").is_file()]
    if 0 < len(untested) < len(runs):
        print(
            f"Not scored on test, as {len(untested)} of {len(runs)} runs have no predictions for it: {untested[0]}"
        )
    members, scored, sentences = combine_runs(runs, output, fitted=fitted)
    names = [*(str(each.run) for each in members), "mean"]
    weights = [*(f"{each.weight:.2f}" for each in members), ""]
    splits = [*scored[-1]]
    head = ("run", "weight", *(f"{split} {name}" for split in splits for name in ("accuracy", "UAR")))
    rows = [
        (name, weight, *(f"{own[split][key]:.1%}" for split in splits for key in ("accuracy", "uar")))
        for name, weight, own in zip(names, weights, scored, strict=True)
    ]
    title = "Weights fitted on validation" if fitted else "Equal weights"
    print_table(title, head, rows)
    page = write_ensemble_page(output, Table(title, head, rows), scored[-1], sentences)
    print(
        *sentences,
        f"Report: {short(page)}",
        f"Predict with it: ser predict {setting('ckpt', output)} input=FILE",
        sep="\n",
    )
