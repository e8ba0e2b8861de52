"""Compute the features of a corpus into the cache, before any training.

ser extract data=ravdess data.root=DIR
ser extract -m seed=0,1,2,3 data=ravdess data.root=DIR hydra/launcher=joblib

The second line starts four jobs, which share the work; the seed only numbers them.
"""

from ser.config.main import main
from ser.config.settings import Train


@main("train", help=__doc__)
def extract(settings: Train) -> None:
    """Read the corpus as a training does, and print what is in the cache afterwards."""
    from ser.training import setup  # torch and all that: first the config must be right

    splits = setup.read_splits(settings)
    for name, store in splits.stores.items():
        values = store.feature_dim
        print(f"{name}: {len(store)} utterances, {store.lengths.sum()} frames of {values} values")
    if skipped := splits.facts.skipped:
        print(f"{len(skipped)} recordings cannot be used")
    if folder := settings.data.get("cache_dir"):
        print(f"Features are in {folder}")
