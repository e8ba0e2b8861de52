"""Encoders, poolings, frontend and head. It offers the classes that a config may name."""

from ser.models.base import CausalEncoder, Encoder, IdentityEncoder
from ser.models.causal_cnn import CausalCNNEncoder
from ser.models.causal_transformer import CausalTransformerEncoder
from ser.models.classifier import Classifier, Head
from ser.models.cnn import CNNEncoder, CNNLSTMEncoder
from ser.models.frontend import Frontend
from ser.models.fusion import Fusion, FusionEncoder, SemanticEncoder, TwoWayAttention
from ser.models.layer_mix import LayerMixEncoder
from ser.models.lstm import LSTMEncoder
from ser.models.pooling import (
    AttentionPooling,
    AttentiveStatisticsPooling,
    EveryStep,
    FunctionalsPooling,
    LastPooling,
    MaxPooling,
    MeanPooling,
    Pooling,
)
from ser.models.transformer import TransformerEncoder
from ser.models.waveform_cnn import WaveformCNNEncoder, WaveformCNNLSTMEncoder

__all__ = [
    "AttentionPooling",
    "AttentiveStatisticsPooling",
    "CNNEncoder",
    "CNNLSTMEncoder",
    "CausalCNNEncoder",
    "CausalEncoder",
    "CausalTransformerEncoder",
    "Classifier",
    "Encoder",
    "EveryStep",
    "Frontend",
    "FunctionalsPooling",
    "Fusion",
    "FusionEncoder",
    "Head",
    "IdentityEncoder",
    "LSTMEncoder",
    "LastPooling",
    "LayerMixEncoder",
    "MaxPooling",
    "MeanPooling",
    "Pooling",
    "SemanticEncoder",
    "TransformerEncoder",
    "TwoWayAttention",
    "WaveformCNNEncoder",
    "WaveformCNNLSTMEncoder",
]
