"""What the networks share: layers of `transformers` that are called one by one, and waveforms shorter than a step."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_exporting
from torch.utils.checkpoint import checkpoint

from ser.batch import Padded
from ser.models.waveform_cnn import repeat_short

_log = logging.getLogger(__name__)

Mask = Callable[[Padded, Tensor | None], Padded]
"""Replaces some steps [B, T, D] by a vector [D], or by 0."""


def run_layer(layer: nn.Module, hidden: Tensor, *, save_memory: bool, **options: Any) -> Any:
    """Compute a layer's output, see `first_output`.

    Args:
        layer: Layer of a network of `transformers`.
        hidden: Its input [B, T, D].
        save_memory: Whether to keep only the input, where gradients are needed, and to compute the rest again for them.
        options: Further arguments of the layer.
    """
    if save_memory and torch.is_grad_enabled():
        return checkpoint(layer, hidden, use_reentrant=False, **options)
    return layer(hidden, **options)


def first_output(output: Any) -> Tensor:
    """Return the hidden states of a layer, which some versions of `transformers` wrap in a tuple."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


class RepeatShort:
    """Repeat waveforms that are shorter than an encoder's first step, and warn of the first ones.

    Args:
        shortest: Number of samples of the first step.
    """

    def __init__(self, shortest: int) -> None:
        self.shortest = shortest
        self._has_warned = False

    def __call__(self, audio: Padded) -> Padded:
        """Return waveforms [B, samples, 1] of which each has enough samples."""
        if is_exporting():  # a graph has no condition on a length; repeating a long one changes nothing
            return repeat_short(audio, self.shortest)
        length = int(audio.lengths.min())
        if length >= self.shortest:
            return audio
        if not self._has_warned:
            _log.warning(
                "A waveform of %d samples is shorter than the %d of the encoder's first step: it is repeated.",
                *(length, self.shortest),
            )
        self._has_warned = True
        return repeat_short(audio, self.shortest)
