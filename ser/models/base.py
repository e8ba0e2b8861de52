"""What an encoder is, and nothing else."""

from typing import Protocol, runtime_checkable

from ser.batch import Padded


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
