"""Whether a step in a file answers as it does in torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ser.export.step import Step, leaves

_CHUNKS = (1, 7, 100)  # frames
_FRAMES = 210  # of a comparison: 10 ms each, 2 s


def difference(path: Path, description: Mapping[str, Any], step: Step) -> float:
    """How far onnxruntime is from torch, at most, over frames of noise of all levels, whatever the chunks.

    Args:
        path: of step.onnx.
        description: as `describe` gives it: the stream begins as it says.
        step: the model.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    frames = _noise(step)
    with torch.inference_mode():
        logits, state = step.model.step(frames, step.model.initial_state(1))
        expected = [*(said[None] for said in step.answers(logits[0]).values()), *leaves(state)]
    gaps = []
    for size in _CHUNKS:
        found = _run(session, description, torch.split(frames, size, dim=1))
        gaps += [
            (one.double() - other.double()).abs().max() for one, other in zip(found, expected, strict=True)
        ]
    return float(torch.stack(gaps).max())  # NaN, if one is


def _run(session: Any, description: Mapping[str, Any], chunks: Sequence[Tensor]) -> list[Tensor]:
    """All answers of a stream, each [1, n, ...], and the tensors of its last state."""
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
    """Features [1, _FRAMES, F] of white noise between -60 and 0 dB of full scale."""
    generator = torch.Generator().manual_seed(0)
    extractor = step.extractor
    noise = torch.randn(1, _FRAMES, extractor.framing.length, generator=generator)
    levels = 10 ** (-3 * torch.rand(1, _FRAMES, 1, generator=generator))
    with torch.inference_mode():
        return extractor.extract_frames((noise * levels).to(extractor.dtype)).float()
