"""No encoder: what is pooled are the features themselves."""

from torch import nn

from ser.batch import Padded


class IdentityEncoder(nn.Module):
    """Leaves the features as they are: with pooling=functionals, logistic regression over functionals.

    Args:
        in_dim: F, all channels together.
        in_channels: how many channels these are; not looked at.
    """

    def __init__(self, in_dim: int, in_channels: int = 1) -> None:
        super().__init__()
        self.out_dim = in_dim
        self.subsampling = 1

    def forward(self, audio: Padded) -> Padded:
        """[B, T, F] -> the same."""
        return audio
