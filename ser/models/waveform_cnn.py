"""One-dimensional CNNs on raw waveforms."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_exporting
from torch.nn import functional

from ser.batch import Padded
from ser.models.base import Encoder
from ser.models.lstm import LSTMEncoder

_log = logging.getLogger(__name__)


class WaveformCNNEncoder(Encoder):
    """A wide strided convolution as a filterbank, then short ones; each stage ends with max pooling.

    An output step covers `receptive_field` samples. Shorter waveforms are repeated up to this length, with a warning:
    padded with zeros, a step would cover mostly silence, unlike in training.

    Args:
        in_dim: Number of values of a sample, 1 for mono.
        in_channels: Unused number of channels.
        channels: Number of output channels of each stage.
        kernel: Kernel of the first stage, in samples; the others have 3 steps.
        stride: Stride of the first stage.
        pool: Number of steps that the max pooling of each stage combines.
        dropout: Dropout of whole channels after each stage but the last, 0..1.

    Source: Dai et al., "Very deep convolutional neural networks for raw waveforms", ICASSP 2017, network M5.
    """

    def __init__(
        self,
        in_dim: int,
        in_channels: int = 1,
        *,
        channels: Sequence[int] = (32, 32, 64, 64),
        kernel: int = 80,
        stride: int = 16,
        pool: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [in_dim, *channels]
        self.stages = nn.ModuleList()
        self.subsampling, self.receptive_field = 1, 1
        for depth, width in enumerate(channels):
            size, step = (kernel, stride) if depth == 0 else (3, 1)
            self.stages.append(
                _Stage(widths[depth], width, size, step, pool, dropout if depth < len(channels) - 1 else 0.0)
            )
            self.receptive_field += (size - 1) * self.subsampling
            self.receptive_field += (pool - 1) * self.subsampling * step
            self.subsampling *= step * pool
        self.out_dim = channels[-1]
        self._has_warned = False

    def forward(self, audio: Padded) -> Padded:
        """Encode [B, T, F] to [B, ceil(T / subsampling), channels[-1]], where T includes repetitions."""
        if is_exporting():
            audio = repeat_short(audio, self.receptive_field)
        elif (shortest := int(audio.lengths.min())) < self.receptive_field:
            self._warn(shortest)
            audio = repeat_short(audio, self.receptive_field)
        steps = Padded(audio.zeroed().values.transpose(1, 2), audio.lengths)
        for stage in self.stages:
            steps = stage(steps)
        return Padded(steps.values.transpose(1, 2), steps.lengths)

    def _warn(self, shortest: int) -> None:
        if not self._has_warned:
            _log.warning(
                "A waveform of %d samples is shorter than the network's receptive field of %d: it is repeated.",
                *(shortest, self.receptive_field),
            )
        self._has_warned = True


class WaveformCNNLSTMEncoder(Encoder):
    """A CNN on waveforms, then an LSTM over its steps.

    Args:
        in_dim: Number of values of a sample, 1 for mono.
        in_channels: Unused number of channels.
        hidden_dim: Number of units of the LSTM per direction.
        bidirectional: Whether the LSTM reads in both directions.
        settings: Further arguments of WaveformCNNEncoder.
    """

    def __init__(
        self,
        in_dim: int,
        in_channels: int = 1,
        *,
        hidden_dim: int = 256,
        bidirectional: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.cnn = WaveformCNNEncoder(in_dim, in_channels, **settings)
        self.lstm = LSTMEncoder(
            self.cnn.out_dim, hidden_dim=hidden_dim, num_layers=1, bidirectional=bidirectional
        )
        self.out_dim = self.lstm.out_dim
        self.subsampling = self.cnn.subsampling

    def forward(self, audio: Padded) -> Padded:
        """Encode [B, T, F] to [B, ceil(T / subsampling), out_dim], where T includes repetitions."""
        out: Padded = self.lstm(self.cnn(audio))
        return out


class PooledWaveCNN(nn.Module):
    """Three convolutions on samples, each with max pooling, a ReLU and dropout; no batch norm, no strides.

    A step reaches 123 samples before its 250, and 184 after them. Parameters: 450 + 37,625 + 187,750.

    Args:
        dropout: Dropout after each stage, 0..1.

    Source: Tzirakis, Nguyen, Zafeiriou, Schuller, "Speech emotion recognition using semantic information", ICASSP 2021.
    """

    out_dim = 250
    subsampling = 250

    def __init__(self, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [nn.Conv1d(1, 50, 8), nn.Conv1d(50, 125, 6), nn.Conv1d(125, self.out_dim, 6)]
        )
        self.pools = (10, 5, 5)
        self.dropout = nn.Dropout(dropout)

    def forward(self, samples: Padded) -> Padded:
        """Map samples [B, N] to steps [B, ceil(N / 250), 250], which are zero beyond an end; lengths may be 0."""
        lengths = samples.lengths
        values = (samples.values * samples.mask)[:, None]
        for convolution, pool in zip(self.convolutions, self.pools, strict=True):
            assert isinstance(convolution, nn.Conv1d)
            kernel = convolution.kernel_size[0]
            before = (kernel - 1) // 2
            padded = functional.pad(values, (before, kernel - 1 - before))
            # In place, and the ReLU after pooling, which gives the same: the largest tensor exists once.
            convolved = convolution(padded).masked_fill_(_beyond(values, lengths), -torch.inf)
            values = self.dropout(_max_pool(convolved, pool).relu())
            lengths = -(-lengths // pool)
        return Padded(values.transpose(1, 2), lengths)


class _Stage(nn.Module):
    """Convolution, batch norm, ReLU and max pooling; values are [B, C, T] here, and zero beyond an end."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int, pool: int, dropout: float
    ) -> None:
        super().__init__()
        self.stride, self.pool = stride, pool
        before = (kernel - stride) // 2  # negative if the kernel skips samples
        self.pad = nn.ConstantPad1d((before, kernel + max(-before, 0)), 0.0)
        self.convolution = nn.Conv1d(in_channels, channels, kernel, stride, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, steps: Padded) -> Padded:
        lengths = -(-steps.lengths // self.stride)
        longest = (
            steps.values.shape[2] + self.stride - 1
        ) // self.stride  # in ONNX, -(-n // stride) is another number
        values = self.convolution(self.pad(steps.values))[..., :longest]
        values = self.norm(values).relu() * _mask(
            values, lengths
        )  # never negative, so that max pooling may include zeros
        return Padded(self.dropout(_max_pool(values, self.pool)), -(-lengths // self.pool))


def repeat_short(audio: Padded, shortest: int) -> Padded:
    """Repeat sequences [B, T, F] of fewer than `shortest` steps from their start until they have `shortest`."""
    lengths = audio.lengths.clamp_min(shortest)
    traced: Any = torch.sym_max  # without types
    longest = traced(audio.values.shape[1], shortest) if is_exporting() else int(lengths.max())
    steps = torch.arange(longest, device=audio.values.device)
    sources = (steps % audio.lengths[:, None]).where(steps < lengths[:, None], 0)
    values = audio.values.gather(1, sources.unsqueeze(-1).expand(-1, -1, audio.values.shape[2]))
    return Padded(values, lengths)


def _max_pool(values: Tensor, size: int) -> Tensor:
    """Pool [B, C, T] to [B, C, ceil(T / size)]."""
    if is_exporting():  # max_pool1d gives a graph the length of its example
        return functional.max_pool2d(values, (1, size), ceil_mode=True)
    return functional.max_pool1d(values, size, ceil_mode=True)


def _beyond(values: Tensor, lengths: Tensor) -> Tensor:
    """Return a mask [B, 1, T] bool that is true beyond the ends of [B, C, T]."""
    steps = torch.arange(values.shape[2], device=values.device)
    return (steps >= lengths[:, None])[:, None]


def _mask(values: Tensor, lengths: Tensor) -> Tensor:
    """Return a mask [B, 1, T] that is 1 on real steps."""
    steps = torch.arange(values.shape[2], device=values.device)
    return (steps < lengths[:, None])[:, None].to(values.dtype)
