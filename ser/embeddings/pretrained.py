"""Embeddings of encoders that were trained before: mean and deviation over time of a hidden state."""

import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from ser.batch import Padded
from ser.embeddings.base import Embedder
from ser.errors import ConfigError, SerError
from ser.frozen.features import PretrainedFeatures


class Pretrained(Embedder):
    """Mean and deviation over time of a hidden state of wav2vec 2.0, HuBERT, WavLM, data2vec-audio or Whisper.

    The encoder runs once: the statistics of all its hidden states are cached together, as in `experiment=frozen`.

    Args:
        path: Folder with config.json, preprocessor_config.json and model.safetensors.
        layer: Hidden state: 0 for the input of the first transformer layer, 1 for its output, and so on; `last` for
            the output of the encoder; or `validation` for the one with the best validation accuracy on each corpus.

    Raises:
        ConfigError: The package is not installed, or the encoder has no such layer.
        CheckpointError: The folder does not hold such an encoder.
    """

    def __init__(self, path: str, *, layer: int | Literal["last", "validation"] = "validation") -> None:
        spec = {"_target_": "ser.frozen.PretrainedFeatures", "path": path, "layer": "all", "pool": "mean_std"}
        try:
            extractor = PretrainedFeatures(path=path, layer="all", pool="mean_std")
            portable = extractor.portable(spec)
        except SerError as error:
            raise type(error)(
                re.sub(r"\bfeatures(?=\.path\b|=pretrained\b)", "extractor", str(error))
            ) from error
        last = extractor.num_states - 1
        if isinstance(layer, int) and not 0 <= layer <= last:
            raise ConfigError(
                f"extractor.layer={layer}: this encoder has the hidden states 0 to {last}. Give one of them, last or "
                "validation."
            )
        super().__init__(portable, extractor.feature_dim // extractor.num_states, options={"layer": layer})
        self.path = path
        self.layer = last if layer in ("last", "validation") else int(layer)
        self.is_open = layer == "validation"

    def candidates(self) -> Mapping[str, Embedder]:
        """Return an embedder for each hidden state, if the best is to be found on validation."""
        if not self.is_open:
            return {}
        return {
            f"layer {layer}": Pretrained(self.path, layer=layer) for layer in range(self.extractor.num_states)
        }

    def encode(self, features: Padded) -> Tensor:
        """Select the statistics [B, 2 * D] of the hidden state from those of all [B, 1, L * 2 * D]."""
        first = self.layer * self.dim
        return features.values[:, 0, first : first + self.dim]
