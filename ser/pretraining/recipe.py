"""Settings of a pre-training."""

from collections.abc import Sequence
from typing import Literal

from ser.errors import ConfigError
from ser.pretrained.networks import PUBLISHED_SIZES, NetworkName, build_network
from ser.pretraining.byol import BYOL
from ser.pretraining.views import Views


class Recipe:
    """Train an encoder of log-mels without labels: BYOL-S and BYOL-A.

    Args:
        encoder: Network, in a published size.
        crop: Position of the crop in a recording: random, or its start, as in the published code of BYOL-S.
        mixup: See Views.
        memory: See Views.
        frequency_scale: See Views.
        time_scale: See Views.
        canvas: See Views.
        projection_dim: See BYOL.
        hidden_dim: See BYOL.
        decay: See BYOL.
        probe_every: Number of epochs between two linear probes, which also follow the first and the last epoch.
        collapse_below: Deviation of projections below which a training stops.

    Raises:
        ConfigError: A setting is out of its range.
    """

    def __init__(
        self,
        *,
        encoder: NetworkName = "audio_ntt_512",
        crop: Literal["random", "start"] = "random",
        mixup: float = 0.4,
        memory: int = 2048,
        frequency_scale: Sequence[float] = (0.6, 1.5),
        time_scale: Sequence[float] = (0.6, 1.5),
        canvas: float = 1.5,
        projection_dim: int = 256,
        hidden_dim: int = 4096,
        decay: float = 0.99,
        probe_every: int = 10,
        collapse_below: float = 0.1,
    ) -> None:
        sizes = {"projection_dim": projection_dim, "hidden_dim": hidden_dim, "probe_every": probe_every}
        for name, value in sizes.items():
            if value < 1:
                raise ConfigError(f"pretraining.{name}={value}: expected 1 or more. Correct it.")
        for name, share in {"decay": decay, "collapse_below": collapse_below}.items():
            if not 0 <= share < 1:
                raise ConfigError(
                    f"pretraining.{name}={share}: expected a number from 0 to below 1. Correct it."
                )
        self.encoder = encoder
        self.crop = crop
        self.views = Views(
            mixup=mixup,
            memory=memory,
            frequency_scale=frequency_scale,
            time_scale=time_scale,
            canvas=canvas,
        )
        self.projection_dim, self.hidden_dim, self.decay = projection_dim, hidden_dim, decay
        self.probe_every, self.collapse_below = probe_every, collapse_below

    def model(self, num_mel_bins: int) -> BYOL:
        """Build the networks, with random weights."""
        network = build_network({**PUBLISHED_SIZES[self.encoder], "num_mel_bins": num_mel_bins})
        return BYOL(network, projection_dim=self.projection_dim, hidden_dim=self.hidden_dim, decay=self.decay)
