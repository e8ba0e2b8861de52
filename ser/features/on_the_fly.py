"""Compute features in every training step from batches of waveforms."""

from dataclasses import replace

from torch import Tensor

from ser.batch import Batch, Padded
from ser.features.augment_waveforms import WaveformAugment
from ser.features.extractors import Extractor
from ser.precision import KeepsPrecision, in_float32


class OnTheFlyFeatures(KeepsPrecision):
    """Augment waveforms and extract features in every step; without an extractor, return features unchanged.

    Precomputed features are faster, but then every epoch trains on the same recordings.

    Args:
        extractor: Feature extractor; None for batches that hold features.
        augment: Augmentation of training waveforms; None for none.
    """

    def __init__(self, extractor: Extractor | None = None, augment: WaveformAugment | None = None) -> None:
        super().__init__()
        self.extractor = None if extractor is None else extractor.to_float32()
        self.augment = augment

    def with_speech(self, batch: Batch) -> Batch:
        """Replace the waveforms of a batch by features, and add the mask of speech if silence is detected."""
        if self.extractor is None:
            return batch
        with in_float32(batch.audio.values.device):
            features, speech = self.extractor.with_speech(batch.audio)
        return replace(batch, audio=features, speech=speech)

    def forward(self, audio: Padded, keys: Tensor | None = None) -> Padded:
        """Map waveforms [B, samples, 1] to features [B, T, F]; features are returned unchanged.

        Args:
            audio: Waveforms or features of a batch.
            keys: Keys [B] of the utterances to augment; None for no augmentation.
        """
        if self.extractor is None:
            return audio
        with in_float32(audio.values.device):
            if self.augment is not None and keys is not None:
                audio = self.augment(audio, keys)
            features: Padded = self.extractor(audio)
        return features
