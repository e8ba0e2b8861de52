"""Interfaces of encoders, with and without streaming."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ser.batch import Padded
from ser.errors import DataError

State = Any
"""State of a stream: tensors [B, ...] in nested tuples. It is a value: no function modifies it."""


@runtime_checkable
class Encoder(Protocol):
    """Map Padded [B, T, F] to Padded [B, ceil(T / subsampling), D]; padding and batch mates change nothing."""

    out_dim: int
    """Number of values of an output step, D."""
    subsampling: int
    """Number of input steps per output step."""

    def __call__(self, audio: Padded) -> Padded:
        """Encode the sequences."""
        ...


@runtime_checkable
class CausalEncoder(Encoder, Protocol):
    """Encoder whose output depends on no future step, so that it can process a stream.

    The outputs do not depend on how a stream is cut into chunks.
    """

    def initial_state(self, batch_size: int) -> State:
        """Return the state before the first frame.

        Raises:
            ConfigError: With these settings, the encoder needs future steps.
        """
        ...

    def step(self, chunk: Tensor, state: State) -> tuple[Tensor, State]:
        """Process the next frames [B, n, F] without padding, n >= 0; return completed steps [B, m, D] and the state.

        Raises:
            DataError: The state has another batch size.
        """
        ...

    def finish(self, state: State) -> Tensor:
        """Return the steps [B, m, D] of the frames that are still in the state at the end of a stream."""
        ...


def check_batch_size(chunk: Tensor, remembered: Tensor) -> None:
    """Refuse a state of other streams.

    Raises:
        DataError: chunk [B, ...] and remembered [B', ...] have different batch sizes.
    """
    if len(chunk) != len(remembered):
        raise DataError(
            f"stream: a chunk of {len(chunk)} streams, but a state of {len(remembered)}. Give each batch of streams "
            f"the state that it left, or begin with initial_state({len(chunk)})."
        )


def no_steps(chunk: Tensor, dim: int) -> Tensor:
    """Return an empty tensor [B, 0, dim] with the type and device of a chunk [B, ...]."""
    return torch.empty(len(chunk), 0, dim, dtype=chunk.dtype, device=chunk.device)
