"""Padding and batch mates never change an answer: of every model, pooling and features that conf/ offers."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from ser.batch import Padded
from ser.checkpoints.checkpoint import assemble, describe
from ser.config.instantiate import build
from ser.config.validate import check
from ser.errors import ConfigError
from ser.models.classifier import Classifier, Head
from ser.models.frontend import Frontend
from ser.models.pooling import EveryStep, MeanPooling
from tests.conftest import REPOSITORY, alone

CONF = REPOSITORY / "conf"


def options(group: str) -> list[str]:
    """The YAML files of a group: a new one is tested without a word here."""
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return [name for name in names if name != "pretrained"]  # needs a folder: tests/pretrained


OF_WORDS = dict.fromkeys(("fusion", "semantic"), ("model.text_dim=8", "frontend.delta_scale=0"))
"""What a model of audio and words needs where there are other features."""
OF_SILENCE = [
    (features, silence)
    for features in options("features")
    for silence in (None, "remove", "mute")
    if silence is None or not features.startswith("step_")
]
"""Options of features, and what they do about silence; steps keep it."""


def composed(*overrides: str) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return check(compose("train", overrides=[*overrides]))


def make_classifier(*overrides: str, feature_dim: int = 26) -> Classifier:
    """The classifier of these settings; its normalisation has seen data, so that it hides no difference."""
    return unsettled(assemble(describe(composed(*overrides), feature_dim=feature_dim))[0])


def unsettled(model: Classifier) -> Classifier:
    """Give every bias, every running statistic and the frontend's statistics a value that is not neutral."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-0.5, 0.5)
        for name, statistic in model.named_buffers():
            if name.endswith("running_mean"):
                statistic.uniform_(-1, 1)
            if name.endswith("running_var"):
                statistic.uniform_(0.5, 2)
    return model


def make_batch(model: Classifier, feature_dim: int, count: int = 8) -> Padded:
    """Utterances of 1 frame to 24 steps of the encoder, 4 of a long one; what stands in the padding is garbage."""
    longest = model.encoder.subsampling * (24 if model.encoder.subsampling < 100 else 4)
    lengths = torch.randint(1, longest, (count,))
    lengths[:2] = torch.tensor([longest, 1])
    values = torch.randn(count, longest, feature_dim) * 2 + 1
    model.frontend.fit([values.flatten(0, 1)])
    padded = Padded(values, lengths)
    return padded.with_values(torch.where(padded.mask.unsqueeze(-1), values, garbage(values)))


def garbage(values: Tensor) -> Tensor:
    return 100 * torch.randn_like(values) + 50


def outputs(model: Classifier, audio: Padded) -> Tensor:
    """Logits of each utterance, or of all its frames one after the other."""
    if not isinstance(model.pooling, EveryStep):
        return model(audio)
    steps = model.encoder(model.frontend(audio))
    return model.head(steps.values[steps.mask])


def check_padding(model: Classifier, feature_dim: int) -> None:
    """Compare logits of a batch with garbage in its padding with those of each utterance alone.

    Float32 sums of other lengths are added in another order: 1e-6 was found, 1e-5 is allowed.
    """
    audio = make_batch(model.eval(), feature_dim)
    with torch.no_grad():
        together = outputs(model, audio)
        single = torch.cat([outputs(model, alone(audio, index)) for index in range(len(audio.lengths))])
    spread = float(single.std(0).mean())
    assert spread > 1e-3, "these logits hardly depend on the utterance, so nothing is shown"
    difference = float((together - single).abs().max())
    assert difference <= 1e-5 + 1e-4 * spread, f"logits change by {difference:.1e} with batch mates"


@pytest.mark.parametrize("model", options("model"))
def test_batch_mates_do_not_change_a_model(model: str) -> None:
    checked = 0
    for features, feature_dim in (("challenge", 26), ("log_mel", 64), ("waveform", 1)):
        try:
            chosen = (f"features={features}", f"model={model}", *OF_WORDS.get(model, ()))
            classifier = make_classifier(*chosen, feature_dim=feature_dim)
        except ConfigError:  # it is not for such features
            continue
        check_padding(classifier, feature_dim)
        checked += 1
    assert checked, "this model can be built for no features"


