"""Two views of each crop: mixup with past inputs, then a random crop that is resized; batched, on any device.

Random numbers depend on the key of an utterance only, so that a resumed run draws the same ones.

Source: Niizumi et al., "BYOL for Audio: Self-Supervised Learning for General-Purpose Audio Representation" (2021).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ser.errors import ConfigError
from ser.randomness import uniform

_CUBIC = -0.75  # parameter of the cubic kernel, as in torch's bicubic interpolation


class Views(nn.Module):
    """Make two views of each crop of a batch.

    Args:
        mixup: Largest share of a past input, 0..1; it is uniform in 0..mixup. 0 mixes nothing.
        memory: Number of past inputs of this process to draw from.
        frequency_scale: Smallest and largest height of the random crop / number of bands.
        time_scale: Smallest and largest width of the random crop / number of frames.
        canvas: Width of the canvas, with the input in its middle and zeros beside it / number of frames, 1 or more.

    Raises:
        ConfigError: A setting is out of its range.
    """

    def __init__(
        self,
        *,
        mixup: float = 0.4,
        memory: int = 2048,
        frequency_scale: Sequence[float] = (0.6, 1.5),
        time_scale: Sequence[float] = (0.6, 1.5),
        canvas: float = 1.5,
    ) -> None:
        super().__init__()
        _check("mixup", mixup, 0 <= mixup < 1, "a share from 0 to below 1")
        _check("memory", memory, memory >= 1, "a number of inputs, 1 or more")
        _check("canvas", canvas, canvas >= 1, "1 or more")
        for name, scale in (("frequency_scale", frequency_scale), ("time_scale", time_scale)):
            fits = len(scale) == 2 and 0 < scale[0] <= scale[1]
            _check(name, [*scale], fits, "the smallest and the largest scale, above 0")
        self.mixup = mixup
        self.memory = Memory(memory)
        self.frequency_scale, self.time_scale, self.canvas = frequency_scale, time_scale, canvas

    @torch.no_grad()
    def forward(self, crops: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Return two views [B, T, F] of normalised log-mels [B, T, F], and remember these."""
        self.memory.inputs = self.memory.inputs.to(crops.device)  # after a resume, they are on the CPU
        first, second = (self._view(crops, keys, number) for number in (0, 1))
        self.memory.add(crops)
        return first, second

    def _view(self, crops: Tensor, keys: Tensor, number: int) -> Tensor:
        past, share = self.memory, uniform(keys, f"mixup{number}", 2)
        if self.mixup and past.size:
            others = past.inputs[(share[:, 1] * past.size).long()]
            crops = mix_log_energies(crops, others, self.mixup * share[:, 0])
        return self._resize(crops, uniform(keys, f"resize{number}", 4))

    def _resize(self, crops: Tensor, draws: Tensor) -> Tensor:
        """Cut a random part of the canvas out of each crop, and resize it to [T, F] by bicubic interpolation."""
        frames, bands = crops.shape[1:]
        wide = int(self.canvas * frames)
        left = (wide - frames) // 2
        height, top = draw_span(draws[:, :2], self.frequency_scale, bands, bands)
        width, begin = draw_span(draws[:, 2:], self.time_scale, frames, wide)
        over_time = cubic_weights(begin - left, width, out=frames, size=frames)
        over_bands = cubic_weights(top, height, out=bands, size=bands)
        return over_time @ crops @ over_bands.transpose(1, 2)


class Memory:
    """The newest inputs [size, T, F] of this process; the oldest ones are replaced first.

    Args:
        capacity: Largest number of inputs.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.inputs = torch.empty(0)
        self.size = self._next = 0

    def add(self, crops: Tensor) -> None:
        """Store the crops [B, T, F] of a batch, on their device."""
        crops = crops[-self.capacity :]
        if not len(self.inputs):
            self.inputs = crops.new_zeros(self.capacity, *crops.shape[1:])
        places = (torch.arange(len(crops), device=crops.device) + self._next) % self.capacity
        self.inputs.index_copy_(0, places, crops)
        self._next = (self._next + len(crops)) % self.capacity
        self.size = min(self.size + len(crops), self.capacity)

    def state(self) -> dict[str, Any]:
        """Return the inputs and the next place, for a checkpoint."""
        return {"inputs": self.inputs[: self.size].cpu(), "next": self._next}

    def load(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore what `state` returned."""
        held = state["inputs"].to(device)
        self.size, self._next = len(held), state["next"]
        if self.size:
            self.inputs = held.new_zeros(self.capacity, *held.shape[1:])
            self.inputs[: self.size] = held


def mix_log_energies(crops: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """Return ln((1 - share) exp(crops) + share exp(others)) for [B, T, F] and shares [B]."""
    share = share[:, None, None]
    return torch.logaddexp(crops + torch.log1p(-share), others + share.log())


def draw_span(draws: Tensor, scale: Sequence[float], size: int, canvas: int) -> tuple[Tensor, Tensor]:
    """Return the random length [B] of a span and its start [B] on a canvas.

    Args:
        draws: Numbers [B, 2] in 0..1.
        scale: Smallest and largest length / size.
        size: Size of the input.
        canvas: Size of the canvas, the largest length.
    """
    smallest, largest = scale
    length = ((smallest + (largest - smallest) * draws[:, 0]) * size).long().clamp(1, canvas)
    start = (draws[:, 1] * (canvas - length + 1)).long()
    return length, torch.minimum(start, canvas - length)


def cubic_weights(start: Tensor, length: Tensor, *, out: int, size: int) -> Tensor:
    """Return matrices [B, out, size] that resize spans of an axis to `out` values, their ends onto its ends.

    Positions outside 0..size - 1 are zeros of the input, and those outside the span repeat its ends. They equal torch's
    bicubic interpolation with align_corners=True, whose size is one for a whole batch.

    Args:
        start: First position [B] of each span, also below 0.
        length: Number of positions [B] of each span, 1 or more.
        out: Number of resized values, 2 or more.
        size: Number of values of the input.
    """
    steps = torch.arange(out, device=start.device)
    position = steps * ((length - 1) / (out - 1))[:, None]
    lower = position.floor()
    near = position - lower
    inputs = torch.arange(size, device=start.device)
    matrices = torch.zeros(len(start), out, size, device=start.device)
    for offset in (-1, 0, 1, 2):
        tap = torch.minimum((lower.long() + offset).clamp_min(0), (length - 1)[:, None]) + start[:, None]
        matrices += torch.where(tap[:, :, None] == inputs, _cubic((near - offset).abs())[:, :, None], 0.0)
    return matrices


def _cubic(distance: Tensor) -> Tensor:
    """Return the weight of a value at a distance of 0..2."""
    inner = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance.square() + 1
    outer = _CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance <= 1, inner, outer)


def _check(name: str, value: object, fits: bool, expected: str) -> None:
    if not fits:
        raise ConfigError(f"pretraining.{name}={value}: expected {expected}. Correct it.")
