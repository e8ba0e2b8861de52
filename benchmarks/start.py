"""Measure waiting times: for the data of a later start, for the command line, and for a first step.

The data of a later start is compared with a pickle of the parsed JSON, which is what one does without a cache;
processes are compared with the imports that they cannot do without.
"""

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import generate
from benchmarks.measure import (
    ROOT,
    Goal,
    Options,
    Result,
    interleave,
    main,
    paired_ratio,
    run_child,
    run_python,
    spread,
    timed,
)

_CACHED = "read_challenge(arguments[0], cache_dir=arguments[1])"
_DATA = f"SpeechData({{'train': {_CACHED}}}, Quadrant(), Batching(max_frames=14700))"
_FIRST_BATCH = f"next(iter({_DATA}.train_dataloader()))"
_PICKLE = (
    "pickle.dump(json.load(open(arguments[0], 'rb')), open(arguments[1], 'wb'), pickle.HIGHEST_PROTOCOL)"
)

DATA = {
    "cache, checked and mapped": ("from ser.corpora.challenge_reader import read_challenge", _CACHED),
    "cache, to the first batch": (
        "from ser.corpora.challenge_reader import read_challenge\n"
        "from ser.batching.datamodule import SpeechData\n"
        "from ser.config.settings import Batching\n"
        "from ser.targets.quadrants import Quadrant",
        _FIRST_BATCH,
    ),
    "pickle of the parsed JSON": ("import pickle", "pickle.load(open(arguments[2], 'rb'))"),
}
"""Imports, and the expression that is timed, by way to the data."""

_IMPORT_HYDRA = "import hydra"
_IMPORT_ALL = "import torch, lightning, hydra"


def start(options: Options) -> Result:
    """Measure the seconds of later starts, of command lines, and of a fit of one batch."""
    with tempfile.TemporaryDirectory() as scratch:
        data = interleave(data_contestants(options, Path(scratch)), options.repetitions)
        processes = interleave(process_contestants(options, Path(scratch)), options.repetitions)
    gain = paired_ratio(data["pickle of the parsed JSON"], data["cache, checked and mapped"])
    seconds = {name: spread(times) for name, times in {**data, **processes}.items()}
    above = [fit - bare for fit, bare in zip(processes["one-batch fit"], processes[_IMPORT_ALL], strict=True)]
    return Result(
        name="start",
        headline="pickle / cache, a later start",
        ratio=gain,
        columns=["what", "s"],
        rows=[[name, str(taken)] for name, taken in seconds.items()],
        goals=[
            Goal("later start, data ready, ms", 1e3 * seconds["cache, checked and mapped"].median, "<=", 5),
            Goal("later start against a pickle", gain.median, ">=", 500),
            Goal("train.py --help, s", seconds["train.py --help"].median, "<=", 0.7),
            Goal("a config mistake, s", seconds["a config mistake"].median, "<=", 0.7),
            Goal("one-batch fit, s above the bare imports", spread(above).median, "<=", 0.6),
        ],
    )


def data_contestants(options: Options, scratch: Path) -> dict[str, Callable[[], float]]:
    """Return functions that measure the seconds to the data, in a fresh process after the imports, by name."""
    utterances = generate.QUICK_UTTERANCES if options.quick else generate.COURSE_UTTERANCES
    path = generate.challenge_file(options.folder, utterances)
    cache, pickled = scratch / "cache", scratch / "parsed.pickle"
    run_child(*DATA["cache, checked and mapped"], path, cache)
    run_child("import json, pickle", _PICKLE, path, pickled)
    return {
        name: partial(_seconds, imports, expression, path, cache, pickled)
        for name, (imports, expression) in DATA.items()
    }


def process_contestants(options: Options, scratch: Path) -> dict[str, Callable[[], float]]:
    """Return functions that measure the seconds of a whole process, by name."""
    root = generate.challenge_folder(options.folder)
    train = partial(run_python, ROOT / "train.py", cwd=scratch)
    one_batch = [
        *("data=challenge", f"data.root={root}", f"data.cache_dir={scratch / 'small-cache'}", "test=false"),
        *("trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.log_every_n_steps=1"),
        *("trainer.enable_progress_bar=false", "batching.max_utterances=4"),
        *("trainer.limit_train_batches=1", "trainer.limit_val_batches=1", f"hydra.run.dir={scratch / 'run'}"),
    ]

    def fit() -> None:
        shutil.rmtree(scratch / "run", ignore_errors=True)
        train(*one_batch)

    fit()  # reads the files into the cache
    actions: dict[str, Callable[[], object]] = {
        _IMPORT_HYDRA: partial(run_python, "-c", _IMPORT_HYDRA),
        "train.py --help": partial(train, "--help"),
        "a config mistake": partial(train, "optimizer.lrr=1", code=1),
        _IMPORT_ALL: partial(run_python, "-c", _IMPORT_ALL),
        "one-batch fit": fit,
    }
    return {name: partial(timed, action) for name, action in actions.items()}


def _seconds(imports: str, expression: str, *arguments: Path) -> float:
    return run_child(imports, expression, *arguments).seconds


if __name__ == "__main__":
    main(start)
