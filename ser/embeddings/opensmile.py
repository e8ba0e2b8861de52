"""Hand-crafted functionals by the package `opensmile`, which is imported only when used."""

from typing import Literal

import torch
from torch import Tensor

from ser.batch import Padded
from ser.embeddings.base import WAVEFORM, Embedder
from ser.errors import ConfigError, install_command


class OpenSmile(Embedder):
    """Functionals of a whole utterance by openSMILE.

    Args:
        feature_set: `ComParE_2016` with D = 6373, or `eGeMAPSv02` with D = 88.

    Raises:
        ConfigError: The package is not installed.
    """

    max_frames = 16_000 * 40

    def __init__(self, feature_set: Literal["ComParE_2016", "eGeMAPSv02"] = "ComParE_2016") -> None:
        try:
            import opensmile
        except ImportError as error:
            raise ConfigError(
                f"extractor.feature_set={feature_set}: the package opensmile is not installed ({error}). "
                f"Run: {install_command('opensmile')}"
            ) from error
        smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet[feature_set],
            feature_level=opensmile.FeatureLevel.Functionals,
        )
        options = {"feature_set": feature_set, "version": opensmile.__version__}
        super().__init__(WAVEFORM, len(smile.feature_names), options=options)
        self.smile = smile

    def encode(self, features: Padded) -> Tensor:
        """Compute functionals [B, D] of waveforms [B, samples, 1]."""
        waveforms = features.values[..., 0].cpu()
        signals = (waveforms[row, :length] for row, length in enumerate(features.lengths.tolist()))
        rows = [self._functionals(signal) for signal in signals]
        return torch.stack(rows).to(features.values.device)

    def _functionals(self, signal: Tensor) -> Tensor:
        table = self.smile.process_signal(signal.numpy(), self.sample_rate)
        return torch.from_numpy(table.to_numpy(dtype="float32", copy=True)[0])
