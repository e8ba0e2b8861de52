"""Transformer encoder on top of a small CNN."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded
from ser.errors import ConfigError
from ser.models.base import Encoder, IdentityEncoder
from ser.models.cnn import CNNEncoder


class TransformerEncoder(Encoder):
    """A CNN stem that subsamples time, a convolutional position encoding, and pre-norm Transformer layers.

    Args:
        in_dim: Number of values of a frame in all channels, F.
        in_channels: Number of channels of the features.
        stem_channels: Output channels of each stage of the stem; each stage halves time and frequency. [] = no stem, so
            that every frame is a step.
        model_dim: Number of values of a step in each layer, D.
        num_layers: Number of layers.
        num_heads: Number of attention heads; it divides model_dim.
        feedforward_dim: Number of hidden units of a feed-forward block.
        dropout: Dropout on the output of each block and of the stem, 0..1.
        position_kernel: Kernel of the convolutional position encoding, odd. It uses neighbouring steps, not absolute
            positions, so that no utterance is too long.
    """

    def __init__(
        self,
        in_dim: int,
        in_channels: int = 1,
        *,
        stem_channels: Sequence[int] = (32, 64),
        model_dim: int = 96,
        num_layers: int = 4,
        num_heads: int = 4,
        feedforward_dim: int = 256,
        dropout: float = 0.1,
        position_kernel: int = 15,
    ) -> None:
        super().__init__()
        if position_kernel < 1 or position_kernel % 2 == 0:
            raise ConfigError(
                f"model.position_kernel={position_kernel}: expected an odd number of 1 or more. "
                f"Set model.position_kernel={2 * (max(position_kernel, 0) // 2) + 1}."
            )
        self.stem: Encoder = (
            CNNEncoder(in_dim, in_channels, channels=stem_channels, time_strides=[2] * len(stem_channels))
            if stem_channels
            else IdentityEncoder(in_dim)
        )
        self.project = nn.Linear(self.stem.out_dim, model_dim)
        self.position = nn.Conv1d(
            model_dim, model_dim, position_kernel, padding=position_kernel // 2, groups=model_dim
        )
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            _Layer(model_dim, num_heads, feedforward_dim, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(model_dim)
        self.out_dim = model_dim
        self.subsampling = self.stem.subsampling

    def forward(self, audio: Padded) -> Padded:
        """Encode [B, T, F] to [B, ceil(T / subsampling), model_dim]."""
        stem: Padded = self.stem(audio)
        steps = stem.with_values(self.project(stem.values)).zeroed()
        position = functional.gelu(self.position(steps.values.transpose(1, 2)).transpose(1, 2))
        values = self.dropout(steps.values + position)
        attend = steps.mask[:, None, None, :]
        for layer in self.layers:
            values = layer(values, attend)
        return steps.with_values(self.norm(values))


class _Layer(nn.Module):
    """Attention and feed-forward blocks, each with layer norm before and a residual connection."""

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(dim)
        self.queries_keys_values = nn.Linear(dim, 3 * dim)
        self.attention_out = nn.Linear(dim, dim)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, feedforward_dim), nn.GELU(), nn.Linear(feedforward_dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, attend: Tensor) -> Tensor:
        """Process values [B, T, D]; `attend` [B, 1, 1, T] is true on steps that can be attended to."""
        values = values + self.dropout(self._attention(self.attention_norm(values), attend))
        out: Tensor = values + self.dropout(self.feedforward(values))
        return out

    def _attention(self, values: Tensor, attend: Tensor) -> Tensor:
        batch, steps, dim = values.shape
        heads = self.queries_keys_values(values).reshape(batch, steps, 3, self.num_heads, -1)
        queries, keys, contents = heads.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(queries, keys, contents, attn_mask=attend)
        mixed = mixed.transpose(1, 2).reshape(batch, steps, dim)
        out: Tensor = self.attention_out(mixed)
        return out