@pytest.mark.parametrize("pooling", options("pooling"))
@pytest.mark.parametrize("model", ["cnn", "lstm", "causal_cnn"])
def test_batch_mates_do_not_change_a_pooling(model: str, pooling: str) -> None:
    whole = [*["model.subsampling=1"] * (model == "lstm")]
    if pooling == "none" and model == "cnn":
        pytest.skip("a CNN joins frames, so it does not answer every frame")
    check_padding(make_classifier(f"model={model}", f"pooling={pooling}", *whole), 26)


@pytest.mark.parametrize("normalize", ["global", "utterance", "none"])
def test_batch_mates_do_not_change_a_normalization(normalize: str) -> None:
    check_padding(make_classifier("model=cnn_small", f"frontend.normalize={normalize}"), 26)


@pytest.mark.parametrize(("features", "silence"), OF_SILENCE)
def test_batch_mates_do_not_change_features(features: str, silence: str | None) -> None:
    chosen = [f"silence={silence}"] if silence else []
    extractor = build(composed(f"features={features}", *chosen)["features"], slot="features")
    samples = torch.tensor([8_000, extractor.min_samples, 1_700, 5_000])
    waveforms = Padded(0.1 * torch.randn(4, 8_000, 1), samples)
    waveforms.values[0, 2_000:7_000] *= 1e-4  # a pause
    waveforms = waveforms.with_values(
        torch.where(waveforms.mask.unsqueeze(-1), waveforms.values, garbage(waveforms.values))
    )
    together = extractor(waveforms)
    for index in range(4):
        single = extractor(alone(waveforms, index))
        length = int(single.lengths)
        assert int(together.lengths[index]) == length
        torch.testing.assert_close(
            together.values[index, :length], single.values[0, :length], rtol=1e-4, atol=1e-4
        )


# ---- the checks themselves find what they are for ----


class Unmasked(nn.Module):
    """Encoders that let padding or batch mates in, one fault each."""

    subsampling = 1

    def __init__(self, fault: str, in_dim: int = 26, width: int = 16) -> None:
        super().__init__()
        self.out_dim = width
        self.fault = fault
        self.project = nn.Linear(in_dim, width)
        self.convolve = nn.Conv1d(width, width, 5, padding=2)
        self.recur = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.attend = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, frames: Padded) -> Padded:
        steps = self.project(frames.values)
        match self.fault:
            case "convolution":
                steps = self.convolve(steps.mT).mT
            case "second convolution":  # zeros first, but biases fill the padding before the next one
                steps = self.convolve(frames.with_values(steps).zeroed().values.mT).relu()
                steps = self.convolve(steps).mT
            case "recurrence":
                steps = self.recur(steps)[0]
            case "attention":
                steps = self.attend(steps, steps, steps)[0]
            case "statistics of an utterance":
                steps = (steps - steps.mean(1, keepdim=True)).relu()
            case "statistics of the batch":
                steps = steps + steps.mean((0, 1))
            case "weak attention":
                steps = steps + 1e-3 * self.attend(steps, steps, steps)[0]
        return frames.with_values(steps)


def planted(fault: str) -> Classifier:
    frontend = Frontend(26, delta_scale=0.0)
    return unsettled(Classifier(frontend, Unmasked(fault), MeanPooling(16), Head(16, 4, dropout=0.0)))


@pytest.mark.parametrize(
    "fault",
    [
        *("convolution", "second convolution", "recurrence", "attention", "weak attention"),
        *("statistics of an utterance", "statistics of the batch"),
    ],
)
def test_a_model_without_masks_is_found(fault: str) -> None:
    with pytest.raises(AssertionError, match="with batch mates"):
        check_padding(planted(fault), 26)


def test_a_model_of_steps_alone_passes() -> None:
    check_padding(planted("none"), 26)
