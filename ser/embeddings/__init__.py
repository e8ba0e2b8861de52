"""Frozen extractors that map an utterance to one vector. It offers the classes that a config may name."""

from ser.embeddings.base import Embedder
from ser.embeddings.byol import BYOLS, RandomAudioNTT
from ser.embeddings.opensmile import OpenSmile
from ser.embeddings.pretrained import Pretrained
from ser.embeddings.statistics import LogMelStatistics
from ser.embeddings.trained import TrainedModel

__all__ = [
    "BYOLS",
    "Embedder",
    "LogMelStatistics",
    "OpenSmile",
    "Pretrained",
    "RandomAudioNTT",
    "TrainedModel",
]
