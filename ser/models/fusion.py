"""Audio and words together: ways to fuse them, and two encoders over steps that hold both.

A step has the values of its audio, then the vector of its word, which is zero where nobody speaks.

Source: Tzirakis, Nguyen, Zafeiriou, Schuller, "Speech emotion recognition using semantic information", ICASSP 2021.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.compiler import is_exporting
from torch.utils.checkpoint import checkpoint

from ser.batch import Padded
from ser.errors import ConfigError, did_you_mean
from ser.models.base import Encoder
from ser.models.lstm import LSTMEncoder
from ser.models.transformer import TransformerEncoder
from ser.models.waveform_cnn import PooledWaveCNN

Way = Literal[
    "audio_only", "text_only", "concat", "attention", "hierarchical", "residual", "disentangled_concat"
]
_BLOCK_STEPS = 25  # 2.5 s at 0.1 s a step: 110 MB for the first convolution of five recordings


class TwoWayAttention(nn.Module):
    """Weigh two streams at each step by a score that both share: a softmax of (w . f + b) / sqrt(D) over the two.

    Args:
        dim: Number of values of a step in either stream, D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1)  # its bias is published, and without effect: both scores have it
        self.scale = dim**-0.5

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Mix streams [..., D] and [..., D] to [..., D]."""
        share = torch.sigmoid((self.score(one) - self.score(other)) * self.scale)
        return torch.lerp(other, one, share.to(one.dtype))


class Fusion(nn.Module):
    """Fuse the audio and the text of a step to [..., out_dim]; each is first projected by a linear layer and a ReLU.

    `audio_only` and `text_only`: the projection of one. `concat`: a linear layer and a ReLU on both projections side by
    side. `attention`: two-way attention over them. `residual`: that, plus the projected audio. `disentangled_concat`:
    three linear layers with ReLU on the attended step, one for each of arousal, valence and liking, side by side.
    `hierarchical`: two-way attention over the first two of these three streams, then over the result and the third.

    Args:
        audio_dim: Number of audio values of a step.
        text_dim: Number of values of a word vector.
        way: Way to fuse.
        dim: Number of values of a projection.
        stream_dim: Number of values of a stream, and of the result of `concat`.
        order: Order in which `hierarchical` takes the three streams.

    Raises:
        ConfigError: There is no such way, a stream that it needs has no values, or the order is none of three.
    """

    def __init__(
        self,
        audio_dim: int,
        text_dim: int,
        way: Way = "hierarchical",
        *,
        dim: int = 1024,
        stream_dim: int = 512,
        order: Sequence[int] = (0, 1, 2),
    ) -> None:
        super().__init__()
        if way not in get_args(Way):
            raise ConfigError(f"model.fusion={way}: no such fusion. {did_you_mean(str(way), get_args(Way))}")
        if sorted(order) != [0, 1, 2]:
            raise ConfigError(
                f"model.order={[*order]}: expected the streams 0, 1 and 2, each once. Name them so, such as [0,1,2]."
            )
        self.way: Way = way
        self.order = tuple(order)
        self.audio = None if way == "text_only" else _project(audio_dim, dim)
        self.text = None if way == "audio_only" else _project(text_dim, dim)
        self.attention = self.join = self.streams = self.pairs = None
        self.out_dim = dim
        if way == "concat":
            self.join = _project(2 * dim, stream_dim)
            self.out_dim = stream_dim
        elif way not in ("audio_only", "text_only"):
            self.attention = TwoWayAttention(dim)
        if way in ("hierarchical", "disentangled_concat"):
            self.streams = nn.ModuleList(_project(dim, stream_dim) for _ in range(3))
            self.out_dim = 3 * stream_dim
        if way == "hierarchical":
            self.pairs = nn.ModuleList(TwoWayAttention(stream_dim) for _ in range(2))
            self.out_dim = stream_dim

    def forward(self, audio: Tensor | None, text: Tensor | None) -> Tensor:
        """Fuse audio [..., audio_dim] and text [..., text_dim]; the one that is not needed may be None."""
        heard = self.audio(audio) if self.audio is not None else None
        read = self.text(text) if self.text is not None else None
        if heard is None or read is None:
            single: Tensor = _present(heard, read)
            return single
        if self.join is not None:
            joined: Tensor = self.join(torch.cat([heard, read], -1))
            return joined
        mixed: Tensor = _present(self.attention)(heard, read)
        if self.way == "residual":
            mixed = mixed + heard
        if self.streams is None:
            return mixed
        streams = [stream(mixed) for stream in self.streams]
        if self.pairs is None:
            return torch.cat(streams, -1)
        first, second, third = (streams[place] for place in self.order)
        fused: Tensor = self.pairs[1](self.pairs[0](first, second), third)
        return fused


class SemanticEncoder(Encoder):
    """The published network: a CNN on the waves of all steps, fusion with word vectors, an LSTM.

    All that precedes the LSTM is computed in blocks of 25 steps, in training once more for the gradients. Training on
    5 recordings of 100 steps takes 1,090 MB instead of 1,680 and a quarter more time, and an hour can be predicted.
    Blocks overlap as far as a convolution reaches, so that they change no result.

    Args:
        in_dim: Number of values of a step: its samples, then its word vector.
        in_channels: Number of channels of the features, which has to be 1.
        text_dim: Number of values of a word vector.
        fusion: Way to fuse, see `Fusion`.
        dim: Number of values of each projection before the fusion.
        stream_dim: Number of values of a disentangled stream.
        order: Order in which fusion=hierarchical takes the streams.
        hidden_dim: Number of units of the LSTM.
        dropout: Dropout after each stage of the CNN, 0..1.

    Raises:
        ConfigError: The word vector does not fit into a step, there are deltas, or see `Fusion`.
    """

    def __init__(
        self,
        in_dim: int,
        in_channels: int = 1,
        *,
        text_dim: int,
        fusion: Way = "hierarchical",
        dim: int = 1024,
        stream_dim: int = 512,
        order: Sequence[int] = (0, 1, 2),
        hidden_dim: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.audio_dim = _audio_dim(in_dim, in_channels, text_dim, fusion)
        self.fusion = Fusion(self.audio_dim, text_dim, fusion, dim=dim, stream_dim=stream_dim, order=order)
        self.cnn = None if fusion == "text_only" else PooledWaveCNN(dropout=dropout)
        self.lstm = LSTMEncoder(self.fusion.out_dim, hidden_dim=hidden_dim, num_layers=1, bidirectional=False)
        self.out_dim = hidden_dim

    def forward(self, audio: Padded) -> Padded:
        """Encode steps [B, T, samples + text_dim] to [B, T, hidden_dim]."""
        recompute = self.training and torch.is_grad_enabled()
        fused = []
        for start, stop in self._blocks(audio.values.shape[1]):
            if recompute:
                block = checkpoint(self._fuse, audio.values, audio.lengths, start, stop, use_reentrant=False)
            else:
                block = self._fuse(audio.values, audio.lengths, start, stop)
            fused.append(block)
        return self.lstm(audio.with_values(torch.cat(fused, 1)))

    def _blocks(self, num_steps: int) -> Iterator[tuple[int, int]]:
        """Yield first and last step, so that each block but the last ends where a step of the CNN does."""
        aligned = PooledWaveCNN.subsampling // math.gcd(self.audio_dim or 1, PooledWaveCNN.subsampling)
        size = aligned * -(-_BLOCK_STEPS // aligned)
        if is_exporting():  # a graph has no loop over blocks of a number that it does not know
            yield 0, num_steps
            return
        for start in range(0, num_steps, size):
            yield start, min(start + size, num_steps)

    def _fuse(self, values: Tensor, lengths: Tensor, start: int, stop: int) -> Tensor:
        """Fuse the steps of a block to [B, stop - start, D]."""
        text = values[:, start:stop, self.audio_dim :]
        if self.cnn is None:
            fused: Tensor = self.fusion(None, text)
            return fused
        margin = PooledWaveCNN.subsampling  # samples; a step of the CNN reaches 123 back and 184 ahead
        first = start * self.audio_dim - (margin if start else 0)
        last = min(stop * self.audio_dim + margin, values.shape[1] * self.audio_dim)
        samples = _samples(values, self.audio_dim, first, last)
        ends = (lengths * self.audio_dim - first).clamp(0, last - first)
        waves = self.cnn(Padded(samples, ends)).values
        flat = waves[:, 1 if start else 0 :].flatten(1)[:, : (stop - start) * self.audio_dim]
        fused = self.fusion(flat.view(flat.shape[0], stop - start, self.audio_dim), text)
        return fused


class FusionEncoder(Encoder):
    """A small network for few data: projections of audio and word, their fusion, then layers over time.

    Args:
        in_dim: Number of values of a step: its audio, such as the log-mels of its frames, then its word vector.
        in_channels: Number of channels of the features, which has to be 1.
        text_dim: Number of values of a word vector.
        fusion: Way to fuse, see `Fusion`.
        dim: Number of values of each projection, and of a disentangled stream.
        context: Layers over time: `gru`, `lstm`, or `transformer` for self-attention over all steps.
        hidden_dim: Number of units of a recurrent layer and direction, or of a step of the Transformer.
        num_layers: Number of layers over time.
        bidirectional: Whether recurrent layers read in both directions.
        dropout: Dropout of the input, before and between the layers over time, 0..1.

    Raises:
        ConfigError: The word vector does not fit into a step, there are deltas, or see `Fusion`.
    """

    def __init__(
        self,
        in_dim: int,
        in_channels: int = 1,
        *,
        text_dim: int,
        fusion: Way = "concat",
        dim: int = 64,
        context: Literal["gru", "lstm", "transformer"] = "gru",
        hidden_dim: int = 64,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.audio_dim = _audio_dim(in_dim, in_channels, text_dim, fusion)
        self.fusion = Fusion(self.audio_dim, text_dim, fusion, dim=dim, stream_dim=dim)
        self.dropout = nn.Dropout(dropout)
        self.context: Encoder
        if context == "transformer":
            self.context = TransformerEncoder(
                self.fusion.out_dim,
                stem_channels=(),
                model_dim=hidden_dim,
                num_layers=num_layers,
                feedforward_dim=2 * hidden_dim,
                dropout=dropout,
            )
        else:
            self.context = LSTMEncoder(
                self.fusion.out_dim,
                hidden_dim=hidden_dim,
                num_layers=num_layers,
                bidirectional=bidirectional,
                cell=context,
                dropout=dropout,
                subsampling=1,
            )
        self.out_dim = self.context.out_dim

    def forward(self, audio: Padded) -> Padded:
        """Encode steps [B, T, audio + text_dim] to [B, T, out_dim]."""
        values = self.dropout(audio.values)
        fused = self.fusion(values[..., : self.audio_dim], values[..., self.audio_dim :])
        return self.context(audio.with_values(self.dropout(fused)))


def _project(in_dim: int, out_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_dim, out_dim), nn.ReLU())


def _present(value: Any, other: Any = None) -> Any:
    """Return the one of two values that is not None."""
    found = other if value is None else value
    assert found is not None
    return found


def _samples(values: Tensor, audio_dim: int, first: int, last: int) -> Tensor:
    """Return the samples [B, last - first] of all steps [B, T, F] in a row, without a copy of the others."""
    start, stop = first // audio_dim, -(-last // audio_dim)
    rows = values[:, start:stop, :audio_dim].flatten(1)
    return rows[:, first - start * audio_dim : last - start * audio_dim]


def _audio_dim(in_dim: int, in_channels: int, text_dim: int, way: str) -> int:
    """Return the number of audio values of a step.

    Raises:
        ConfigError: There are deltas, or a stream that is needed has no values.
    """
    if in_channels != 1:
        raise ConfigError(
            "frontend.delta_scale: adds deltas of samples and word vectors, which this model does not take. "
            "Set frontend.delta_scale=0."
        )
    if text_dim == 0 and way != "audio_only":
        raise ConfigError(
            f"model.fusion={way}: needs word vectors, and none are used. Set model.fusion=audio_only, or use "
            "experiment=semantic without words=none."
        )
    most = in_dim if way == "text_only" else in_dim - 1
    least = 0 if way == "audio_only" else 1
    if not least <= text_dim <= most:
        raise ConfigError(
            f"model.text_dim={text_dim}: a step has {in_dim} values, of which its word vector takes {least} to {most} "
            f"with model.fusion={way}. Set model.text_dim to the width of the word vectors."
        )
    return in_dim - text_dim
