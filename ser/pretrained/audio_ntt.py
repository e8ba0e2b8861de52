"""AudioNTT, the convolutional network of BYOL-A and BYOL-S.

Source: Niizumi et al., "BYOL for Audio: Self-Supervised Learning for General-Purpose Audio Representation" (2021).
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.pretrained.log_mel import LogMelNetwork, normalize_image, zero_padding

_CHANNELS = 64
_STAGES = (0, 4, 8)  # indices of the convolutions in `features`, as in the published state_dicts


class AudioNTT(LogMelNetwork):
    """Three convolutions that each halve time and frequency, and two layers that are applied to each step.

    Its halving drops the last step of an odd number of steps: T steps become T // 8.

    Args:
        width: Number of values of an output step, D: 512, 1024 or 2048 as published.
        num_mel_bins: Number of mel bins, F, a multiple of 8.
        dropout: Dropout between the two layers, 0..1.
    """

    model_type: ClassVar[str] = "audio_ntt"
    subsampling: ClassVar[int] = 8
    min_steps: ClassVar[int] = 8

    def __init__(self, width: int = 512, *, num_mel_bins: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        self.out_dim = width
        self.pooling = "mean_max"
        self.num_mel_bins, self.dropout = num_mel_bins, dropout
        widths = (1, _CHANNELS, _CHANNELS)
        self.features = nn.Sequential(*(layer for before in widths for layer in _stage(before)))
        self.fc = nn.Sequential(
            nn.Linear(_CHANNELS * num_mel_bins // self.subsampling, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments that rebuild the network."""
        return {"width": self.out_dim, "num_mel_bins": self.num_mel_bins, "dropout": self.dropout}

    @property
    def convolutions(self) -> tuple[nn.Module, ...]:
        """Return the convolutions, before the layers that are applied to each step."""
        return (self.features,)

    def encode(self, image: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Encode images [B, 1, F, T] to steps [B, T // 8, D], and return their lengths."""
        # The memory format "channels last" is kept by pooling and convolutions: three times as fast on a CPU.
        image = image.contiguous(memory_format=torch.channels_last)
        for start in _STAGES:
            # Pooling before the ReLU gives the same result, and leaves a quarter of the values to the ReLU.
            image = functional.relu(functional.max_pool2d(self._convolve(start, image, lengths), 2))
            lengths = None if lengths is None else lengths // 2
            image = zero_padding(image, lengths)
        steps: Tensor = self.fc(image.permute(0, 3, 2, 1).flatten(2))
        return steps, lengths

    def _convolve(self, start: int, image: Tensor, lengths: Tensor | None) -> Tensor:
        """Apply convolution and batch norm; in evaluation mode as one convolution, equal to 2e-7."""
        layers: Any = self.features
        convolution, norm = layers[start], layers[start + 1]
        if norm.training:
            return normalize_image(norm, convolution(image), lengths)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = convolution.weight * scale[:, None, None, None]
        bias = (convolution.bias - norm.running_mean) * scale + norm.bias
        return functional.conv2d(image, weight, bias, padding=1)


def _stage(in_channels: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(in_channels, _CHANNELS, 3, padding=1),
        nn.BatchNorm2d(_CHANNELS),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
