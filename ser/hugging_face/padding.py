"""Steps that mix time, made exact under padding."""

import torch
from torch import Tensor, nn

from ser.batch import Padded

_SMALLEST_VARIANCE = 1e-7  # added to variances, as the feature extractors of all these models do


def normalize_waveforms(audio: Padded) -> Padded:
    """Normalise each waveform [B, samples, 1] to mean 0 and variance 1; padding is 0."""
    count = audio.lengths[:, None, None]
    values = audio.zeroed().values.double()
    centred = audio.with_values(values - values.sum(1, True) / count).zeroed()
    variance = centred.values.square().sum(1, True) / count
    return centred.with_values((centred.values / (variance + _SMALLEST_VARIANCE).sqrt()).float())


def norm_over_time(values: Tensor, lengths: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Normalise each channel of [B, C, T] by its real steps; the group norm of each is over its own channel."""
    assert norm.num_groups == values.shape[1]
    mask = torch.arange(values.shape[2], device=values.device) < lengths[:, None, None]
    wide = values.float()
    mean = (wide * mask).sum(2, True) / lengths[:, None, None]
    variance = ((wide - mean) * mask).square().sum(2, True) / lengths[:, None, None]
    scores = (wide - mean) * (variance + norm.eps).rsqrt()
    return (scores * norm.weight[:, None] + norm.bias[:, None]).to(values.dtype)


def attention_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what to add to attention scores, [B, 1, T, T]: 0, or the smallest number where mask is false.

    Args:
        mask: Steps that are attended to, [B, T] or for each query [B, T, T].
        dtype: Type of the scores.
    """
    each = mask[:, None] if mask.ndim == 2 else mask
    each = each.expand(-1, mask.shape[-1], -1)[:, None]
    return torch.zeros(each.shape, dtype=dtype, device=mask.device).masked_fill(~each, torch.finfo(dtype).min)
