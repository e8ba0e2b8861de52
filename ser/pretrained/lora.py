"""LoRA: a frozen matrix W of a transformer layer becomes W + alpha / rank * B A, of which A and B are trained.

The package `peft` wraps the modules that it adapts, which does nothing where a network reads their weights instead of
calling them, as WavLM does; it also brings `accelerate`. torch's own parametrisation changes the weight itself.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ser.errors import ConfigError


class LowRank(nn.Module):
    """Add a product of two small matrices to a weight; it is 0 before training.

    Args:
        weight: Weight [out, in] to add to.
        rank: Number of columns of B and of rows of A.
        alpha: Factor of the product, times the rank.
    """

    lr_scale = 1.0
    """Its learning rate is that of the head, which is as new."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, weight.shape[1]))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the adapted weight [out, in]."""
        return weight + self.scale * (self.up @ self.down)


def add_lora(layers: nn.ModuleList, targets: Sequence[str], *, rank: int, alpha: float) -> None:
    """Adapt the projections of these names in all layers, and freeze the projections themselves.

    Raises:
        ConfigError: The rank is negative, or there is no projection of such a name.
    """
    if rank < 0:
        raise ConfigError(f"model.lora_rank={rank}: expected 0 or more. Write 8, or 0 for no LoRA.")
    projections = [
        (name.rpartition(".")[2], part) for name, part in layers.named_modules() if type(part) is nn.Linear
    ]
    available = sorted({name for name, _ in projections})
    if unknown := [name for name in targets if name not in available]:
        instead = f"Choose of {', '.join(available)}" if available else "Set model.lora_rank=0"
        raise ConfigError(
            f"model.lora_targets: this encoder's layers have no projection {unknown[0]}. {instead}."
        )
    for name, part in projections:
        if name in targets:
            part.requires_grad_(False)
            parametrize.register_parametrization(part, "weight", LowRank(part.weight, rank, alpha))


def merge_lora(model: nn.Module) -> None:
    """Put the trained products into the weights, in place, so that the network is as it was before `add_lora`."""
    for part in [*model.modules()]:
        held = getattr(part, "parametrizations", {})
        if "weight" in held and isinstance(held["weight"][0], LowRank):
            parametrize.remove_parametrizations(part, "weight", leave_parametrized=True)
