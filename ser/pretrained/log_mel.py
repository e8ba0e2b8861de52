"""Networks that read normalised log-mels, as BYOL-A and BYOL-S train them: their base class and pooling over time."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded

NetworkPooling = Literal["mean", "mean_max"]


class LogMelNetwork(nn.Module, ABC):
    """Map normalised log-mels [B, T, F] to steps [B, T', D]; the result is the same alone and in a batch.

    A subclass computes images [B, 1, F, T]. In training, batch norms count real steps only.
    """

    model_type: ClassVar[str]
    """Name of the network in config.json of an encoder folder."""
    subsampling: ClassVar[int]
    """Number of frames per step."""
    min_steps: ClassVar[int] = 1
    """Minimum number of frames of a sequence."""
    out_dim: int
    """Number of values of a step, D."""
    pooling: NetworkPooling
    """Pooling over time with which it is trained: the mean, or the mean plus the maximum."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the arguments that rebuild the network, plain values."""

    @property
    def convolutions(self) -> tuple[nn.Module, ...]:
        """Return the convolutions before everything else."""
        return ()

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """Return the parts after the convolutions, first to last, that can be frozen by number."""
        return ()

    @abstractmethod
    def encode(self, image: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Encode images [B, 1, F, T] to steps [B, T', D], and return their lengths.

        Args:
            image: Log-mels, zero beyond the lengths.
            lengths: Number of frames of each image [B]; None if all fill it.
        """

    def forward(self, audio: Padded) -> Padded:
        """Encode [B, T, F]; every sequence has `min_steps` or more."""
        image = audio.zeroed().values.transpose(1, 2).unsqueeze(1)
        # Crops of one length need no masks: a step of AudioNTT takes 0.4 times as long, in bfloat16 0.25 times.
        fills = self.training and bool((audio.lengths == audio.values.shape[1]).all())
        steps, lengths = self.encode(image, None if fills else audio.lengths)
        return Padded(steps, torch.full_like(audio.lengths, steps.shape[1]) if lengths is None else lengths)

    def embed(self, audio: Padded) -> Tensor:
        """Embed log-mels [B, T, F] of any lengths to [B, D], by the network's pooling."""
        return pool_steps(self(audio), self.pooling)

    def embed_crops(self, crops: Tensor) -> Tensor:
        """Embed log-mels [B, T, F] of one length to [B, D], by the network's pooling."""
        steps, _ = self.encode(crops.transpose(1, 2).unsqueeze(1), None)
        return steps.mean(1) if self.pooling == "mean" else steps.mean(1) + steps.amax(1)


def pool_steps(steps: Padded, pooling: NetworkPooling) -> Tensor:
    """Pool steps [B, T, D] to [B, D] over time: the mean, or the mean plus the maximum."""
    real = steps.mask.unsqueeze(-1)
    mean = steps.values.where(real, 0).sum(1) / steps.lengths[:, None]
    return mean if pooling == "mean" else mean + steps.values.where(real, -torch.inf).amax(1)


def real_columns(image: Tensor, lengths: Tensor) -> Tensor:
    """Return a mask [B, 1, 1, T] bool that is true on the real columns of [B, C, F, T]."""
    steps = torch.arange(image.shape[-1], device=image.device)
    return (steps < lengths[:, None])[:, None, None]


def utterance_moments(log_mels: Padded) -> tuple[Tensor, Tensor]:
    """Compute mean and deviation [B, 1, 1] of the log-mels [B, T, F] of each utterance; that of silence is 1."""
    real, values = log_mels.mask.unsqueeze(-1), log_mels.values.double()
    count = log_mels.lengths[:, None, None] * values.shape[-1]
    mean = values.where(real, 0).sum((1, 2), True) / count
    squares = (values - mean).square().where(real, 0).sum((1, 2), True)
    std = (squares / count).sqrt()
    return mean.float(), std.where(std > 0, 1).float()


def zero_padding(image: Tensor, lengths: Tensor | None) -> Tensor:
    """Set padding of [B, C, F, T] to 0, so that the next convolution reads zeros there, as if it were alone."""
    return image if lengths is None else image * real_columns(image, lengths)


def normalize_image(norm: nn.modules.batchnorm._BatchNorm, image: Tensor, lengths: Tensor | None) -> Tensor:
    """Apply batch norm to [B, C, F, T]; in training, its statistics are those of real columns.

    Padding is set to the mean of the real columns. Then the mean of all columns is that of the real ones, and their
    variance is that of the real ones times the share of these, which the scale and `eps` make up for. So the batch norm
    of torch gives the exact result; a training step takes half the time that sums over masked values took.
    """
    if lengths is None or not norm.training:
        normalized: Tensor = norm(image)
        return normalized
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    real, steps = real_columns(image, lengths), int(lengths.sum())
    count, total = steps * image.shape[2], image.numel() // image.shape[1]
    share = count / total
    mean = _sum_columns(image, real.to(image.dtype)) / count
    filled = torch.where(real, image, mean.to(image.dtype)[:, None, None])
    seen = (
        torch.zeros_like(norm.running_mean),
        torch.zeros_like(norm.running_var),
    )  # momentum 1: of this batch
    scale, eps = norm.weight * share**0.5, norm.eps * share
    normalized = functional.batch_norm(filled, *seen, scale, norm.bias, training=True, momentum=1.0, eps=eps)
    with torch.no_grad():
        momentum = norm.momentum or 0.0
        norm.running_mean.lerp_(seen[0], momentum)
        norm.running_var.lerp_(seen[1] * ((total - 1) / max(count - 1, 1)), momentum)
        norm.num_batches_tracked.add_(1)
    return normalized


def _sum_columns(image: Tensor, real: Tensor) -> Tensor:
    """Return the sums [C] of the real columns of [B, C, F, T], as a product of matrices for the order in memory."""
    share = 2.0 ** -image.shape[-1].bit_length()  # exact, and sums over time do not overflow in float16
    if image.is_contiguous(memory_format=torch.channels_last):
        sums = (real * share) @ image.permute(0, 2, 3, 1)  # [B, F, 1, C]
        return sums.float().sum((0, 1, 2)) / share
    return (image @ (real * share).mT).float().sum((0, 2, 3)) / share
