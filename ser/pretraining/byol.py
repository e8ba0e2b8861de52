"""BYOL: an online network learns to predict what a moving average of it makes of another view.

Source: Grill et al., "Bootstrap your own latent: A new approach to self-supervised learning" (2020); for audio,
Niizumi et al. (2021) and Scheidwasser-Clow et al. (2022).
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ser.pretrained.log_mel import LogMelNetwork
from ser.pretraining.processes import normalize


@dataclass
class Outputs:
    """What a step computes.

    Args:
        losses: Loss of each crop [B], 0..8.
        embeddings: Embeddings of both views by the encoder [2B, D], without gradients.
        projections: Their projections, normalised to length 1 [2B, P], without gradients.
    """

    losses: Tensor
    embeddings: Tensor
    projections: Tensor


class BYOL(nn.Module):
    """Encoder, projector and predictor, and the target network, which gets no gradients.

    Args:
        encoder: Network of log-mels.
        projection_dim: Size of a projection.
        hidden_dim: Size of the hidden layer of projector and predictor.
        decay: Share of the target network that is kept in a step, 0..1.
    """

    def __init__(
        self,
        encoder: LogMelNetwork,
        *,
        projection_dim: int = 256,
        hidden_dim: int = 4096,
        decay: float = 0.99,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = _two_layers(encoder.out_dim, hidden_dim, projection_dim)
        self.predictor = _two_layers(projection_dim, hidden_dim, projection_dim)
        self.target_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self.decay = decay

    def forward(self, first: Tensor, second: Tensor) -> Outputs:
        """Compare two views [B, T, F] of each crop; batch norms have statistics of their own for each view."""
        embeddings = [self.encoder.embed_crops(view) for view in (first, second)]
        projections = [self.projector(embedding) for embedding in embeddings]
        predictions = [self.predictor(projection) for projection in projections]
        with torch.no_grad():
            target: Any = self.target_encoder
            targets = [self.target_projector(target.embed_crops(view)) for view in (first, second)]
        losses = distance(predictions[0], targets[1]) + distance(predictions[1], targets[0])
        with torch.no_grad():
            return Outputs(
                losses, torch.cat(embeddings).detach().float(), normalize(torch.cat(projections).detach())
            )

    @torch.no_grad()
    def move_target(self) -> None:
        """Move the parameters of the target network towards the online ones; buffers are its own, as published."""
        pairs = ((self.encoder, self.target_encoder), (self.projector, self.target_projector))
        for online, target in pairs:
            # The number of parameters is that of a small network: one fused call moves all of them.
            torch._foreach_lerp_([*target.parameters()], [*online.parameters()], 1 - self.decay)


def distance(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return 2 - 2 cos of predictions and targets [B, P], 0..4: [B], in float32."""
    return 2 - 2 * (normalize(predictions) * normalize(targets)).sum(-1)


def _two_layers(in_dim: int, hidden_dim: int, out_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(in_dim, hidden_dim),
        nn.BatchNorm1d(hidden_dim),
        nn.ReLU(),
        nn.Linear(hidden_dim, out_dim),
    )
