"""Compare an exported step with the model in torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ser.export.step import Step, tensors_of_state

_CHUNKS = (1, 7, 100)  # frames
_FRAMES = 210  # frames of a comparison: 10 ms each, 2 s


def max_difference(path: Path, description: Mapping[str, Any], step: Step) -> float:
    """Compute the largest difference between onnxruntime and torch over frames of noise, for several chunk sizes.

    Args:
        path: Path of step.onnx.
        description: Description of the bundle by `describe`, which contains the initial state.
        step: The model.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    frames = _noise(step)
    with torch.inference_mode():
        logits, state = step.model.step(frames, step.model.initial_state(1))
        expected = [*(said[None] for said in step.answers(logits[0]).values()), *tensors_of_state(state)]
    gaps = []
    for size in _CHUNKS:
        found = _run(session, description, torch.split(frames, size, dim=1))
        gaps += [
            (one.double() - other.double()).abs().max() for one, other in zip(found, expected, strict=True)
        ]
    return float(torch.stack(gaps).max())  # NaN if any difference is NaN


def _run(session: Any, description: Mapping[str, Any], chunks: Sequence[Tensor]) -> list[Tensor]:
    """Run a stream in onnxruntime; return all outputs [1, n, ...] and the tensors of the last state."""
    states = {
        own["input"]: torch.full(own["shape"], float(own["initial"])).to(getattr(torch, own["type"])).numpy()
        for own in description["states"]
    }
    said: list[list[Tensor]] = [[] for _ in description["outputs"]]
    for chunk in chunks:
        answers = session.run(None, {"frames": chunk.numpy(), **states})
        states = dict(zip(states, answers[len(said) :], strict=True))
        for row, answer in zip(said, answers, strict=False):
            row.append(torch.from_numpy(answer))
    return [*(torch.cat(row, 1) for row in said), *map(torch.from_numpy, states.values())]


def _noise(step: Step) -> Tensor:
    """Compute features [1, _FRAMES, F] of white noise between -60 and 0 dB of full scale."""
    generator = torch.Generator().manual_seed(0)
    extractor = step.extractor
    noise = torch.randn(1, _FRAMES, extractor.framing.length, generator=generator)
    levels = 10 ** (-3 * torch.rand(1, _FRAMES, 1, generator=generator))
    with torch.inference_mode():
        return extractor.extract_frames((noise * levels).to(extractor.dtype)).float()
