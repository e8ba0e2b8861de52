"""Time an epoch of each model: our training, a plain loop over random batches, and one over our batches.

ser           Task, callbacks and trainer as train.py makes them, batches of like length
peer          random batches of 64, padded with zeros, in a plain PyTorch loop: how it is usually done
by hand       a plain PyTorch loop over the batches of ser

All have the same model, loss, optimiser and clipping, and denormal numbers are zero for all. Epochs are
extrapolated: of batches sorted by length, the longest are all timed, and of the others one of each stratum.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import generate, recipe
from benchmarks.measure import Goal, Options, Ratio, Result, interleave, main, paired_ratio, spread
from ser.batch import Batch, Padded
from ser.batching.datamodule import SpeechData
from ser.batching.dataset import UtteranceDataset
from ser.batching.samplers import BatchIndices
from ser.config.settings import Train
from ser.features.augment_features import Augment
from ser.models.base import IdentityEncoder
from ser.models.classifier import Classifier
from ser.targets.losses import CrossEntropy, Objective
from ser.targets.quadrants import Quadrant
from ser.training import setup
from ser.training.task import Task, parameter_groups

GAINS = {"cnn": 4.0, "lstm": 4.0, "transformer": 5.0}
"""Required ratio of the peer's epoch to ours, by model."""
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}

_LONGEST = 3  # longest batches, all timed: for attention they take most time, and a sample could miss them
_STEPS_OF_NULL_MODEL = 300
_CLIP = 2.0


@dataclass(frozen=True)
class Sample:
    """Sample of batches that represents an epoch.

    Args:
        batches: Indices of their utterances.
        weights: Number of batches of the epoch that each represents.
    """

    batches: list[list[int]]
    weights: list[float]

    def epoch_seconds(self, seconds: Sequence[float]) -> float:
        """Estimate the seconds of the epoch from the seconds of each batch."""
        return float(np.dot(self.weights, seconds))


class Stopwatch:
    """Iterator over batches that measures the time from each request to the next.

    The last batch is repeated before and after the others without being timed: first to warm up, and at the end
    because Lightning validates after it.

    Args:
        fetch: Function that reads the batch of some utterances.
        batches: Indices of the utterances of each batch.
    """

    def __init__(self, fetch: Callable[[list[int]], Any], batches: Sequence[list[int]]) -> None:
        self._fetch = fetch
        self._batches = [batches[-1], *batches, batches[-1]]
        self._asked: list[float] = []

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        self._asked = []
        for indices in self._batches:
            self._asked.append(time.perf_counter())
            yield self._fetch(indices)

    @property
    def seconds(self) -> list[float]:
        """Return the seconds of each batch."""
        return [after - before for before, after in pairwise(self._asked[1:])]


class SampledData(SpeechData):
    """Data module whose training loader is a stopwatch."""

    stopwatch: Stopwatch

    def train_dataloader(self) -> Any:
        """Return the sampled batches."""
        return self.stopwatch


