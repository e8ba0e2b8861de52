"""Live use: whatever is pushed in whatever pieces, a stream says what the whole recording says."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ser.batch import Batch, Padded
from ser.checkpoints.checkpoint import Trained, assemble
from ser.errors import ConfigError, DataError
from ser.inference.predict import extractor_of
from ser.inference.stream import Decision, Stream
from ser.targets.frames import FrameClasses

RATE = 8000
MODELS: dict[str, dict[str, Any]] = {
    "lstm": {"_target_": "ser.models.LSTMEncoder", "hidden_dim": [12, 8], "bidirectional": False},
    "gru": {
        "_target_": "ser.models.LSTMEncoder",
        "hidden_dim": 8,
        "cell": "gru",
        "bidirectional": False,
    },
}
FRAMES = {
    "_target_": "ser.targets.FrameClasses",
    "class_names": ["en", "hi", "cmn"],
    "field": "language",
}
UTTERANCES = {
    "_target_": "ser.targets.Classes",
    "class_names": ["en", "hi", "cmn"],
    "field": "language",
}


def spec_of_features(mode: str | None, **settings: Any) -> dict[str, Any]:
    spec = {
        "_target_": "ser.features.MFCC",
        "sample_rate": RATE,
        "num_mel_bins": 20,
        "num_coefficients": 10,
        "log": "decibel",
        "floor": 1e-8,
        **settings,
    }
    detector = {
        "_target_": "ser.features.SilenceDetector",
        "sample_rate": RATE,
        "relative_db": None,
        "absolute_db": -35.0,
        "min_silence_s": 0.1,
        "hang_over_s": 0.03,
    }
    silence = {"_target_": "ser.features.Silence", "mode": mode, "detector": detector}
    return {**spec, "silence": silence} if mode else spec


def a_model(
    model: str = "lstm",
    *,
    mode: str | None = "mask",
    pooling: str = "EveryStep",
    seed: int = 0,
    frontend: dict[str, Any] | None = None,
    features: dict[str, Any] | None = None,
    **settings: Any,
) -> Trained:
    """A model with random weights and moved statistics, as a checkpoint would give it."""
    torch.manual_seed(seed)
    spec = spec_of_features(mode, **(features or {}))
    answers = {**FRAMES, "silence": mode or "keep"} if pooling == "EveryStep" else UTTERANCES
    described = {
        "features": spec,
        "feature_dim": 10,
        "frontend": {"_target_": "ser.models.Frontend", **(frontend or {})},
        "model": {**MODELS[model], **settings},
        "pooling": {"_target_": f"ser.models.pooling.{pooling}"},
        "head": {"_target_": "ser.models.Head"},
        "target": answers,
    }
    network, target = assemble(described)
    network.frontend.fit([torch.randn(50, 10) * 8 - 3])
    return Trained(network.eval(), target, 10, spec, described["frontend"], Path(f"{model}{seed}.ckpt"))


def speech_like(seconds: float = 3.0, seed: int = 1) -> Tensor:
    """Bursts of noise between pauses that are not quite silent."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(round(seconds * RATE), generator=generator)
    times = torch.arange(len(noise)) / RATE
    loud = (times % 0.7 > 0.25) & ((times < 1.2) | (times > 1.5))
    return noise * torch.where(loud, 0.1, 0.001)


def heard(stream: Stream, pieces: Sequence[Tensor]) -> list[Decision]:
    return [decision for piece in pieces for decision in stream.push(piece)] + stream.finish()


def in_pieces(waveform: Tensor, size: int) -> list[Tensor]:
    return [*waveform.split(size)]


