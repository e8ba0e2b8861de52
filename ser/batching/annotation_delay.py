"""Move the labels of a training split back by the delay of its annotators."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ser.curves import compensate_delay, estimate_delay
from ser.data.store import Store

_MOST_VALUES = 400  # of a step's audio that a regression takes; of more, its energies


def resolve_delay(spec: Mapping[str, Any], train: Store) -> dict[str, Any]:
    """Return the spec of a target with a number for its delay, estimated on the training split if it asks for that.

    Raises:
        DataError: No recording is long enough for an estimate.
    """
    if spec.get("delay_s") != "estimate":
        return dict(spec)
    inputs, labels = [], []
    for index in range(len(train)):
        span = np.array([index]), np.zeros(1, dtype=np.int64), train.lengths[[index]]
        inputs.append(_inputs(train.gather(*span)[0], train.audio.shape[1]))
        labels.append(torch.from_numpy(train.gather_step_labels(*span)))
    return {**spec, "delay_s": round(estimate_delay(inputs, labels), 3)}


def compensate_store(train: Store, delay_s: float) -> Store:
    """Return a split whose labels are moved back; the last ones of each recording are unknown then."""
    assert train.step_labels is not None
    moved = train.step_labels.copy()
    for first, length in zip(train.firsts.tolist(), train.lengths.tolist(), strict=True):
        own = slice(first, first + length)
        moved[own] = compensate_delay(torch.from_numpy(train.step_labels[own]), delay_s).numpy()
    return train.with_step_labels(moved, train.label_names)


def _inputs(frames: Tensor, audio_dim: int) -> Tensor:
    """Return what a regression takes of features [T, F]: all, or the energy of each role instead of many samples."""
    if audio_dim <= _MOST_VALUES:
        return frames
    roles = frames[:, :audio_dim].reshape(len(frames), 2, -1)
    energies = (roles.square().mean(-1) + 1e-8).log()
    return torch.cat([energies, frames[:, audio_dim:]], 1)
