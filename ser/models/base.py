"""Interfaces of encoders, with and without streaming, and the encoder that does nothing."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.errors import DataError

if TYPE_CHECKING:
    from ser.features.extractors import Extractor

State = Any
"""State of a stream: tensors [B, ...] in nested tuples. It is a value: no function modifies it."""


class Encoder(nn.Module, ABC):
    """Map Padded [B, T, F] to Padded [B, ceil(T / subsampling), D]; the result is the same alone and in a batch."""

    out_dim: int
    """Number of values of an output step, D."""
    subsampling: int = 1
    """Number of input steps per output step."""

    @abstractmethod
    def forward(self, audio: Padded) -> Padded:
        """Encode the sequences."""

    @classmethod
    def waveform_rate(cls, spec: Mapping[str, Any]) -> int | None:  # noqa: ARG003
        """Return the sample rate in Hz of unchanged waveforms that a spec's encoder needs; None for any features."""
        return None

    @classmethod
    def complete(cls, spec: Mapping[str, Any], extractor: "Extractor") -> Mapping[str, Any]:  # noqa: ARG003
        """Return a spec with the settings that follow from the features, before any data is read.

        Raises:
            ConfigError: The encoder cannot use these features.
        """
        return spec

    def portable(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a spec, beside that of the encoder, from which a state_dict alone restores it."""
        return spec

    def fit(self, batches: Iterable[Padded]) -> None:
        """Compute statistics from batches of the training split, with features as the model takes them."""

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for an epoch of training, counted from 0; it is called when a training resumes within one, too."""

    if TYPE_CHECKING:  # torch.nn.Module calls forward, with types that are not known

        def __call__(self, audio: Padded) -> Padded:
            """Encode the sequences."""
            ...


class IdentityEncoder(Encoder):
    """Return the features unchanged; with pooling=functionals, the model is a logistic regression over functionals.

    Args:
        in_dim: Number of values of a frame in all channels, F.
        in_channels: Unused number of channels.
    """

    def __init__(self, in_dim: int, in_channels: int = 1) -> None:
        super().__init__()
        self.out_dim = in_dim
        self.subsampling = 1

    def forward(self, audio: Padded) -> Padded:
        """Return [B, T, F] unchanged."""
        return audio


@runtime_checkable
class CausalEncoder(Protocol):
    """Encoder whose output depends on no future step, so that it can process a stream.

    The outputs do not depend on how a stream is cut into chunks.
    """

    out_dim: int
    subsampling: int

    def __call__(self, audio: Padded) -> Padded:
        """Encode the sequences."""
        ...

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
    if chunk.shape[0] != remembered.shape[0]:
        raise DataError(
            f"stream: a chunk of {len(chunk)} streams, but a state of {len(remembered)}. Give each batch of streams "
            f"the state that it left, or begin with initial_state({len(chunk)})."
        )


def no_steps(chunk: Tensor, dim: int) -> Tensor:
    """Return an empty tensor [B, 0, dim] with the type and device of a chunk [B, ...]."""
    return torch.empty(chunk.shape[0], 0, dim, dtype=chunk.dtype, device=chunk.device)
