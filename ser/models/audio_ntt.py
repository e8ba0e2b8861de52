"""Convolutional network of BYOL-A and BYOL-S (AudioNTT).

Source: Niizumi et al., "BYOL for Audio: Self-Supervised Learning for General-Purpose Audio Representation" (2021).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded

_CHANNELS = 64
_STAGES = (0, 4, 8)  # indices of the convolutions in `features`, as in the published state_dicts


class AudioNTT(nn.Module):
    """Three convolutions that each halve time and frequency, and two layers that are applied to each step.

    Pooling drops the last step of an odd number of steps: T steps become T // 8.

    Args:
        width: Number of values of an output step, D.
        num_mel_bins: Number of mel bins, F, a multiple of 8.
        dropout: Dropout between the two layers, 0..1.
    """

    subsampling = 8

    def __init__(self, width: int, *, num_mel_bins: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        self.out_dim = width
        widths = (1, _CHANNELS, _CHANNELS)
        self.features = nn.Sequential(*(layer for before in widths for layer in _stage(before)))
        self.fc = nn.Sequential(
            nn.Linear(_CHANNELS * num_mel_bins // self.subsampling, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
        )

    def forward(self, audio: Padded) -> Padded:
        """Encode [B, T, F] to [B, T // 8, D]; every sequence has 8 steps or more."""
        image = audio.zeroed().values.transpose(1, 2).unsqueeze(1)  # [B, 1, F, T]
        # The memory format "channels last" is kept by pooling and convolutions: three times as fast on a CPU.
        image = image.contiguous(memory_format=torch.channels_last)
        lengths = audio.lengths
        for start in _STAGES:
            # Pooling before the ReLU gives the same result, and leaves a quarter of the values to the ReLU.
            image = functional.relu(functional.max_pool2d(self._convolve(start, image), 2))
            lengths = lengths // 2
            steps = torch.arange(image.shape[-1], device=image.device)
            image = (
                image * (steps < lengths[:, None])[:, None, None]
            )  # zeros beyond an end, as if the utterance were alone
        return Padded(self.fc(image.permute(0, 3, 2, 1).flatten(2)), lengths)

    def _convolve(self, start: int, image: Tensor) -> Tensor:
        """Apply convolution and batch norm; in evaluation mode as one convolution, equal to 2e-7."""
        layers: Any = self.features
        convolution, norm = layers[start], layers[start + 1]
        if self.training:
            normalized: Tensor = norm(convolution(image))
            return normalized
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
