"""How far vectors of unlike crops lie apart: detects a collapse, in which a network answers the same to all."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ser.pretraining.processes import normalize


class Spread:
    """Deviation and effective rank of vectors within batches, since the last `take`.

    Vectors are divided by their lengths. The deviation is 1 where their mean is 0, and 0 where all are the same. The
    effective rank is the exponential of the entropy of the spectrum of their covariance: a number of dimensions.

    Source of the rank: Roy and Vetterli, "The effective rank: A measure of effective dimensionality" (2007).
    """

    def __init__(self) -> None:
        self._scatter = torch.zeros(0, 0)
        self._count = 0

    def add(self, vectors: Tensor) -> None:
        """Add the vectors [N, D] of a batch, on their device."""
        vectors = normalize(vectors)
        centred = vectors - vectors.mean(0)
        scatter = centred.T @ centred
        if self._scatter.shape == scatter.shape:
            scatter = scatter + self._scatter.to(scatter.device)
        self._scatter = scatter
        self._count += len(vectors)

    def state(self) -> dict[str, Any]:
        """Return the sums, for a checkpoint."""
        return {"scatter": self._scatter.cpu(), "count": self._count}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self._scatter, self._count = state["scatter"], state["count"]

    def take(self, reduce: Callable[[Tensor], Tensor] | None = None) -> tuple[float, float]:
        """Return deviation and effective rank over all processes, and reset the sums.

        Args:
            reduce: Function that sums a tensor over processes; None for one process.
        """
        scatter, count = self._scatter, torch.tensor(float(self._count), device=self._scatter.device)
        if reduce is not None:
            scatter, count = reduce(scatter), reduce(count)
        self._scatter, self._count = torch.zeros(0, 0), 0
        return spread_of(scatter / count.clamp_min(1))


def spread_of(covariance: Tensor) -> tuple[float, float]:
    """Return the deviation and the effective rank of vectors with this covariance [D, D]; both 0 for equal vectors."""
    spectrum = torch.linalg.eigvalsh(covariance.cpu().double()).clamp_min(0)
    total = float(spectrum.sum())
    if not total > 0:
        return 0.0, 0.0
    shares = spectrum / total
    entropy = -torch.special.xlogy(shares, shares).sum()
    return total**0.5, float(entropy.exp())
