"""Apple's MPS has no float64: no step of a training makes a tensor of it, features on the device included."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ser.batch import Batch, Padded
from ser.features.amplitude import normalize_amplitude
from ser.features.extractors import MFCC, LogMel
from ser.features.vad import Silence, SilenceDetector
from ser.targets.frames import FrameClasses
from ser.training.task import Task
from tests.fits import fit


class NoFloat64(TorchDispatchMode):
    """Refuse operations that give a tensor of float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for part in tree_leaves(found):
            assert not (isinstance(part, torch.Tensor) and part.dtype == torch.float64), func
        return found


def without_float64(step: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*arguments: Any) -> Any:
        with NoFloat64():
            return step(*arguments)

    return checked


FRAMES = (
    *("target=frame_classes", "pooling=none", "model=gru_tiny", "frontend.delta_scale=0", "augment=none"),
    *("features=mfcc", "silence=mask", "callbacks=language_id_stream"),
)


@pytest.mark.parametrize(
    "settings",
    [
        ("features=challenge", "waveform_augment=noise_and_speed"),
        ("features=mfcc", "silence=mute", "waveform_augment=noise_and_speed", "augment=none"),
        ("features=log_mel", "silence=remove", "waveform_augment=noise_and_speed"),
        ("features=waveform", "model=waveform_cnn", "waveform_augment=noise_and_speed", "augment=none"),
        FRAMES,
    ],
    ids=lambda settings: settings[0],
)
def test_no_step_makes_float64(
    recordings: Path, tmp_path: Path, settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("training_step", "validation_step", "on_train_epoch_end", "on_validation_epoch_end")
    for name in names:
        monkeypatch.setattr(Task, name, without_float64(getattr(Task, name)))
    monkeypatch.setattr(FrameClasses, "answers", without_float64(FrameClasses.answers))
    fitted = fit(recordings, tmp_path, *settings, data="ravdess")
    assert fitted.task.curves["validation/loss"]


def noise(*lengths: int) -> Padded:
    return Padded.collate([0.1 * torch.randn(length, 1) for length in lengths])


@pytest.mark.parametrize("kind", [LogMel, MFCC])
def test_features_in_float32_are_those_in_float64(kind: type[LogMel]) -> None:
    precise = kind(precision="float64", floor=1e-8)
    waveforms = noise(16_000, 9_000)
    expected, found = precise(waveforms), precise.to_float32()(waveforms)
    assert found.values.dtype == torch.float32
    assert torch.allclose(found.values, expected.values, atol=1e-3)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_silence_in_float32_is_that_in_float64(offset: float) -> None:
    loud, soft = noise(48_000).values[0], 1e-4 * torch.randn(48_000, 1)
    samples = torch.cat([soft, loud, soft]) + offset
    waveforms = Padded(samples[None], torch.tensor([len(samples)]))
    silence = Silence(SilenceDetector(16_000, absolute_db=-50.0))
    extractor = LogMel(silence=silence)
    expected = silence.detector.frames(waveforms).values
    found = extractor.to_float32().silence.detector.frames(waveforms).values  # type: ignore[union-attr]
    assert 0.2 < expected.float().mean() < 0.5
    assert torch.equal(found, expected)


@pytest.mark.parametrize("normalize", ["peak", "rms", "zscore", "minmax"])
def test_amplitudes_in_float32_are_those_in_float64(normalize: Any) -> None:
    waveforms = noise(80_000, 30_000)
    expected = normalize_amplitude(waveforms, normalize).values
    assert torch.allclose(
        normalize_amplitude(waveforms, normalize, torch.float32).values, expected, atol=1e-5
    )


def test_decisions_over_many_frames_are_exact() -> None:
    frames = 200_000
    logits = torch.randn(frames, 3)
    audio = Padded(torch.zeros(1, frames, 1), torch.tensor([frames]))
    target = FrameClasses(["a", "b", "c"], "field")
    decided = target.answers(logits, Batch([0], audio, None, torch.zeros(1, dtype=torch.int64)))
    expected = np.exp(logits.double().numpy())
    expected = (expected / expected.sum(1, keepdims=True)).mean(0)
    assert decided[0].numpy() == pytest.approx(expected, rel=2e-7)


def test_a_decision_over_lost_logits_is_no_number() -> None:
    audio = Padded(torch.zeros(2, 4, 1), torch.tensor([4, 4]))
    logits = torch.zeros(8, 2)
    logits[1] = torch.nan
    target = FrameClasses(["a", "b"], "field")
    decided = target.answers(logits, Batch([0, 1], audio, None, torch.zeros(2, dtype=torch.int64)))
    assert decided[0].isnan().all()
    assert decided[1].tolist() == [0.5, 0.5]
