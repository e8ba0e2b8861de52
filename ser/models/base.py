"""What an encoder is, and what one that can stream is besides."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ser.batch import Padded
from ser.errors import DataError

State = Any
"""What a model remembers of a stream: tensors [B, ...], in nested tuples. A value: nothing changes it."""


@runtime_checkable
class Encoder(Protocol):
    """Padded [B, T, F] -> Padded [B, ceil(T / subsampling), D]; padding and batch mates change nothing."""

    out_dim: int
    """D, width of an output step."""
    subsampling: int
    """Input steps to one output step."""

    def __call__(self, audio: Padded) -> Padded:
        """Encode the sequences."""
        ...


@runtime_checkable
class CausalEncoder(Encoder, Protocol):
    """An encoder whose steps depend on nothing that comes later, so that it can follow a stream.

    However a stream is cut into chunks, their outputs are those of the whole.
    """

    def initial_state(self, batch_size: int) -> State:
        """Nothing heard yet.

        Raises:
            ConfigError: with these settings the encoder looks ahead.
        """
        ...

    def step(self, chunk: Tensor, state: State) -> tuple[Tensor, State]:
        """The next frames [B, n, F], n >= 0 and no padding -> the steps [B, m, D] they complete, and what to remember.

        Raises:
            DataError: the state is of another batch size.
        """
        ...

    def finish(self, state: State) -> Tensor:
        """The steps [B, m, D] that frames still waiting in the state make at the end of a stream."""
        ...


def check_batch_size(chunk: Tensor, remembered: Tensor) -> None:
    """Refuse a state that belongs to other streams.

    Raises:
        DataError: chunk [B, ...] and remembered [B', ...] are not of one batch size.
    """
    if len(chunk) != len(remembered):
        raise DataError(
            f"stream: a chunk of {len(chunk)} streams, but a state of {len(remembered)}. Give each batch of streams "
            f"the state that it left, or begin with initial_state({len(chunk)})."
        )


def no_steps(chunk: Tensor, dim: int) -> Tensor:
    """No steps, [B, 0, dim], beside a chunk [B, ...]."""
    return torch.empty(len(chunk), 0, dim, dtype=chunk.dtype, device=chunk.device)
