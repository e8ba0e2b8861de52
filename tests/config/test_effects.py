"""Every number that the files of conf state changes what is learnt, or is refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ser.config.instantiate import build
from ser.config.settings import Train
from ser.errors import ConfigError
from ser.splits.base import Splits
from ser.training import setup
from ser.training.task import parameter_groups
from tests.config.test_options import OPTIONS, stated
from tests.fits import composed, with_value

BASE = ("batching.max_frames=400", "batching.max_utterances=8", "batching.pool=16", "batching.crop_frames=40")
WAVEFORMS = ("model=waveform_cnn", "model=waveform_cnn_wide", "model=waveform_cnn_lstm")
VALUE_LOSSES = ("loss=ccc", "loss=l1", "loss=mse")  # without a number, and not for classes
WALKED = [
    option
    for option in OPTIONS
    if option.partition("=")[0] in ("model", "pooling", "augment", "loss", "optimizer", "batching")
    and option not in (*WAVEFORMS, *VALUE_LOSSES, "pooling=none", "model=pretrained", "model=layer_mix")
]
WITHOUT_EFFECT = {
    "batching.num_workers": "where batches are put together",
    "batching.cut_frames": "null: see test_language_stream.py",
    "batching.overfit": "null: see test_train.py",
    "batching.temperature": "null: see test_class_balance.py",
}
OF_WORDS = ("model.text_dim=8", "frontend.delta_scale=0")
NEEDED = {"model=fusion": OF_WORDS, "model=semantic": OF_WORDS}
"""What an option needs beside it."""
OF_THE_ROOT = ["frontend.floor", "frontend.delta_scale", "head.dropout", "seed"]


@pytest.fixture(scope="module")
def splits(challenge: Path) -> Splits:
    """The challenge's small files, read once."""
    return setup.read_splits(Train.of(composed("data=challenge", f"data.root={challenge}")))


def digest(config: dict[str, Any], splits: Splits) -> tuple[Any, ...]:
    """The batches of an epoch, and the losses of three steps."""
    settings = Train.of(config)
    setup.prepare(settings)
    data = setup.make_data(settings, splits)
    task = setup.make_task(settings, data)
    task.train()
    optimizer = build(config["optimizer"], slot="optimizer", params=parameter_groups(task.model))
    batches = list(data.train_dataloader())
    losses = []
    for batch in batches[:3]:
        torch.manual_seed(1)
        audio, share = task.augment(task.to_features(batch.audio, batch.keys), batch.keys)
        outputs = task.model(audio)
        mixed = replace(batch, targets=batch.targets.roll(1))
        each = (1 - share) * task.objective(outputs, batch) + share * task.objective(outputs, mixed)
        optimizer.zero_grad()
        each.mean().backward()
        optimizer.step()
        losses.append(float(each.detach().mean()))
    return [batch.ids for batch in batches], [batch.audio.lengths.tolist() for batch in batches], losses


def other_values(value: Any) -> Iterator[Any]:
    """Values that a setting could have instead."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (2 * value, value // 2, value + 1)
    elif isinstance(value, float):
        yield from (value / 2, value + 0.25, value + 7.0)
    elif isinstance(value, list) and value:
        for others in zip(*map(other_values, value), strict=True):
            yield [*others]


def has_effect(config: dict[str, Any], key: str, splits: Splits, before: tuple[Any, ...]) -> bool:
    """Whether another value changes the digest from what it was before, or none is accepted."""
    value: Any = config
    for part in key.split("."):
        value = value[part]
    accepted = 0
    for other in other_values(value):
        try:
            after = digest(with_value(config, key, other), splits)
        except ConfigError:
            continue
        accepted += 1
        if after != before:
            return True
    return accepted == 0


@pytest.mark.filterwarnings("ignore:dropout option adds dropout after all but last:UserWarning")
@pytest.mark.parametrize("option", WALKED)
def test_every_number_of_an_option_has_an_effect(option: str, splits: Splits) -> None:
    config = composed("data=challenge", "data.root=.", *BASE, option, *NEEDED.get(option, ()))
    keys = [key for key in stated(option) if not key.startswith("trainer.") and key not in WITHOUT_EFFECT]
    before = digest(config, splits)
    assert [key for key in keys if not has_effect(config, key, splits, before)] == []


@pytest.mark.parametrize("key", OF_THE_ROOT)
def test_every_number_of_the_root_has_an_effect(key: str, splits: Splits) -> None:
    config = composed("data=challenge", "data.root=.", *BASE)
    assert has_effect(config, key, splits, digest(config, splits))
