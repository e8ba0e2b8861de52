"""Causal Transformer encoder with a limited left context, for streams."""

import torch
from torch import Tensor, nn
from torch.compiler import is_exporting
from torch.nn import functional

from ser.batch import Padded
from ser.errors import ConfigError
from ser.models.base import Encoder, State, check_batch_size, no_steps


class CausalTransformerEncoder(Encoder):
    """A linear layer, then pre-norm Transformer layers; a step attends to itself and `left_context` steps before.

    Over all layers, an output step depends on its own frame and the `receptive_field - 1` frames before it, where
    receptive_field = 1 + num_layers * left_context: 301 steps by default. Attention uses distances, not absolute
    positions, so that a stream may be endless; time and memory grow linearly with its length.

    Args:
        in_dim: Number of values of a frame in all channels, F.
        in_channels: Unused, as the linear layer treats all values of a step alike.
        model_dim: Number of values of a step in each layer, D.
        num_layers: Number of layers.
        num_heads: Number of attention heads, H; it divides model_dim.
        feedforward_dim: Number of hidden units of a feed-forward block.
        left_context: Number of earlier steps to which a step attends in each layer, L, at least 0.
        dropout: Dropout on the output of each block, 0..1.

    Raises:
        ConfigError: There is no layer, the heads do not divide model_dim, or the context is negative.
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
            raise ConfigError(
                f"model.num_layers={num_layers}: a network has layers. Set 1 or more, such as 3."
            )
        if num_heads < 1 or model_dim % num_heads:
            raise ConfigError(
                f"model.num_heads={num_heads}: the heads share model.model_dim={model_dim} in equal parts. "
                "Set model.num_heads to a number that divides it."
            )
        if left_context < 0:
            raise ConfigError(
                f"model.left_context={left_context}: expected a number of steps, 0 or more. Set model.left_context=100."
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
        """Encode [B, T, F] to [B, T, model_dim]."""
        values, count = audio.values, audio.values.shape[1]
        if is_exporting():  # a graph has one way for all lengths, that of more steps than the context has
            values = functional.pad(values, (0, 0, 0, self.left_context + 1))
        steps, _ = self.step(values, self.initial_state(values.shape[0]))
        return audio.with_values(steps[:, :count])

    def initial_state(self, batch_size: int) -> State:
        """Return the number of earlier steps [B], up to L, and for each layer their keys and values [B, L, 2 * D].

        Missing earlier steps are zeros, to which attention is masked: so the streams of a batch may have begun at
        different times.
        """
        weight = self.project.weight
        remembered = weight.new_zeros(batch_size, self.left_context, 2 * self.out_dim)
        received = torch.zeros(batch_size, dtype=torch.int64, device=weight.device)
        return received, (remembered,) * len(self.layers)

    def step(self, chunk: Tensor, state: State) -> tuple[Tensor, State]:
        """Encode the next frames [B, n, F] to [B, n, model_dim], and return the new state.

        Raises:
            DataError: The state has another batch size.
        """
        received, before = state
        check_batch_size(chunk, received)
        count = chunk.shape[1]
        if not count:
            return no_steps(chunk, self.out_dim), state
        values = self.project(chunk)
        places = torch.arange(self.left_context + min(count, _block(self.left_context)), device=chunk.device)
        absent = (places < self.left_context - received[:, None])[:, None, None]
        after = []
        for layer, remembered in zip(self.layers, before, strict=True):
            values, remembered = layer(values, remembered, absent)
            after.append(remembered)
        return self.norm(values), ((received + count).clamp_max(self.left_context), tuple(after))

    def finish(self, state: State) -> Tensor:
        """Return no steps [B, 0, model_dim], as no frame is waiting."""
        _, layers = state
        return no_steps(layers[0], self.out_dim)


class _Layer(nn.Module):
    """Attention and feed-forward blocks, each with layer norm before and a residual connection."""

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
        """Process the next steps, and return them with the new keys and values.

        Args:
            values: Values [B, n, D].
            before: Keys and values of the L steps before [B, L, 2 * D].
            absent: Mask [B, 1, 1, L + n], or of the first block only, true where there was no step.
        """
        count, dim = values.shape[1:]
        queries, own = self.queries_keys_values(self.attention_norm(values)).split([dim, 2 * dim], -1)
        seen = torch.cat([before, own], 1)
        values = values + self.dropout(self.attention_out(self._attend(queries, seen, absent)))
        values = values + self.dropout(self.feedforward(values))
        after = seen[:, count:]
        # The copy lets the memory of a long chunk be freed; a view would keep all of it.
        return values, after if count == 1 else after.clone()

    def _attend(self, queries: Tensor, seen: Tensor, absent: Tensor) -> Tensor:
        """Attend from queries [B, n, D] to L + 1 steps each of keys and values [B, L + n, 2 * D]: [B, n, D].

        Queries are processed in blocks of L, each with 2 L keys; only the first block can contain missing steps.
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
        """Attend from queries [N, n, D] to keys and values [N, L + n, 2 * D]; add scores [N or 1, H, n, L + n]."""
        heads = self.num_heads
        queries = queries.reshape(*queries.shape[:2], heads, -1).transpose(1, 2)
        keys, contents = seen.reshape(*seen.shape[:2], 2, heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(queries, keys, contents, attn_mask=scores)
        return mixed.transpose(1, 2).flatten(2)

    def _band(self, block: int) -> Tensor:
        """Return biases [H, block, L + block]: row i has those of L + 1 distances from column i on, and -inf elsewhere.

        Each row is that above moved by one: rows of a width one larger, read in this width.
        """
        if block == 1:
            return self.bias[:, None]
        heads, width = self.bias.shape[0], self.bias.shape[1] - 1 + block
        rows = functional.pad(self.bias, (0, block), value=-torch.inf)[:, None].expand(-1, block, -1)
        return rows.flatten(1)[:, : block * width].view(heads, block, width)


def _block(context: int) -> int:
    """Return the number of queries that are processed together."""
    return max(context, 1)
