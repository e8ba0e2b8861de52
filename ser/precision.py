"""What stays in float32 whatever precision a training runs in: features, augmentation, statistics, class weights.

Energies span ten decades; float16 has three digits and ends at 65504.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def in_float32(device: torch.device) -> Iterator[None]:
    """Compute in float32: turn autocast off, and the default type that trainer.precision=16-true and others set."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_default_dtype(before)


class KeepsPrecision(nn.Module):
    """A module whose parameters and buffers move between devices, and keep their types."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)  # type: ignore[no-untyped-call]
