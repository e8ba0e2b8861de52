"""Keep float32 for features, augmentation, statistics and class weights, whatever the precision of a training.

Energies span ten decades; float16 has three digits and a maximum of 65504.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def in_float32(device: torch.device) -> Iterator[None]:
    """Compute in float32: disable autocast, and reset the default type that trainer.precision=16-true changes."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_default_dtype(before)


class KeepsPrecision(nn.Module):
    """Module whose parameters and buffers keep their types when they move between devices."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)  # type: ignore[no-untyped-call]
