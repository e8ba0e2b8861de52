"""A Transformer encoder whose attention goes a fixed time back and never ahead, for streams."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded
from ser.errors import ConfigError
from ser.models.base import State, check_batch_size, no_steps


class CausalTransformerEncoder(nn.Module):
    """A linear layer, then pre-norm Transformer layers; a step sees itself and `left_context` steps before it.

    Layer on layer an output step depends on its own frame and the `receptive_field - 1` before it, where
    receptive_field = 1 + num_layers * left_context: 301 steps by default. Attention knows distances, not places,
    so that a stream may be endless; time and memory grow linearly with it.

    Args:
        in_dim: F, all channels together.
        in_channels: not used; the linear layer sees all values of a step alike.
        model_dim: D, width of a layer.
        num_layers: how many layers.
        num_heads: H, attention heads; they divide model_dim.
        feedforward_dim: width of the hidden layer of a feed-forward block.
        left_context: L, steps before its own that a step sees in each layer, at least 0.
        dropout: on the output of each block, 0..1.

    Raises:
        ConfigError: there is no layer, the heads do not divide model_dim, or the context is negative.
    """

    def __init__(
        self,
        in_dim: int,
        in_channels: int = 1,
        *,
        model_dim: int = 64,
        num_layers: int = 3,
        num_heads: int = 4,
        feedforward_dim: int = 128,
        left_context: int = 100,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ConfigError(f"model.num_layers={num_layers}: is no network. Set 1 or more, as 3.")
        if num_heads < 1 or model_dim % num_heads:
            raise ConfigError(
                f"model.num_heads={num_heads}: the heads share model.model_dim={model_dim} in equal parts. "
                "Set model.num_heads to a number that divides it."
            )
        if left_context < 0:
            raise ConfigError(
                f"model.left_context={left_context}: is a number of steps before a step. Set 0 or more, as 100."
            )
        self.left_context = left_context
        self.project = nn.Linear(in_dim, model_dim)
        self.layers = nn.ModuleList(
            _Layer(model_dim, num_heads, feedforward_dim, left_context, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(model_dim)
        self.out_dim = model_dim
        self.subsampling = 1
        self.receptive_field = 1 + num_layers * left_context

    def forward(self, audio: Padded) -> Padded:
        """[B, T, F] -> [B, T, model_dim]."""
        steps, _ = self.step(audio.values, self.initial_state(len(audio.values)))
        return audio.with_values(steps)

    def initial_state(self, batch_size: int) -> State:
        """How many steps were heard [B], up to L; and for each layer keys and values of the last L [B, L, 2 * D].

        The place of steps that never were is kept by zeros, which attention does not see: so the streams of a batch
        may have begun at different times.
        """
        weight = self.project.weight
        remembered = weight.new_zeros(batch_size, self.left_context, 2 * self.out_dim)
        heard = torch.zeros(batch_size, dtype=torch.int64, device=weight.device)
        return heard, (remembered,) * len(self.layers)

    def step(self, chunk: Tensor, state: State) -> tuple[Tensor, State]:
        """[B, n, F] -> [B, n, model_dim], and what to remember.

        Raises:
            DataError: the state is of another batch size.
        """
        heard, before = state
        check_batch_size(chunk, heard)
        count = chunk.shape[1]
        if not count:
            return no_steps(chunk, self.out_dim), state
        values = self.project(chunk)
        places = torch.arange(self.left_context + min(count, _block(self.left_context)), device=chunk.device)
        absent = (places < self.left_context - heard[:, None])[:, None, None]
        after = []
        for layer, remembered in zip(self.layers, before, strict=True):
            values, remembered = layer(values, remembered, absent)
            after.append(remembered)
        return self.norm(values), ((heard + count).clamp_max(self.left_context), tuple(after))

    def finish(self, state: State) -> Tensor:
        """No steps [B, 0, model_dim]: none was waiting."""
        _, layers = state
        return no_steps(layers[0], self.out_dim)


class _Layer(nn.Module):
    """Attention and feed-forward, each normalised before and added after."""

    def __init__(
        self, dim: int, num_heads: int, feedforward_dim: int, left_context: int, dropout: float
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(dim)
        self.queries_keys_values = nn.Linear(dim, 3 * dim)
        self.bias = nn.Parameter(torch.zeros(num_heads, left_context + 1))  # the farthest step's first
        self.attention_out = nn.Linear(dim, dim)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, feedforward_dim), nn.SiLU(), nn.Linear(feedforward_dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, before: Tensor, absent: Tensor) -> tuple[Tensor, Tensor]:
        """The next steps, and what to remember of them.

        Args:
            values: [B, n, D].
            before: keys and values of the L steps before them [B, L, 2 * D].
            absent: [B, 1, 1, L + n], or of the first block, true where there was no step.
        """
        count, dim = values.shape[1:]
        queries, own = self.queries_keys_values(self.attention_norm(values)).split([dim, 2 * dim], -1)
        seen = torch.cat([before, own], 1)
        values = values + self.dropout(self.attention_out(self._attend(queries, seen, absent)))
        values = values + self.dropout(self.feedforward(values))
        after = seen[:, count:]
        # A long chunk is not kept alive by the few steps of it that are remembered.
        return values, after if count == 1 else after.clone()

    def _attend(self, queries: Tensor, seen: Tensor, absent: Tensor) -> Tensor:
        """Queries [B, n, D] that each see L + 1 of keys and values [B, L + n, 2 * D] -> [B, n, D].

        Queries go in blocks of L, which see 2 L keys; only the first block can look where there was no step.
        """
        batch, count, dim = queries.shape
        context = self.bias.shape[1] - 1
        block = min(count, _block(context))
        band = self._band(block)
        first = self._mix(
            queries[:, :block], seen[:, : context + block], band.masked_fill(absent, -torch.inf)
        )
        if block == count:
            return first
        missing = -count % block
        queries = functional.pad(queries[:, block:], (0, 0, 0, missing)).reshape(-1, block, dim)
        windows = functional.pad(seen[:, block:], (0, 0, 0, missing)).unfold(1, context + block, block)
        rest = self._mix(queries, windows.transpose(2, 3).flatten(0, 1), band[None])
        return torch.cat([first, rest.view(batch, -1, dim)], 1)[:, :count]

    def _mix(self, queries: Tensor, seen: Tensor, scores: Tensor) -> Tensor:
        """Queries [N, n, D], keys and values [N, L + n, 2 * D], scores [N or 1, H, n, L + n] to add -> [N, n, D]."""
        heads = self.num_heads
        queries = queries.reshape(*queries.shape[:2], heads, -1).transpose(1, 2)
        keys, contents = seen.reshape(*seen.shape[:2], 2, heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(queries, keys, contents, attn_mask=scores)
        return mixed.transpose(1, 2).flatten(2)

    def _band(self, block: int) -> Tensor:
        """[H, block, L + block]: row i holds the bias of L + 1 distances from column i on, elsewhere -inf.

        Each row is that above moved by one: rows of a width one larger, read in this width.
        """
        if block == 1:
            return self.bias[:, None]
        heads, width = self.bias.shape[0], self.bias.shape[1] - 1 + block
        rows = functional.pad(self.bias, (0, block), value=-torch.inf)[:, None].expand(-1, block, -1)
        return rows.flatten(1)[:, : block * width].view(heads, block, width)


def _block(context: int) -> int:
    """Queries that are answered together."""
    return max(context, 1)
