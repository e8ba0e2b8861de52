"""Compare what is exported with the model in torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ser.batch import Batch, Padded
from ser.checkpoints.checkpoint import Trained
from ser.config.instantiate import build
from ser.data.feature_store import extract_features
from ser.export.step import Step, tensors_of_state
from ser.export.whole import Input
from ser.models.frontend import GlobalNormalizer

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


def example_recordings(trained: Trained, takes: Input) -> list[Tensor]:
    """Return four recordings, of the shortest length and of three others: noise that grows by 60 dB, or frames [T, F].

    Args:
        trained: The model.
        takes: What its graph takes.
    """
    generator = torch.Generator().manual_seed(0)
    if takes == "waveform":
        extractor = build(trained.features, slot="features")
        lengths = [
            extractor.min_samples,
            *(int(share * extractor.sample_rate) for share in (1.3, 0.61, 0.35)),
        ]
        lengths = [max(length, extractor.min_samples) for length in lengths]
        return [
            0.3 * torch.randn(length, generator=generator) * torch.logspace(-3, 0, length)
            for length in lengths
        ]
    own = trained.model.frontend.normalizer
    frames = [torch.randn(length, trained.feature_dim, generator=generator) for length in (1, 130, 61, 35)]
    return [each * own.std + own.mean for each in frames] if isinstance(own, GlobalNormalizer) else frames


def padded_batch(recordings: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return recordings of different lengths as a batch, with other values than 0 as padding, and their lengths."""
    values = torch.nn.utils.rnn.pad_sequence([*recordings], batch_first=True, padding_value=9.0)
    return values, torch.tensor([len(each) for each in recordings])


@torch.inference_mode()
def answers_in_torch(trained: Trained, recordings: Sequence[Tensor], takes: Input) -> Tensor:
    """Compute the answers [N, A] of each recording alone, by the way that `ser predict` takes."""
    extractor = build(trained.features, slot="features") if takes == "waveform" else None
    found = []
    for recording in recordings:
        frames = recording
        speech: Tensor | None = None
        if extractor is not None:
            features, mask = extract_features(recording.numpy(), extractor, "the comparison")
            frames, speech = (
                torch.from_numpy(features).float(),
                None if mask is None else torch.from_numpy(mask)[None],
            )
        audio = Padded(frames[None], torch.tensor([len(frames)]))
        batch = Batch(
            ids=[0], audio=audio, targets=None, keys=torch.zeros(1, dtype=torch.int64), speech=speech
        )
        found.append(trained.target.answers(trained.model(audio).float(), batch))
    return torch.cat(found)


def answers_in_onnx(path: Path, recordings: Sequence[Tensor], *, together: bool) -> Tensor:
    """Compute the answers [N, A] of recordings in onnxruntime, each alone or all in a batch.

    Args:
        path: File of a graph of whole recordings.
        recordings: Recordings as the graph takes them.
        together: Whether in one batch.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    batches = [recordings] if together else [[each] for each in recordings]
    found = []
    for batch in batches:
        values, lengths = padded_batch(batch)
        found.append(session.run(None, dict(zip(names, (values.numpy(), lengths.numpy()), strict=True)))[0])
    return torch.from_numpy(np.concatenate(found))


def whole_difference(trained: Trained, path: Path, recordings: Sequence[Tensor], takes: Input) -> float:
    """Compute the largest difference between onnxruntime and torch, alone and in a batch; NaN if any is NaN.

    Differences of values are relative to the largest of them, if that is above 1.
    """
    expected = answers_in_torch(trained, recordings, takes)
    gaps = []
    for together in (False, True):
        found = answers_in_onnx(path, recordings, together=together)
        both = expected.isnan() & found.isnan()
        gaps.append((found - expected).masked_fill(both, 0).abs().max())
    scale = expected.nan_to_num().abs().max().clamp_min(1)
    return float((torch.stack(gaps) / scale).max())


def rounding_difference(exact: Tensor, rounded: Tensor) -> float:
    """Return the largest difference of two tensors of answers; an answer that is NaN counts as 0.

    Where one model finds no speech in a recording, and the other does, the difference is the probability itself.
    """
    return float((exact.nan_to_num() - rounded.nan_to_num()).abs().max())


def features_difference(trained: Trained, path: Path, recordings: Sequence[Tensor]) -> float:
    """Compute the largest difference of frames between onnxruntime and torch, alone and in a batch; NaN if any is NaN.

    It is relative to the largest value of the features, if that is above 1, and infinite if numbers of frames differ.

    Args:
        trained: The model, whose features are compared.
        path: Path of features.onnx.
        recordings: Waveforms [N].
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    extractor = build(trained.features, slot="features")
    expected = [extract_features(each.numpy(), extractor, "the comparison")[0] for each in recordings]
    gaps = []
    for places in (*([place] for place in range(len(recordings))), [*range(len(recordings))]):
        values, lengths = padded_batch([recordings[place] for place in places])
        frames, counts = session.run(None, {"waveform": values.numpy(), "lengths": lengths.numpy()})
        for place, own, count in zip(places, frames, counts, strict=True):
            same = count == len(expected[place])
            gaps.append(np.abs(own[:count] - expected[place]).max() if same else np.inf)
    return float(np.max(gaps) / max(1.0, *(np.abs(each).max() for each in expected)))
