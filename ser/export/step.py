"""A model's step as a function of tensors only, which a file can hold."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ser.checkpoints.checkpoint import Trained
from ser.errors import ConfigError
from ser.inference.stream import Stream
from ser.models.base import State


class Step(nn.Module):
    """Map the next frame of one stream and the tensors of the state to the new state and the output.

    Args:
        trained: A model that can stream.

    Raises:
        ConfigError: The model or its features need future frames, or the shape of the state changes.
    """

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        stream = Stream(trained)
        self.predicts_silence = stream.predicts_silence
        self.extractor = stream.features.extractor
        self.target = trained.target
        self.model = trained.model
        self.initial: State = self.model.initial_state(1)
        self._check_shapes(trained.feature_dim)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map the tensors of a state and a frame [1, F] to those of the new state and the outputs of `answers`."""
        *before, frame = inputs
        logits, after = self.model.step(frame.unsqueeze(1), replace_tensors(self.initial, iter(before)))
        return *tensors_of_state(after), *self.answers(logits[:, 0]).values()

    def answers(self, logits: Tensor) -> dict[str, Tensor]:
        """Compute probabilities [n, C] from logits [n, out_dim]; if silence is a class, also is_speech [n]."""
        said = {"probabilities": self.target.scores(logits)}
        if self.predicts_silence:
            target: Any = self.target
            said["is_speech"] = target.is_speech(logits, torch.ones(len(logits), dtype=torch.bool))
        return said

    def _check_shapes(self, feature_dim: int) -> None:
        with torch.no_grad():
            _, after = self.model.step(torch.zeros(1, 1, feature_dim), self.initial)
        if shapes_of_state(self.initial[0]) != shapes_of_state(after[0]):
            raise ConfigError(
                f"frontend.delta_scale={self.model.frontend.delta_scale}: deltas keep more frames at the fifth frame "
                "than at the first, and step.onnx has one shape for all. Train with frontend.delta_scale=0."
            )
        if shapes_of_state(self.initial) != shapes_of_state(after):
            encoder = self.model.encoder
            raise ConfigError(
                f"model.subsampling={encoder.subsampling}: {type(encoder).__name__} keeps a varying number of "
                "frames that wait to be joined, and step.onnx has one shape for all. Train with model.subsampling=1."
            )


def tensors_of_state(state: State) -> list[Tensor]:
    """Return the tensors of nested tuples, from left to right, without empty ones."""
    if isinstance(state, Tensor):
        return [state] if state.numel() else []
    return [leaf for part in state for leaf in tensors_of_state(part)]


def shapes_of_state(state: State) -> list[torch.Size]:
    """Return the shapes of the tensors of nested tuples, without empty ones."""
    return [leaf.shape for leaf in tensors_of_state(state)]


def replace_tensors(state: State, tensors: Iterator[Tensor]) -> State:
    """Return nested tuples of the same structure, with other tensors."""
    if isinstance(state, Tensor):
        return next(tensors) if state.numel() else state
    return tuple(replace_tensors(part, tensors) for part in state)
