"""Compute the features of a corpus into the cache, before any training.

ser extract data=ravdess data.root=DIR
ser extract -m seed=0,1,2,3 data=ravdess data.root=DIR hydra/launcher=joblib

The second line starts four jobs, which share the work; the seed only numbers them.
"""

from collections.abc import Sequence
from pathlib import Path

from ser.config.main import job_folder, main
from ser.config.settings import Train
from ser.files import read_text, write_atomic
from ser.runs.sweep import read_statuses
from ser.runs.sweep_tables import describe_state
from ser.runs.tables import print_table

COUNTS = "features.txt"
"""File in the folder of a job with what it printed, as a launcher sends that to a log."""


def summarize(sweep_dir: Path, _: Sequence[str]) -> int:
    """Print how each job ended and what is in the cache; return the number of jobs that have failed."""
    statuses = read_statuses(sweep_dir)
    rows = [
        (
            " ".join(status.get("overrides") or []),
            str(folder.relative_to(sweep_dir)),
            describe_state(folder, status),
        )
        for folder, status in statuses.items()
    ]
    print_table(f"{len(rows)} jobs in {sweep_dir}", ("overrides", "folder", "status"), rows)
    found = [read_text(path) for folder in statuses if (path := folder / COUNTS).is_file()]
    print("".join(dict.fromkeys(found)), end="")  # once for all jobs that share the work
    return sum(status["status"] != "completed" for status in statuses.values())


@main("train", help=__doc__, summarize=summarize)
def extract(settings: Train) -> None:
    """Read the corpus as a training does, and print what is in the cache afterwards."""
    from ser.training import setup  # torch and all that: first the config must be right

    splits = setup.read_splits(settings)
    lines = [
        f"{name}: {len(store)} utterances, {store.lengths.sum()} frames of {store.feature_dim} values"
        for name, store in splits.stores.items()
    ]
    if skipped := splits.facts.skipped:
        lines.append(f"Recordings that cannot be used: {len(skipped)}")
    if folder := settings.data.get("cache_dir"):
        lines.append(f"Features are in {folder}")
    text = "".join(f"{line}\n" for line in lines)
    print(text, end="")
    write_atomic(job_folder()[0] / COUNTS, text)
