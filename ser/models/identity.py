"""No encoder: pooling is applied to the features themselves."""

from ser.batch import Padded
from ser.models.base import Encoder


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