@torch.inference_mode()
def of_the_whole(models: Sequence[Trained], waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Offline: probabilities of each frame [T, C], speech [T], and of the recording [C]."""
    extractor = extractor_of(models)
    padded = Padded(waveform[None, :, None], torch.tensor([len(waveform)]))
    features, speech = extractor.with_speech(padded)
    batch = Batch(["x"], features, torch.tensor([0]), torch.zeros(1, dtype=torch.int64), speech=speech)
    logits = [trained.model(features) for trained in models]
    scores = torch.stack([m.target.scores(rows) for m, rows in zip(models, logits, strict=True)]).mean(0)
    decided = torch.stack([m.target.answers(rows, batch) for m, rows in zip(models, logits, strict=True)])
    flags = torch.ones(1, len(scores), dtype=torch.bool) if speech is None else speech
    return scores, flags[0], decided.mean(0)[0]


@pytest.mark.parametrize("mode", [None, "keep", "remove", "mask", "class"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [1, 7, 80, 161, 8001, 100_000])
def test_a_stream_says_of_every_frame_what_the_whole_recording_says(mode, model, size):
    trained = a_model(model, mode=mode)
    waveform = speech_like(1.0 if size < 10 else 3.0)
    decisions = heard(Stream(trained), in_pieces(waveform, size))
    scores, speech, decided = of_the_whole([trained], waveform)
    found = torch.tensor([decision.probabilities for decision in decisions])
    torch.testing.assert_close(found, scores, atol=1e-5, rtol=0)
    if mode in ("keep", "mask"):
        assert [decision.is_speech for decision in decisions] == speech.tolist()
        assert 0.2 < speech.float().mean() < 0.9
    assert decisions[-1].so_far is not None
    torch.testing.assert_close(torch.tensor(decisions[-1].so_far), decided, atol=1e-5, rtol=0)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3000), max_size=30), st.sampled_from(["keep", "remove", "mask", "class"]))
def test_how_the_samples_are_cut_changes_nothing(sizes, mode):
    trained = a_model(mode=mode)
    waveform = speech_like(2.0)
    pieces = (
        [*waveform.split([*sizes, len(waveform) - sum(sizes)])] if sum(sizes) < len(waveform) else [waveform]
    )
    once = heard(Stream(trained), [waveform])
    again = heard(Stream(trained), pieces)
    assert [decision.time_s for decision in once] == [decision.time_s for decision in again]
    assert [decision.is_speech for decision in once] == [decision.is_speech for decision in again]
    for name in ("probabilities", "so_far"):
        one, other = (
            torch.tensor([getattr(decision, name) or (-1.0,) * 3 for decision in decisions])
            for decisions in (once, again)
        )
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["MeanPooling", "MaxPooling", "LastPooling", "AttentionPooling"])
@pytest.mark.parametrize("subsampling", [1, 2])
@pytest.mark.parametrize("mode", [None, "remove"])
def test_models_of_utterances_stream_too_and_end_with_the_answer_to_the_whole(pooling, subsampling, mode):
    trained = a_model(mode=mode, pooling=pooling, subsampling=subsampling, num_layers=2)
    waveform = speech_like(1.505)
    decisions = heard(Stream(trained), in_pieces(waveform, 999))
    _, _, decided = of_the_whole([trained], waveform)
    torch.testing.assert_close(torch.tensor(decisions[-1].so_far), decided, atol=1e-5, rtol=0)
    early = round(decisions[40].time_s * RATE) + 200  # what was heard until then, whole
    assert mode or torch.allclose(
        torch.tensor(decisions[40].so_far), of_the_whole([trained], waveform[:early])[2], atol=1e-5
    )


def test_several_models_are_averaged():
    models = [a_model(seed=0), a_model("gru", seed=1)]
    waveform = speech_like()
    decisions = heard(Stream(models), in_pieces(waveform, 500))
    scores, _, decided = of_the_whole(models, waveform)
    torch.testing.assert_close(
        torch.tensor([decision.probabilities for decision in decisions]), scores, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(torch.tensor(decisions[-1].so_far), decided, atol=1e-5, rtol=0)


def test_causal_deltas_stream_and_centred_ones_are_refused():
    causal = a_model(frontend={"delta_scale": 3.0, "delta_align": "causal"})
    waveform = speech_like(1.0)
    found = torch.tensor([d.probabilities for d in heard(Stream(causal), in_pieces(waveform, 300))])
    torch.testing.assert_close(found, of_the_whole([causal], waveform)[0], atol=1e-5, rtol=0)
    with pytest.raises(ConfigError, match=r"delta_align=centered: .* future steps.*delta_align=causal"):
        Stream(a_model(frontend={"delta_scale": 3.0}))


def test_without_a_reset_the_next_recording_differs_and_after_it_agrees():
    stream = Stream(a_model())
    first, second = speech_like(seed=1), speech_like(seed=2)
    alone = heard(Stream(a_model()), [second])
    heard(stream, [first])
    carried_over = heard(stream, [second])
    assert not np.allclose(carried_over[50].probabilities, alone[50].probabilities, atol=1e-4)
    stream.reset()
    assert heard(stream, [second]) == alone


def test_a_state_is_a_value_that_can_be_kept_and_given_back():
    stream = Stream(a_model(mode="remove"))
    waveform = speech_like()
    stream.push(waveform[:12_345])
    kept = stream.state
    rest = heard(stream, [waveform[12_345:]])
    stream.state = kept
    assert heard(stream, [waveform[12_345:]]) == rest


def test_decisions_come_within_the_look_ahead():
    for mode, waits in {"mask": True, "class": False, None: False}.items():
        stream = Stream(a_model(mode=mode))
        assert (stream.look_ahead_s > 0) == waits
        pushed = 0
        for piece in in_pieces(speech_like(), 80):
            pushed += len(piece)
            for decision in stream.push(piece):
                ended = decision.time_s + 0.025
                assert pushed / RATE <= ended + stream.look_ahead_s + 0.01 + 1e-9


def test_a_recording_of_silence_has_no_decision():
    stream = Stream(a_model())
    decisions = heard(stream, [torch.zeros(RATE)])
    assert len(decisions) == 98
    assert {decision.so_far for decision in decisions} == {None}
    assert not any(decision.is_speech for decision in decisions)


def test_less_than_a_frame_gives_nothing_and_an_empty_push_neither():
    stream = Stream(a_model())
    assert stream.push(torch.zeros(0)) == []
    assert stream.push(np.zeros(150, dtype=np.float32)) == []
    assert stream.finish() == []


def test_a_stream_that_ends_in_mid_frame_drops_what_is_not_full():
    whole = heard(Stream(a_model()), [speech_like(1.0)])
    longer = heard(Stream(a_model()), [torch.cat([speech_like(1.0), torch.zeros(39)])])
    assert len(whole) == len(longer)


def test_another_sample_rate_is_refused():
    stream = Stream(a_model())
    stream.push(torch.zeros(100), sample_rate=RATE)
    with pytest.raises(
        DataError, match=r"come at 16000 Hz, but lstm0\.ckpt was trained at 8000 Hz\. Resample"
    ):
        stream.push(torch.zeros(100), sample_rate=16_000)


def test_samples_that_are_no_numbers_are_refused_and_the_stream_can_go_on():
    stream = Stream(a_model())
    waveform = speech_like(1.0)
    broken = waveform[4000:].clone()
    broken[50] = torch.nan
    decisions = stream.push(waveform[:4000])
    with pytest.raises(DataError, match=r"sample 4050 .*is nan"):
        stream.push(broken)
    decisions += stream.push(waveform[4000:]) + stream.finish()
    assert decisions == heard(Stream(a_model()), [waveform[:4000], waveform[4000:]])


def test_models_that_look_ahead_are_refused():
    with pytest.raises(
        ConfigError, match=r"model\.bidirectional=true: .*Train with model\.bidirectional=false"
    ):
        Stream(a_model(bidirectional=True))
    relative = a_model()
    detector = {**relative.features["silence"]["detector"], "relative_db": -40.0}
    silence = {**relative.features["silence"], "detector": detector}
    relative = replace(relative, features={**relative.features, "silence": silence})
    with pytest.raises(ConfigError, match=r"relative_db=-40\.0: needs the whole recording.*absolute_db"):
        Stream(relative)
    with pytest.raises(ConfigError, match=r"normalize=utterance: .*normalize=global"):
        Stream(a_model(frontend={"normalize": "utterance"}))
    with pytest.raises(ConfigError, match=r"pooling=attentive_statistics: .*pooling=mean"):
        Stream(a_model(mode=None, pooling="AttentiveStatisticsPooling"))


def test_models_of_other_steps_cannot_stream_together():
    models = [a_model(mode=None, pooling="MeanPooling", subsampling=k, num_layers=2) for k in (1, 2)]
    with pytest.raises(ConfigError, match=r"joins 2 frames to a step, and .* 1\. Stream models of one kind"):
        Stream(models)


def test_models_that_predict_different_things_cannot_stream_together():
    turned = a_model(seed=1)
    turned = replace(turned, target=FrameClasses(["hi", "en", "cmn"], "language", silence="mask"))
    for other in (turned, a_model(mode="class"), a_model(pooling="MeanPooling")):
        with pytest.raises(ConfigError, match=r"predict different things|different features"):
            Stream([a_model(), other])
