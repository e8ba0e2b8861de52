"""From what a batch holds to features: nothing to do where it holds features already."""

from dataclasses import replace

from torch import Tensor

from ser.batch import Batch, Padded
from ser.features.augment_waveforms import WaveformAugment
from ser.features.extractors import Extractor
from ser.precision import KeepsPrecision, in_float32


class OnTheFlyFeatures(KeepsPrecision):
    """Augment waveforms and extract features, in every step; or, without an extractor, pass features on.

    Features that are computed once and kept are faster, but every epoch hears the same recordings.

    Args:
        extractor: makes features of waveforms; None where batches hold features.
        augment: changes training waveforms first.
    """

    def __init__(self, extractor: Extractor | None = None, augment: WaveformAugment | None = None) -> None:
        super().__init__()
        self.extractor = None if extractor is None else extractor.to_float32()
        self.augment = augment

    def with_speech(self, batch: Batch) -> Batch:
        """A batch as it is heard when it is scored: features, and which of them are speech if that is looked for."""
        if self.extractor is None:
            return batch
        with in_float32(batch.audio.values.device):
            features, speech = self.extractor.with_speech(batch.audio)
        return replace(batch, audio=features, speech=speech)

    def forward(self, audio: Padded, keys: Tensor | None = None) -> Padded:
        """[B, samples, 1], or features, to features [B, T, F].

        Args:
            audio: of a batch.
            keys: [B] of utterances to augment; None leaves them as they are.
        """
        if self.extractor is None:
            return audio
        with in_float32(audio.values.device):
            if self.augment is not None and keys is not None:
                audio = self.augment(audio, keys)
            features: Padded = self.extractor(audio)
        return features
