"""Compare prediction sorted by length with batches of 64 in file order, in utterances per second.

Both give the same probabilities, to 1e-4, as no answer depends on padding or batch mates.
"""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import generate, recipe
from benchmarks.measure import Goal, Options, Result, interleave, main, paired_ratio, spread, timed
from ser.batch import Padded
from ser.checkpoints import checkpoint
from ser.checkpoints.checkpoint import Trained
from ser.data.store import Store
from ser.inference.predict import class_scores

_UTTERANCES = 1_950  # a quarter of the course's size: both ways are linear in it
_TOLERANCE = 1e-4
_CPU = torch.device("cpu")


def predict(options: Options) -> Result:
    """Measure the utterances per second of every model, both ways."""
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    utterances = generate.QUICK_UTTERANCES // 8 if options.quick else _UTTERANCES
    store = generate.store(generate.lengths(utterances))
    times = {}
    for name in recipe.MODELS:
        trained = untrained(name)
        difference = float((by_length(trained, store) - in_file_order(trained, store)).abs().max())
        if difference > _TOLERANCE:
            raise RuntimeError(f"{name}: probabilities differ by {difference}, more than {_TOLERANCE}")
        ways = {"ser": by_length, "file order": in_file_order}
        contestants = {way: partial(timed, partial(action, trained, store)) for way, action in ways.items()}
        times[name] = interleave(contestants, options.repetitions)
    gains = {name: paired_ratio(taken["file order"], taken["ser"]) for name, taken in times.items()}
    worst = min(gains, key=lambda name: gains[name].median)
    return Result(
        name="predict",
        headline=f"file order / ser, time, {worst}",
        ratio=gains[worst],
        columns=["model", "ser, utterances/s", "file order, utterances/s", "ratio"],
        rows=[
            [name, *(f"{utterances / spread(taken[way]).median:.0f}" for way in taken), str(gains[name])]
            for name, taken in times.items()
        ],
        goals=[
            Goal(f"predict against batches of 64 in file order, {name}", gain.median, ">=", 4)
            for name, gain in gains.items()
        ],
    )


def untrained(name: str) -> Trained:
    """Create a model of the recipe in evaluation mode."""
    torch.manual_seed(0)
    settings = recipe.settings(name)
    description = checkpoint.describe(settings.config, feature_dim=generate.FEATURE_DIM)
    model, target = checkpoint.assemble(description)
    return Trained(
        model.eval(), target, generate.FEATURE_DIM, settings.features, settings.frontend, path=Path(name)
    )


def by_length(trained: Trained, store: Store) -> Tensor:
    """Compute probabilities [N, C] as predict.py does."""
    return class_scores([trained], store, device=_CPU)


@torch.inference_mode()
def in_file_order(trained: Trained, store: Store) -> Tensor:
    """Compute probabilities [N, C] from batches of 64 in file order."""
    pieces = torch.split(torch.from_numpy(store.audio), store.lengths.tolist())
    batches = (Padded.collate(pieces[start : start + 64]) for start in range(0, len(pieces), 64))
    return torch.cat([trained.target.scores(trained.model(audio)) for audio in batches])


if __name__ == "__main__":
    main(predict)