def train(options: Options) -> Result:
    """Time epochs of all models in both precisions, and the overhead of Lightning and our callbacks."""
    torch.set_num_threads(options.threads)
    utterances = generate.QUICK_UTTERANCES if options.quick else generate.COURSE_UTTERANCES
    lengths = generate.lengths(utterances)
    few = replace(recipe.BUDGET, max_frames=1_000)
    data = recipe.speech(lengths // 5, few) if options.quick else recipe.speech(lengths)
    strata = 2 if options.quick else 12
    epochs = {
        (model, precision): interleave(contestants(data, model, precision, strata), options.repetitions)
        for precision in PRECISIONS
        for model in recipe.MODELS
    }
    gains = {key: paired_ratio(times["peer"], times["ser"]) for key, times in epochs.items()}
    added = null_model(options)
    worst = min(recipe.MODELS, key=lambda model: gains[model, "fp32"].median / GAINS[model])
    return Result(
        name="train",
        headline=f"peer / ser, an epoch of the {worst} in fp32",
        ratio=gains[worst, "fp32"],
        columns=["model", "precision", "ser, s", "peer, s", "by hand, s", "peer / ser", "ser / by hand"],
        rows=[_row(*key, times) for key, times in epochs.items()],
        goals=[
            *_goals(epochs, gains, data),
            Goal("added to a null model, ms a step", added.median, "<=", 0.6),
        ],
        notes=[f"added by Lightning and our callbacks to a step of a null model: {added} ms"],
    )


def contestants(data: SpeechData, model: str, precision: str, strata: int) -> dict[str, Callable[[], float]]:
    """Return functions that measure the seconds of an epoch of a model, by name."""
    config = recipe.settings(model, f"trainer.precision={PRECISIONS[precision]}", "trainer.max_epochs=1")
    setup.prepare(config)
    lengths = data.datasets["train"].lengths
    ours = sample(data.train_dataloader().sampler.plan, lengths, strata)
    order = np.random.default_rng(0).permutation(len(lengths)).tolist()
    random = sample([order[start : start + 64] for start in range(0, len(order), 64)], lengths, strata)
    return {
        "ser": partial(lightning_epoch, data, config, ours),
        "peer": partial(peer_epoch, data, config, random),
        "by hand": partial(hand_epoch, data, config, ours),
    }


def sample(plan: Iterable[Sequence[int]], lengths: np.ndarray, strata: int) -> Sample:
    """Select the longest batches, and one from each stratum of the others.

    Args:
        plan: Batches of an epoch.
        lengths: Number of frames of each utterance [N].
        strata: Number of strata of equal size.
    """
    batches = sorted(([*batch] for batch in plan), key=lambda batch: -int(lengths[batch].max()))
    longest, others = batches[:_LONGEST], batches[_LONGEST:]
    parts = [part for part in np.array_split(np.arange(len(others)), strata) if len(part)]
    middles = [others[part[len(part) // 2]] for part in parts]
    return Sample(longest + middles, [1.0] * len(longest) + [float(len(part)) for part in parts])


def lightning_epoch(data: SpeechData, config: Train, chosen: Sample) -> float:
    """Measure the seconds of our epoch, with everything train.py adds."""
    return chosen.epoch_seconds(lightning_steps(setup.make_task(config, data), data, config, chosen.batches))


def lightning_steps(task: Task, data: SpeechData, config: Train, batches: Sequence[list[int]]) -> list[float]:
    """Measure the seconds of each step of a fit of one epoch."""
    stores = {name: dataset.store for name, dataset in data.datasets.items()}
    sampled = SampledData(stores, data.target)
    sampled.stopwatch = Stopwatch(partial(_draw, data.datasets["train"]), batches)
    with recipe.trainer(config) as trainer:
        trainer.fit(task, datamodule=sampled)
    return sampled.stopwatch.seconds


def hand_epoch(data: SpeechData, config: Train, chosen: Sample) -> float:
    """Measure the seconds of an epoch over our batches without Lightning."""
    task = setup.make_task(config, data)
    fetch = partial(_draw, data.datasets["train"])
    return chosen.epoch_seconds(hand_steps(task.model, task.objective, config, fetch, chosen.batches))


def peer_epoch(data: SpeechData, config: Train, chosen: Sample) -> float:
    """Measure the seconds of an epoch over random batches, padded with zeros."""
    task = setup.make_task(config, data)
    dataset = data.datasets["train"]
    targets = dataset.targets
    assert targets is not None
    pieces = torch.split(torch.from_numpy(dataset.store.audio), dataset.lengths.tolist())

    def fetch(indices: list[int]) -> Batch:
        audio = Padded.collate([pieces[index] for index in indices])
        return Batch(indices, audio, targets[indices], torch.empty(0))

    return chosen.epoch_seconds(hand_steps(task.model, task.objective, config, fetch, chosen.batches))


def hand_steps(
    model: nn.Module,
    objective: Callable[[Tensor, Any], Tensor],
    config: Train,
    fetch: Callable[[list[int]], Batch],
    batches: Sequence[list[int]],
) -> list[float]:
    """Measure the seconds of each step of a plain loop that computes its mean loss."""
    stopwatch = Stopwatch(fetch, batches)
    settings = {key: value for key, value in config.optimizer.items() if key != "_target_"}
    optimizer = torch.optim.AdamW(parameter_groups(model), **settings)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings["lr"], total_steps=len(stopwatch))
    model.train()
    total = 0.0
    for batch in stopwatch:
        with torch.autocast("cpu", torch.bfloat16, enabled=config.trainer["precision"] == "bf16-mixed"):
            loss = objective(model(batch.audio), batch).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        optimizer.step()
        schedule.step()
        total += loss.item()
    return stopwatch.seconds


class NullModel(nn.Module):
    """Model with almost no computation, so that a step is overhead only."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = IdentityEncoder(generate.FEATURE_DIM)  # by whose class plots are titled
        self.head = nn.Linear(generate.FEATURE_DIM, Quadrant().out_dim)

    def forward(self, audio: Padded, groups: Tensor | None = None) -> Tensor:
        """Map [B, T, F] to logits [B, 4] from the first frames."""
        logits: Tensor = self.head(audio.values[:, 0])
        return logits


def null_model(options: Options) -> Ratio:
    """Measure the milliseconds that Lightning and our callbacks add to a step of a null model."""
    data = recipe.speech(np.full(256, 20))
    config = recipe.settings(
        "cnn", "trainer.max_epochs=1", "callbacks.pictures=null"
    )  # they name the encoder
    steps = 20 if options.quick else _STEPS_OF_NULL_MODEL
    batches = np.random.default_rng(0).integers(0, 256, (steps, 8)).tolist()
    objective = Objective(data.target, CrossEntropy(), data.class_counts())

    def lightning() -> float:
        task = Task(
            cast(Classifier, NullModel()),  # a task only calls its model
            data.target,
            objective=objective,
            augment=Augment(),
            optimizer=config.optimizer,
            schedule=config.schedule,
            description={},
        )
        return float(np.mean(lightning_steps(task, data, config, batches)))

    def by_hand() -> float:
        fetch = partial(_draw, data.datasets["train"])
        return float(np.mean(hand_steps(NullModel(), objective, config, fetch, batches)))

    seconds = interleave({"lightning": lightning, "by hand": by_hand}, options.repetitions)
    pairs = zip(seconds["lightning"], seconds["by hand"], strict=True)
    return spread([1e3 * (ours - theirs) for ours, theirs in pairs])


def _draw(dataset: UtteranceDataset, indices: list[int]) -> Batch:
    return dataset[BatchIndices(0, indices)]


def _row(model: str, precision: str, times: dict[str, list[float]]) -> list[str]:
    seconds = [f"{spread(times[name]).median:.1f}" for name in ("ser", "peer", "by hand")]
    gain = paired_ratio(times["peer"], times["ser"])
    return [model, precision, *seconds, str(gain), str(paired_ratio(times["ser"], times["by hand"]))]


def _goals(
    epochs: dict[tuple[str, str], dict[str, list[float]]],
    gains: dict[tuple[str, str], Ratio],
    data: SpeechData,
) -> list[Goal]:
    """Return goals for the gain over the peer, and for the overhead of Lightning, in fp32."""
    goals = []
    for model, bound in GAINS.items():
        times = epochs[model, "fp32"]
        goals.append(
            Goal(f"epoch against random batches of 64, {model}", gains[model, "fp32"].median, ">=", bound)
        )
        against = paired_ratio(times["ser"], times["by hand"]).median
        step = 1e3 * spread(times["by hand"]).median / len(data.train_dataloader())
        goals.append(
            Goal(f"epoch against a loop by hand, {model}, steps of {step:.0f} ms", against, "<=", 1.03)
        )
    return goals


if __name__ == "__main__":
    main(train)
