"""Frontend, encoder, pooling and head: features in, logits out."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded
from ser.errors import ConfigError
from ser.models.base import CausalEncoder, Encoder, State
from ser.models.frontend import Frontend
from ser.models.pooling import Pooling


class Head(nn.Module):
    """From an embedding to logits.

    Args:
        in_dim: D, width of the embedding.
        out_dim: logits, as the target asks.
        dropout: before the logits, 0..1.
        hidden_dims: widths of ReLU layers before that.
        normalize: the embedding by batch norm first, or not at all.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        dropout: float = 0.3,
        hidden_dims: Sequence[int] = (),
        normalize: Literal["batch", "none"] = "batch",
    ) -> None:
        super().__init__()
        widths = [in_dim, *hidden_dims]
        hidden = [layer for ends in pairwise(widths) for layer in (nn.Linear(*ends), nn.ReLU())]
        norm = _Norm(in_dim) if normalize == "batch" else nn.Identity()
        self.layers = nn.Sequential(norm, *hidden, nn.Dropout(dropout), nn.Linear(widths[-1], out_dim))
        self._linears = tuple(layer for layer in self.layers if isinstance(layer, nn.Linear))

    @property
    def output(self) -> nn.Linear:
        """The last layer, which has a row for each logit."""
        return self._linears[-1]

    def forward(self, embedding: Tensor) -> Tensor:
        """[B, D] -> [B, out_dim]."""
        logits: Tensor = self.layers(embedding)
        return logits

    def step(self, steps: Tensor) -> Tensor:
        """[B, m, D] -> [B, m, out_dim], of streams.

        Without dropout and norm there is little to compute, and calls of modules would take twice as long as that.
        """
        if self.training or not isinstance(self.layers[0], nn.Identity):
            logits: Tensor = self(steps.flatten(0, 1))
            return logits.view(*steps.shape[:2], logits.shape[-1])
        *hidden, last = self._linears
        for layer in hidden:
            steps = functional.linear(steps, layer.weight, layer.bias).relu_()
        return functional.linear(steps, last.weight, last.bias)


class _Norm(nn.BatchNorm1d):
    """Batch norm that takes its running statistics for a batch of one, which has no deviation of its own."""

    def forward(self, embedding: Tensor) -> Tensor:
        if len(embedding) > 1:
            return super().forward(embedding)
        return functional.batch_norm(
            embedding, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class Classifier(nn.Module):
    """One answer an utterance; or, where nothing is pooled, one a frame.

    Raises:
        ConfigError: every frame is to be answered, but the encoder joins some of them to a step.
    """

    def __init__(self, frontend: Frontend, encoder: Encoder, pooling: Pooling, head: Head) -> None:
        super().__init__()
        if pooling.resolution == "frame" and encoder.subsampling != 1:
            raise ConfigError(
                f"pooling=none: {type(encoder).__name__} joins {encoder.subsampling} frames to a step, but every "
                "frame needs an answer. Set model.subsampling=1, or choose another model."
            )
        self.frontend = frontend
        self.encoder = encoder
        self.pooling = pooling
        self.head = head

    def embed(self, audio: Padded) -> Tensor:
        """[B, T, F] as stored -> embeddings [B, D]."""
        frames = self.frontend(audio)
        return self.pooling(self.encoder(frames.with_values(frames.values.to(self._dtype))))

    @property
    def _dtype(self) -> torch.dtype:
        """Of the weights: with trainer.precision=16-true another one than that of features."""
        return next(self.head.parameters()).dtype

    def forward(self, audio: Padded) -> Tensor:
        """[B, T, F] as stored -> logits [B, out_dim]."""
        logits: Tensor = self.head(self.embed(audio).to(self._dtype))
        return logits

    def initial_state(self, batch_size: int) -> State:
        """What is remembered of streams of which nothing was heard yet.

        Raises:
            ConfigError: a part of the model needs more than has been heard.
        """
        if not isinstance(self.encoder, CausalEncoder):
            raise ConfigError(
                f"model: {type(self.encoder).__name__} looks ahead, so it cannot follow a stream. Train with "
                "model=lstm_stream, gru_stream, gru_tiny, causal_cnn or causal_transformer."
            )
        return (
            self.frontend.initial_state(batch_size),
            self.encoder.initial_state(batch_size),
            self.pooling.initial_state(batch_size),
        )

    def step(self, chunk: Tensor, state: State) -> tuple[Tensor, State]:
        """The next frames as stored [B, n, F] -> logits [B, m, out_dim] after each step, and what to remember.

        Logits are those of the step, or of all steps so far where these are pooled.

        Args:
            chunk: no padding, any n.
            state: as the chunk before has left it; it stays as it is.

        Raises:
            DataError: the state is of another batch size.
        """
        frontend, encoder, pooling = state
        frames, frontend = self.frontend.step(chunk, frontend)
        causal: Any = self.encoder  # or there would be no state
        steps, encoder = causal.step(frames.to(self._dtype), encoder)
        pooled, pooling = self.pooling.step(steps, pooling)
        return self.head.step(pooled.to(self._dtype)), (frontend, encoder, pooling)

    def finish(self, state: State) -> Tensor:
        """Logits [B, m, out_dim] of the steps that are still waiting for frames when a stream ends."""
        _, encoder, pooling = state
        causal: Any = self.encoder
        return self.head.step(self.pooling.step(causal.finish(encoder), pooling)[0].to(self._dtype))
