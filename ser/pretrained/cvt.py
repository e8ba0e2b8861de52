"""CvT, the convolutional transformer of BYOL-S.

Names of parameters are those of the published weights.

Source: Wu et al., "CvT: Introducing convolutions to vision transformers" (2021); Elbanna et al., "BYOL-S: learning
self-supervised speech representations by bootstrapping" (2022).
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.pretrained.log_mel import LogMelNetwork, normalize_image, real_columns, zero_padding

_KERNELS, _STRIDES, _HEADS = (7, 3, 3), (4, 2, 2), (1, 3, 6)
_HEAD_DIM, _MULTIPLE, _KEY_STRIDE = 64, 4, 2


class CvT(LogMelNetwork):
    """Three stages of a strided convolution and a transformer block over time and frequency: 16 frames a step.

    Args:
        widths: Channels of the stages: 64, 128, 256 (small) or 64, 256, 512 (large) as published.
        frequency: What becomes of frequency at the end: its mean, so that a step has as many values as channels, or
            all of it (`flat`), with num_mel_bins / 16 times as many.
        num_mel_bins: Number of mel bins, F.
    """

    model_type: ClassVar[str] = "cvt"
    subsampling: ClassVar[int] = 16

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256),
        *,
        frequency: Literal["mean", "flat"] = "mean",
        num_mel_bins: int = 64,
    ) -> None:
        super().__init__()
        self.widths, self.frequency, self.num_mel_bins = [*widths], frequency, num_mel_bins
        self.pooling = "mean" if frequency == "mean" else "mean_max"
        bands = num_mel_bins
        for stride in _STRIDES:
            bands = _shortened(bands, stride)
        self.out_dim = widths[-1] * (bands if frequency == "flat" else 1)
        ends = zip((1, *widths), widths, _KERNELS, _STRIDES, _HEADS, strict=False)
        self.layers = nn.Sequential(*(nn.Sequential(*_stage(*each)) for each in ends))

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments that rebuild the network."""
        return {"widths": self.widths, "frequency": self.frequency, "num_mel_bins": self.num_mel_bins}

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """Return the three stages."""
        return tuple(self.layers)

    def encode(self, image: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Encode images [B, 1, F, T] to steps [B, ceil(T / 16), D], and return their lengths."""
        for (convolution, norm, blocks), stride in zip(self._stages(), _STRIDES, strict=True):
            lengths = None if lengths is None else _shortened(lengths, stride)
            image = zero_padding(norm(convolution(image)), lengths)
            image = blocks(image, lengths)
        if self.frequency == "mean":
            return image.mean(2).transpose(1, 2), lengths
        return image.permute(0, 3, 2, 1).flatten(2), lengths

    def _stages(self) -> list[Any]:
        return [*self.layers]


def _stage(
    in_channels: int, channels: int, kernel: int, stride: int, heads: int
) -> tuple[nn.Module, nn.Module, nn.Module]:
    convolution = nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2)
    return convolution, _ChannelNorm(channels), _Blocks(channels, heads)


def _shortened(length: Any, stride: int) -> Any:
    """Return the length after a convolution whose padding is half of its kernel: length / stride, rounded up."""
    return (length - 1) // stride + 1


class _ChannelNorm(nn.Module):
    """Normalise the channels of each position of [B, C, F, T]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        wide = image.float()
        centred = wide - wide.mean(1, True)
        variance = centred.square().mean(1, True)
        # The published code divides by the deviation + 1e-5; its gradient at 0 is infinite without a smallest variance.
        scores = centred / (variance.clamp_min(1e-12).sqrt() + 1e-5)
        return (scores * self.g + self.b).to(image.dtype)


class _Blocks(nn.Module):
    """Transformer of one block over all positions of an image."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        block = (_PreNorm(channels, _Attention(channels, heads)), _PreNorm(channels, _FeedForward(channels)))
        self.layers = nn.ModuleList([nn.ModuleList(block)])

    def forward(self, image: Tensor, lengths: Tensor | None) -> Tensor:
        layers: Any = self.layers
        for block in layers:
            for part in block:
                image = zero_padding(part(image, lengths) + image, lengths)
        return image


class _PreNorm(nn.Module):
    def __init__(self, channels: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = _ChannelNorm(channels)
        self.fn = fn

    def forward(self, image: Tensor, lengths: Tensor | None) -> Tensor:
        output: Tensor = self.fn(zero_padding(self.norm(image), lengths), lengths)
        return output


class _FeedForward(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = _MULTIPLE * channels
        self.net = nn.Sequential(
            nn.Conv2d(channels, wide, 1),
            nn.GELU(),
            nn.Identity(),  # dropout of 0 in the published network
            nn.Conv2d(wide, channels, 1),
        )

    def forward(self, image: Tensor, lengths: Tensor | None) -> Tensor:
        output: Tensor = self.net(image)
        return output


class _Projection(nn.Module):
    """Depthwise convolution, batch norm, and a convolution over channels; the last two have no bias."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, out_channels, 1, bias=False),
        )

    def forward(self, image: Tensor, lengths: Tensor | None) -> Tensor:
        parts: Any = self.net
        output: Tensor = parts[2](normalize_image(parts[1], parts[0](image), lengths))
        return output


class _Attention(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        inner = heads * _HEAD_DIM
        self.heads = heads
        self.to_q = _Projection(channels, inner, 1)
        self.to_kv = _Projection(channels, 2 * inner, _KEY_STRIDE)
        self.to_out = nn.Sequential(nn.Conv2d(inner, channels, 1))

    def forward(self, image: Tensor, lengths: Tensor | None) -> Tensor:
        queries = self.to_q(image, lengths)
        shorter = None if lengths is None else _shortened(lengths, _KEY_STRIDE)
        keys, values = self.to_kv(image, shorter).chunk(2, dim=1)
        mask = None
        if shorter is not None:
            mask = real_columns(keys, shorter).expand(-1, -1, keys.shape[2], -1).flatten(2).unsqueeze(1)
        mixed = functional.scaled_dot_product_attention(
            self._split(queries), self._split(keys), self._split(values), attn_mask=mask
        )
        output: Tensor = self.to_out(mixed.transpose(2, 3).reshape(queries.shape))
        return output

    def _split(self, image: Tensor) -> Tensor:
        """Split [B, H * D, F, T] into heads [B, H, F * T, D]."""
        return image.reshape(image.shape[0], self.heads, _HEAD_DIM, -1).transpose(2, 3)
