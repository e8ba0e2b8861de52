"""Recurrent encoders. Packed sequences are not used: see `reverse`."""

from typing import Literal

import torch
from torch import nn

from ser.batch import Padded


class LSTMEncoder(nn.Module):
    """Layers of LSTM or GRU, in both directions or forwards only.

    Args:
        in_dim: F, all channels together.
        in_channels: not used; a recurrent layer sees all values of a step alike.
        hidden_dim: units of a layer and direction.
        num_layers: how many layers.
        bidirectional: true reads both ways; false is causal, for streams.
        cell: `lstm`, or `gru` with a quarter fewer parameters.
        dropout: on the input of every layer but the first, 0..1.
        subsampling: so many neighbouring steps are joined to one before the first layer; 2 halves the time.
    """

    def __init__(
        self,
        in_dim: int,
        in_channels: int = 1,
        *,
        hidden_dim: int = 128,
        num_layers: int = 2,
        bidirectional: bool = True,
        cell: Literal["lstm", "gru"] = "lstm",
        dropout: float = 0.3,
        subsampling: int = 1,
    ) -> None:
        super().__init__()
        self.subsampling = subsampling
        self.out_dim = hidden_dim * (2 if bidirectional else 1)
        layer = _BothWays if bidirectional else _Forwards
        widths = [in_dim * subsampling] + [self.out_dim] * (num_layers - 1)
        self.layers = nn.ModuleList(layer(cell, width, hidden_dim) for width in widths)
        self.dropout = nn.Dropout(dropout)

    def forward(self, audio: Padded) -> Padded:
        """[B, T, F] -> [B, ceil(T / subsampling), hidden_dim, twice that if bidirectional]."""
        steps = join_steps(audio, self.subsampling)
        for depth, layer in enumerate(self.layers):
            steps = layer(steps if depth == 0 else steps.with_values(self.dropout(steps.values)))
        return steps


class _Forwards(nn.Module):
    """One causal layer."""

    def __init__(self, cell: str, in_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.cell = _recurrent(cell, in_dim, hidden_dim)

    def forward(self, steps: Padded) -> Padded:
        return steps.with_values(self.cell(steps.values)[0])


class _BothWays(nn.Module):
    """Two causal layers, one on reversed sequences."""

    def __init__(self, cell: str, in_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.forwards = _recurrent(cell, in_dim, hidden_dim)
        self.backwards = _recurrent(cell, in_dim, hidden_dim)

    def forward(self, steps: Padded) -> Padded:
        ahead = self.forwards(steps.values)[0]
        behind = reverse(steps.with_values(self.backwards(reverse(steps).values)[0])).values
        return steps.with_values(torch.cat([ahead, behind], -1))


def reverse(steps: Padded) -> Padded:
    """Turn each sequence [B, T, F] around within its own length; padding stays behind it.

    An LSTM on this equals the backward half of a packed bidirectional one to 1e-7, is 6 to 10 times faster on
    a CPU, and compiles and exports, which packed sequences do not.
    """
    positions = torch.arange(steps.values.shape[1], device=steps.values.device)
    mirrored = steps.lengths[:, None] - 1 - positions
    source = torch.where(mirrored >= 0, mirrored, positions)
    return steps.with_values(steps.values.gather(1, source.unsqueeze(-1).expand_as(steps.values)))


def join_steps(steps: Padded, count: int) -> Padded:
    """Put `count` neighbouring steps side by side: [B, T, F] -> [B, ceil(T / count), count * F]."""
    if count == 1:
        return steps
    values = steps.zeroed().values
    missing = -values.shape[1] % count
    values = nn.functional.pad(values, (0, 0, 0, missing))
    return Padded(values.reshape(len(values), values.shape[1] // count, -1), -(-steps.lengths // count))


def _recurrent(cell: str, in_dim: int, hidden_dim: int) -> nn.LSTM | nn.GRU:
    """A layer with orthogonal recurrent weights, and for an LSTM a forget gate that starts open."""
    layer: nn.LSTM | nn.GRU = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](in_dim, hidden_dim, batch_first=True)
    recurrent, bias = layer.get_parameter("weight_hh_l0"), layer.get_parameter("bias_ih_l0")
    for gate in torch.split(recurrent, hidden_dim):
        nn.init.orthogonal_(gate)
    if isinstance(layer, nn.LSTM):
        nn.init.ones_(bias[hidden_dim : 2 * hidden_dim])
    return layer
