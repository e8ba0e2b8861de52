"""Embeddings of a model that was trained with this framework."""

import hashlib

from torch import Tensor

from ser.batch import Padded
from ser.checkpoints import checkpoint
from ser.embeddings.base import Embedder
from ser.errors import ConfigError, setting
from ser.inference.predict import extractor_of
from ser.splits.speaker_normalize import uses_speaker_normalization


class TrainedModel(Embedder):
    """Output of a trained model's pooling, which is the input of its head.

    Args:
        ckpt: best.ckpt or last.ckpt of a run, or the folder of a run.

    Raises:
        CheckpointError: The file cannot be read as a checkpoint.
        ConfigError: The model's features cannot be computed from a recording alone, or it has no pooling.
    """

    def __init__(self, ckpt: str) -> None:
        trained = checkpoint.load(checkpoint.find_one(ckpt, "extractor.ckpt"))
        if uses_speaker_normalization(trained.frontend):
            raise ConfigError(
                f"{setting('extractor.ckpt', ckpt)}: "
                f"was trained on features normalised by {trained.frontend['normalize']}, which needs all its "
                "recordings. Use a model trained with frontend.normalize=global or utterance."
            )
        if trained.model.pooling.resolution == "frame":
            raise ConfigError(
                f"{setting('extractor.ckpt', ckpt)}: answers every step, so it has no embedding of an utterance. "
                "Use a model trained with pooling=mean or another that pools."
            )
        extractor_of([trained])  # refuses models whose features cannot be computed from recordings
        sha = hashlib.sha256(trained.path.read_bytes()).hexdigest()  # includes the architecture
        super().__init__(trained.features, trained.model.pooling.out_dim, options={"checkpoint": sha})
        self.model = trained.model
        # 160 samples of a waveform take about as long as a frame
        self.max_frames = 16_000 * (160 if trained.reads_waveforms else 1)

    def encode(self, features: Padded) -> Tensor:
        """Embed features [B, T, F] to [B, D]."""
        return self.model.embed(features).float()
