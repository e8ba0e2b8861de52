"""Features as a graph equal those of the extractor: of every alignment, amplitude and treatment of silence."""

import pytest
import torch

from ser.config.instantiate import build
from ser.errors import ConfigError
from ser.export.features_graph import FeaturesGraph
from tests.export.runs import noise, with_garbage

LOG_MEL = {"_target_": "ser.features.LogMel"}
KALDI = {"window": "povey", "remove_mean": True, "preemphasis": 0.97, "preemphasis_of": "frame"}
CASES = [
    *({**LOG_MEL, "align": align} for align in ("causal", "causal_padded", "centered", "centered_padded")),
    {**LOG_MEL, "preemphasis": 0.97, "floor_by": "zero", "scale": 32768.0},
    {**LOG_MEL, **KALDI, "log": "log10", "floor_by": "add"},
    {**LOG_MEL, "power": 1, "log": "decibel", "top_db": 60.0},
    {"_target_": "ser.features.MFCC", "num_coefficients": 20},
    *(
        {"_target_": "ser.features.Waveform", "normalize": normalize}
        for normalize in ("none", "peak", "rms", "zscore", "minmax")
    ),
]
DETECTOR = {"_target_": "ser.features.SilenceDetector", "sample_rate": 16000}


def clips() -> list[torch.Tensor]:
    """Noise with a pause, shorter noise, and silence alone."""
    torch.manual_seed(0)
    long, short = noise(24_000, 5_321)
    long[9_000:16_000] *= 1e-4
    return [long, short, torch.zeros(3_000)]


def check(spec: dict) -> None:
    extractor, graph = build(spec, slot="features"), FeaturesGraph(build(spec, slot="features"))
    batch = with_garbage(clips())
    found, speech = graph(batch)
    for place, clip in enumerate(clips()):
        alone = with_garbage([clip])
        expected, heard = extractor.with_speech(alone)
        length = int(found.lengths[place])
        assert length == int(expected.lengths[0])
        torch.testing.assert_close(found.values[place, :length], expected.values[0], atol=2e-3, rtol=1e-4)
        assert not found.values[place, length:].any()
        if heard is not None:
            assert torch.equal(speech[place, :length], heard[0])
            assert not speech[place, length:].any()


@pytest.mark.parametrize("spec", CASES, ids=str)
def test_a_graph_has_the_features_of_the_extractor(spec: dict) -> None:
    check(spec)


@pytest.mark.parametrize("mode", ["keep", "remove", "mute", "mask"])
@pytest.mark.parametrize("threshold", [{"relative_db": -40.0}, {"relative_db": None, "absolute_db": -50.0}])
def test_a_graph_treats_silence_as_the_extractor(mode: str, threshold: dict) -> None:
    silence = {"_target_": "ser.features.Silence", "mode": mode, "detector": {**DETECTOR, **threshold}}
    check({**LOG_MEL, "silence": silence})


def test_features_without_a_graph_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"StepLogMel has no form as ONNX.* Set takes=frames"):
        FeaturesGraph(build({"_target_": "ser.features.StepLogMel"}, slot="features"))
