"""Complete model: frontend, encoder, pooling and head map features to logits."""

import inspect
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

_MOMENTUM = 0.05  # of each vector; 20 vectors of a group have two thirds of the weight
_SMALLEST_VARIANCE = 1e-6


class GroupZScores(nn.Module):
    """Z-scores of vectors by group, without gradients through the statistics.

    In training, the statistics of a group are running ones. Before vectors are scored, `fit` replaces those of their
    groups by exact ones, so that no answer depends on a batch. The tables are no weights: they are of recordings, not
    of the model.

    Args:
        dim: Size of a vector, D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.mean = torch.zeros(0, dim)
        """Mean of each group [G, D]."""
        self.variance = torch.ones(0, dim)
        """Variance of each group [G, D]."""
        self.known = torch.zeros(0, dtype=torch.bool)
        """Whether each group has statistics [G]."""

    def forward(self, vectors: Tensor, groups: Tensor | None = None) -> Tensor:
        """Normalise vectors [B, D] of groups [B]; None is one group of all. In training, update the statistics."""
        if groups is None:
            groups = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)
        self._reserve(groups, vectors.device)
        if self.training:
            self._track(vectors.detach().float(), groups)
        deviation = self.variance[groups].clamp_min(_SMALLEST_VARIANCE).sqrt()
        scores: Tensor = (vectors - self.mean[groups]) / deviation
        return scores.to(vectors.dtype)

    @torch.no_grad()
    def fit(self, vectors: Tensor, groups: Tensor) -> None:
        """Set the statistics of groups [N] to those of their vectors [N, D]."""
        self._reserve(groups, vectors.device)
        for group in torch.unique(groups).tolist():
            own = vectors[groups == group].double()
            self.mean[group] = own.mean(0).float()
            self.variance[group] = own.var(0, correction=0).float()
            self.known[group] = True

    @torch.no_grad()
    def _track(self, vectors: Tensor, groups: Tensor) -> None:
        """Move the statistics of groups towards their vectors; those of a new group start from the whole batch."""
        finite = vectors.isfinite().all(
            1
        )  # an overflow in float16 repeats the step, and must leave no trace here
        vectors, groups = vectors[finite], groups[finite]
        for group in torch.unique(groups).tolist():
            own = vectors[groups == group]
            if not self.known[group]:
                self.mean[group], self.variance[group] = vectors.mean(0), vectors.var(0, correction=0)
                self.known[group] = True
            weight = 1 - (1 - _MOMENTUM) ** len(own)
            self.mean[group].lerp_(own.mean(0), weight)
            self.variance[group].lerp_((own - self.mean[group]).square().mean(0), weight)

    @torch.no_grad()
    def _reserve(self, groups: Tensor, device: torch.device) -> None:
        """Make room for groups, on the device of their vectors."""
        more = int(groups.max()) + 1 - len(self.known) if len(groups) else 0
        if more > 0:
            self.mean = torch.cat([self.mean.to(device), torch.zeros(more, self.dim, device=device)])
            self.variance = torch.cat([self.variance.to(device), torch.ones(more, self.dim, device=device)])
            self.known = torch.cat(
                [self.known.to(device), torch.zeros(more, dtype=torch.bool, device=device)]
            )
        self.mean, self.variance, self.known = (
            table.to(device) for table in (self.mean, self.variance, self.known)
        )

    def tables(self) -> dict[str, Tensor]:
        """Return the statistics, for a checkpoint from which a training goes on."""
        return {"mean": self.mean, "variance": self.variance, "known": self.known}

    def load_tables(self, tables: dict[str, Tensor]) -> None:
        """Restore the statistics of an interrupted training."""
        self.mean, self.variance, self.known = (
            tables[name].clone() for name in ("mean", "variance", "known")
        )


class Head(nn.Module):
    """Map an embedding to logits.

    Args:
        in_dim: Size of the embedding, D.
        out_dim: Number of logits, set by the target.
        dropout: Dropout before the logits, 0..1.
        hidden_dims: Sizes of hidden ReLU layers.
        normalize: `batch` to normalise the embedding by batch norm, or `none`; `speaker` and `corpus` make
            z-scores with the statistics of the speaker's or corpus's recordings, see GroupZScores.
        activation: `tanh` for outputs in -1..1, or `none`.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        dropout: float = 0.3,
        hidden_dims: Sequence[int] = (),
        normalize: Literal["batch", "none", "speaker", "corpus"] = "batch",
        activation: Literal["none", "tanh"] = "none",
    ) -> None:
        super().__init__()
        widths = [in_dim, *hidden_dims]
        hidden = [layer for ends in pairwise(widths) for layer in (nn.Linear(*ends), nn.ReLU())]
        # After z-scores by group, a batch norm would magnify units that are constant in training by its missing
        # variance, as soon as they vary in another corpus.
        norm = _Norm(in_dim) if normalize == "batch" else nn.Identity()
        self.group: Literal["speaker", "corpus"] | None = (
            normalize if normalize == "speaker" or normalize == "corpus" else None
        )
        """What embeddings are normalised by beside the batch norm: speaker, corpus, or None."""
        self.by_group = GroupZScores(in_dim) if self.group else None
        self.layers = nn.Sequential(norm, *hidden, nn.Dropout(dropout), nn.Linear(widths[-1], out_dim))
        self.activation = activation
        self._linears = tuple(layer for layer in self.layers if isinstance(layer, nn.Linear))

    @property
    def output(self) -> nn.Linear:
        """Return the last layer, which has a row for each logit."""
        return self._linears[-1]

    def forward(self, embedding: Tensor, groups: Tensor | None = None) -> Tensor:
        """Map embeddings [B, D] to logits [B, out_dim]; groups [B] are their speakers or corpora, if needed."""
        if self.by_group is not None:
            embedding = self.by_group(embedding, groups)
        logits: Tensor = self.layers(embedding)
        return logits.tanh() if self.activation == "tanh" else logits

    def step(self, steps: Tensor) -> Tensor:
        """Map the steps [B, m, D] of streams to logits [B, m, out_dim].

        Without dropout and norm there is little to compute, and calling the modules would take twice as long as this.
        """
        if self.training or not isinstance(self.layers[0], nn.Identity):
            logits: Tensor = self(steps.flatten(0, 1))
            return logits.view(*steps.shape[:2], logits.shape[-1])
        *hidden, last = self._linears
        for layer in hidden:
            steps = functional.linear(steps, layer.weight, layer.bias).relu_()
        logits = functional.linear(steps, last.weight, last.bias)
        return logits.tanh() if self.activation == "tanh" else logits


