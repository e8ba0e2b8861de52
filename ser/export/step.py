"""A model's step as a function of tensors alone, as a file has to hold it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ser.errors import ConfigError
from ser.inference.checkpoint import Trained
from ser.inference.stream import Stream
from ser.models.base import State


class Step(nn.Module):
    """The next frame of one stream and the tensors of the state before it -> those after it, and the answer.

    Args:
        trained: a model that can stream.

    Raises:
        ConfigError: the model, or its features, needs more than has been heard; or what it remembers does not keep its
            shape.
    """

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        stream = Stream(trained)
        self.hears_silence = stream.hears_silence
        self.extractor = stream.features.extractor
        self.target = trained.target
        self.model = trained.model
        self.initial: State = self.model.initial_state(1)
        self._check_shapes(trained.feature_dim)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Tensors of a state and a frame [1, F] -> tensors of a state, and what `answers` makes of the frame."""
        *before, frame = inputs
        logits, after = self.model.step(frame.unsqueeze(1), rebuilt(self.initial, iter(before)))
        return *leaves(after), *self.answers(logits[:, 0]).values()

    def answers(self, logits: Tensor) -> dict[str, Tensor]:
        """Logits [n, out_dim] -> probabilities [n, C]; where silence is a class, also whether it is speech [n]."""
        said = {"probabilities": self.target.scores(logits)}
        if self.hears_silence:
            target: Any = self.target
            said["is_speech"] = target.is_speech(logits, torch.ones(len(logits), dtype=torch.bool))
        return said

    def _check_shapes(self, feature_dim: int) -> None:
        with torch.no_grad():
            _, after = self.model.step(torch.zeros(1, 1, feature_dim), self.initial)
        if shapes(self.initial[0]) != shapes(after[0]):
            raise ConfigError(
                f"frontend.delta_scale={self.model.frontend.delta_scale}: deltas remember more at the fifth frame than "
                "at the first, and step.onnx has one shape for all. Train with frontend.delta_scale=0."
            )
        if shapes(self.initial) != shapes(after):
            encoder = self.model.encoder
            raise ConfigError(
                f"model.subsampling={encoder.subsampling}: {type(encoder).__name__} remembers now more, now fewer "
                "frames that wait to be joined, and step.onnx has one shape for all. Train with model.subsampling=1."
            )


def leaves(state: State) -> list[Tensor]:
    """The tensors of nested tuples, from left to right; those that hold nothing are left out."""
    if isinstance(state, Tensor):
        return [state] if state.numel() else []
    return [leaf for part in state for leaf in leaves(part)]


def shapes(state: State) -> list[torch.Size]:
    """Those of the leaves."""
    return [leaf.shape for leaf in leaves(state)]


def rebuilt(state: State, tensors: Iterator[Tensor]) -> State:
    """Nested tuples like these, with other tensors in place of their leaves."""
    if isinstance(state, Tensor):
        return next(tensors) if state.numel() else state
    return tuple(rebuilt(part, tensors) for part in state)
