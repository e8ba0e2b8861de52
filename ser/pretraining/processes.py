"""Statistics of a batch that several processes share: each of them holds a part."""

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from ser.targets.losses import sum_over_processes


def is_shared() -> bool:
    """Return whether several processes train together."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def standardize(values: Tensor) -> Tensor:
    """Subtract the mean of all values of all processes, and divide by their deviation."""
    smallest = torch.finfo(values.dtype).eps
    if not is_shared():
        return (values - values.mean()) / values.std().clamp_min(smallest)
    total, count = sum_over_processes(torch.stack([values.sum(), values.new_tensor(values.numel())]))
    centred = values - total / count
    deviation = (sum_over_processes(centred.square().sum()) / (count - 1)).sqrt()
    scores: Tensor = centred / deviation.clamp_min(smallest)
    return scores


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm with the statistics of all processes, on any device; torch's own needs a GPU."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, image: Tensor) -> Tensor:
        """Normalise the channels of [B, C, ...]."""
        if not self.training:
            return super().forward(image)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        axes = [axis for axis in range(image.ndim) if axis != 1]
        shape = [1, -1, *[1] * (image.ndim - 2)]
        wide = image.float()
        mine = torch.cat([wide.sum(axes), wide.new_tensor([wide.numel() / wide.shape[1]])])
        total = sum_over_processes(mine)
        count = total[-1].detach()
        mean = total[:-1] / count
        centred = wide - mean.view(shape)
        variance = sum_over_processes(centred.square().sum(axes)) / count
        with torch.no_grad():
            share = self.momentum or 0.0
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            unbiased = variance * (count / (count - 1).clamp_min(1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
            self.num_batches_tracked.add_(1)
        scores = centred * (variance + self.eps).rsqrt().view(shape)
        return (scores * self.weight.view(shape) + self.bias.view(shape)).to(image.dtype)


def share_batch_norms(module: nn.Module) -> None:
    """Replace all batch norms within a module by those over all processes; names and values stay."""
    for name, part in module.named_children():
        share_batch_norms(part)
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            shared = SharedBatchNorm(part.num_features, part.eps, part.momentum)
            shared.load_state_dict(part.state_dict())
            shared.requires_grad_(part.weight.requires_grad)
            setattr(module, name, shared)


def normalize(vectors: Tensor) -> Tensor:
    """Divide vectors [..., D] by their lengths, in float32."""
    return functional.normalize(vectors.float(), dim=-1)