class _Norm(nn.BatchNorm1d):
    """Batch norm that uses its running statistics for a batch of one, which has no variance."""

    def forward(self, embedding: Tensor) -> Tensor:
        if len(embedding) > 1:
            return super().forward(embedding)
        return functional.batch_norm(
            embedding, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class Classifier(nn.Module):
    """Compute logits for each utterance, or for each frame if there is no pooling.

    Raises:
        ConfigError: The output is per frame, but the encoder subsamples.
    """

    def __init__(self, frontend: Frontend, encoder: Encoder, pooling: Pooling, head: Head) -> None:
        super().__init__()
        if pooling.resolution == "frame" and encoder.subsampling != 1:
            takes_it = "subsampling" in inspect.signature(type(encoder)).parameters
            raise ConfigError(
                f"pooling=none: {type(encoder).__name__} joins {encoder.subsampling} frames to a step, but every "
                f"frame needs an answer. Set {'model.subsampling=1' if takes_it else 'model=causal_cnn'}, or choose "
                "another model."
            )
        if pooling.resolution == "frame" and head.group:
            raise ConfigError(
                f"head.normalize={head.group}: normalises the pooled vector of a recording, but pooling=none has one "
                "for each frame. Set head.normalize=batch"
            )
        self.frontend = frontend
        self.encoder = encoder
        self.pooling = pooling
        self.head = head

    def embed(self, audio: Padded) -> Tensor:
        """Compute embeddings [B, D] from features [B, T, F] as stored."""
        frames = self.frontend(audio)
        return self.pooling(self.encoder(frames.with_values(frames.values.to(self._dtype))))

    @property
    def _dtype(self) -> torch.dtype:
        """Return the type of the weights; with trainer.precision=16-true it differs from that of features."""
        return next(self.head.parameters()).dtype

    def forward(self, audio: Padded, groups: Tensor | None = None) -> Tensor:
        """Compute logits [B, out_dim] from features [B, T, F] as stored.

        Args:
            audio: Features.
            groups: Speaker or corpus of each utterance [B], for a head that normalises by it.
        """
        embedding = self.embed(audio).to(self._dtype)
        logits: Tensor = self.head(embedding) if groups is None else self.head(embedding, groups)
        return logits

    def initial_state(self, batch_size: int) -> State:
        """Return the state of streams before the first frame.

        Raises:
            ConfigError: A part of the model needs future frames.
        """
        if self.head.group:
            raise ConfigError(
                f"head.normalize={self.head.group}: needs all recordings of the {self.head.group}, so it cannot follow "
                "a stream. Train with head.normalize=batch."
            )
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
        """Process the next frames as stored [B, n, F]; return the logits [B, m, out_dim] of each step and the state.

        Logits are those of the step, or of all steps so far if these are pooled.

        Args:
            chunk: Frames without padding, any n.
            state: State after the chunk before; it is not modified.

        Raises:
            DataError: The state has another batch size.
        """
        frontend, encoder, pooling = state
        frames, frontend = self.frontend.step(chunk, frontend)
        causal: Any = self.encoder  # a state exists for causal encoders only
        steps, encoder = causal.step(frames.to(self._dtype), encoder)
        pooled, pooling = self.pooling.step(steps, pooling)
        return self.head.step(pooled.to(self._dtype)), (frontend, encoder, pooling)

    def finish(self, state: State) -> Tensor:
        """Return the logits [B, m, out_dim] of the frames that are still in the state at the end of a stream."""
        _, encoder, pooling = state
        causal: Any = self.encoder
        return self.head.step(self.pooling.step(causal.finish(encoder), pooling)[0].to(self._dtype))
