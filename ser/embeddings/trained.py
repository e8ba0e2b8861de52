"""Embeddings of any model that was trained here."""

import hashlib

from torch import Tensor

from ser.batch import Padded
from ser.embeddings.base import Embedder
from ser.errors import ConfigError, setting
from ser.inference import checkpoint
from ser.inference.predict import extractor_of
from ser.splits.speaker_normalize import uses_speaker_normalization


class TrainedModel(Embedder):
    """What a model's pooling gives to its head, through the features it was trained on.

    Args:
        ckpt: best.ckpt or last.ckpt of a run, or the folder of one.

    Raises:
        CheckpointError: the file cannot be read as a checkpoint.
        ConfigError: the model was trained on features that cannot be made of a recording alone, or has no pooling.
    """

    def __init__(self, ckpt: str) -> None:
        trained = checkpoint.load(checkpoint.find_one(ckpt, "extractor.ckpt"))
        if uses_speaker_normalization(trained.frontend):
            raise ConfigError(
                f"{setting('extractor.ckpt', ckpt)}: "
                f"was trained on features normalised by speaker, which a recording alone "
                "does not tell. Use a model trained with frontend.normalize=global or utterance."
            )
        if trained.model.pooling.resolution == "frame":
            raise ConfigError(
                f"{setting('extractor.ckpt', ckpt)}: answers every step, so it has no embedding of an utterance. "
                "Use a model trained with pooling=mean or another that pools."
            )
        extractor_of([trained])  # refuses those on frames that are not made so
        sha = hashlib.sha256(trained.path.read_bytes()).hexdigest()  # its architecture counts, too
        super().__init__(trained.features, trained.model.pooling.out_dim, options={"checkpoint": sha})
        self.model = trained.model
        # as many samples of a waveform take the time of a frame
        self.max_frames = 16_000 * (160 if trained.reads_waveforms else 1)

    def encode(self, features: Padded) -> Tensor:
        """[B, T, F] -> [B, D]."""
        return self.model.embed(features).float()
