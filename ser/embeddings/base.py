"""Base class of embedders: frozen models that map a recording of any length to one vector."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.config.instantiate import build
from ser.errors import DataError
from ser.features.extractors import SERAB as SERAB
from ser.features.extractors import Extractor
from ser.frozen.weights import digest
from ser.sources import digest_of_code

WAVEFORM: Mapping[str, Any] = MappingProxyType(
    {"_target_": "ser.features.Waveform", "sample_rate": 16_000, "normalize": "none"}
)
"""Spec of the raw waveform, for embedders that compute their own features."""


class Embedder(nn.Module, ABC):
    """Map waveforms [B, samples, 1] in -1..1 to embeddings [B, D], the same alone and in a batch.

    A subclass sets the features to compute, which are cached, and computes embeddings from them in `encode`.

    Args:
        features: Spec of the extractor of the features that `encode` takes.
        dim: Size of an embedding, D.
        options: Plain values that change the embeddings and are neither weights nor part of `features`.
    """

    needs_statistics = False
    """Whether `fit` must be called before `encode`."""
    min_steps = 1
    """Minimum number of feature steps of an utterance."""
    max_frames = 16_000
    """Maximum number of padded feature steps in a batch, on a CPU."""

    def __init__(
        self, features: Mapping[str, Any], dim: int, *, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.features = dict(features)
        self.extractor: Extractor = build(features, slot="features")
        self.dim = dim
        self.options = dict(options or {})

    @property
    def sample_rate(self) -> int:
        """Return the sample rate of the waveforms, in Hz."""
        return self.extractor.sample_rate

    def fit(self, train: Iterable[Tensor], *, corpus: str | None = None) -> None:
        """Compute the statistics of a corpus.

        Args:
            train: Features [T, F] of each utterance of the training split only.
            corpus: Name of the corpus, such as ravdess; None if it has none.
        """

    def candidates(self) -> "Mapping[str, Embedder]":
        """Return embedders by name, of which the best is to be found on validation; empty for this one."""
        return {}

    @abstractmethod
    def encode(self, features: Padded) -> Tensor:
        """Embed features [B, T, F] to [B, D] float32; the result of an utterance is the same alone and in a batch."""

    @torch.no_grad()
    def forward(self, waveforms: Padded) -> Tensor:
        """Embed waveforms [B, samples, 1] to [B, D] float32.

        Raises:
            DataError: A waveform is too short.
        """
        features = self.extractor(waveforms)
        shortest = int(features.lengths.min())
        if shortest < self.min_steps:
            raise DataError(
                f"Waveform of {shortest} steps: {type(self).__name__} needs {self.min_steps} or more "
                f"({1000 * self.min_steps * self.extractor.frame_shift_s:.0f} ms). Leave it out."
            )
        return self.encode(features)

    def settings(self) -> str:
        """Return everything that determines an embedding, with digests of the weights and of the code."""
        described = {
            "embedder": f"{type(self).__module__}.{type(self).__qualname__}",
            "code": digest_of_code(type(self).__module__),
            "features": self.features,
            "options": self.options,
            "weights": digest(self.state_dict()),
        }
        return json.dumps(described, sort_keys=True)
