"""Transformer layers of `transformers`, called one by one."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


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
