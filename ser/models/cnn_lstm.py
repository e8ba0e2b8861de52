"""Convolutions that summarise neighbourhoods, a recurrent layer that reads their sequence."""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from ser.batch import Padded
from ser.models.cnn import CNNEncoder
from ser.models.lstm import LSTMEncoder


class CNNLSTMEncoder(nn.Module):
    """A CNN, then an LSTM over its steps.

    Args:
        in_dim: F, all channels together.
        in_channels: how many channels the features hold.
        channels: stages of the CNN, see `CNNEncoder`.
        time_strides: time stride of each stage.
        hidden_dim: units of the LSTM, a direction.
        num_layers: layers of the LSTM.
        bidirectional: whether the LSTM reads both ways.
        cell: `lstm` or `gru`.
        dropout: before the LSTM and between its layers, 0..1.
    """

    def __init__(
        self,
        in_dim: int,
        in_channels: int = 1,
        *,
        channels: Sequence[int] = (32, 48, 64),
        time_strides: Sequence[int] = (2, 2, 1),
        hidden_dim: int = 96,
        num_layers: int = 1,
        bidirectional: bool = True,
        cell: Literal["lstm", "gru"] = "lstm",
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.cnn = CNNEncoder(in_dim, in_channels, channels=channels, time_strides=time_strides)
        self.dropout = nn.Dropout(dropout)
        self.lstm = LSTMEncoder(
            self.cnn.out_dim,
            hidden_dim=hidden_dim,
            num_layers=num_layers,
            bidirectional=bidirectional,
            cell=cell,
            dropout=dropout,
        )
        self.out_dim = self.lstm.out_dim
        self.subsampling = self.cnn.subsampling

    def forward(self, audio: Padded) -> Padded:
        """[B, T, F] -> [B, ceil(T / subsampling), out_dim]."""
        steps = self.cnn(audio)
        out: Padded = self.lstm(steps.with_values(self.dropout(steps.values)))
        return out
