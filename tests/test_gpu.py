"""What a GPU computes is what a CPU computes. The same code runs here with another device in the GPU's place.

That is the CPU, or the device of `tests.other_device`, which refuses to mix its data with the CPU's, as a GPU does.

On a machine with a card: python -m pytest -m gpu tests
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from ser.batch import Padded
from ser.batching.samplers import BatchIndices
from ser.config.instantiate import build
from ser.errors import ConfigError
from ser.models.base import CausalEncoder
from ser.models.classifier import Classifier
from ser.pretrained.networks import build_network
from ser.pretraining.byol import BYOL
from ser.pretraining.processes import standardize
from ser.pretraining.spread import Spread
from ser.pretraining.task import fill_ends
from ser.pretraining.views import Views
from ser.randomness import utterance_keys
from ser.training import setup
from ser.training.task import Task, carried
from tests import other_device
from tests.commands import TINY
from tests.config.test_composed import composed
from tests.conftest import REPOSITORY, alone
from tests.models.test_padding import OF_SILENCE, make_batch, make_classifier, options, outputs
from tests.training.test_plot_callbacks import Pieces, fitted, pieces, trainer_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning"),  # torch.compile's own imports
    pytest.mark.filterwarnings("ignore::UserWarning:torch._inductor"),  # its advice about this card
]

DEVICES = ["other", pytest.param("cuda", marks=pytest.mark.gpu)]
TYPES = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
STILL = ("augment=none", "model.dropout=0", "head.dropout=0")
NARROW = ("model.channels=[8,8]", "model.time_strides=[2,2]")


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Where it is computed, in full float32: TF32 alone would change logits by 1e-3."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if request.param == "other":
        if not other_device.IS_SUPPORTED:
            pytest.skip("this torch has no devices in Python")
        with other_device.available() as place:
            yield place
        return
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield torch.device(request.param)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def classifiers(model: str) -> Iterator[tuple[Classifier, int]]:
    """The classifier of an option of conf/model, for each kind of features that it is for, and their number.

    Not a CNN of spectra on waveforms: torch 2.13 on a CPU makes NaN of finite bfloat16 where a kernel of 3 meets a
    width of 1.
    """
    spectra, waveforms = [("challenge", 26), ("log_mel", 64)], [("waveform", 1)]
    for features, feature_dim in waveforms if model.startswith("waveform") else spectra:
        try:
            classifier = make_classifier(f"features={features}", f"model={model}", feature_dim=feature_dim)
        except ConfigError:
            continue
        yield classifier.eval(), feature_dim


def in_precision(device: torch.device, precision: str) -> Any:
    """What Lightning's trainer wraps a step in."""
    dtype = TYPES[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


ON_CPU = ("cnn", "lstm", "transformer")
"""Models that stand for all in each run of the tests on a CPU."""
EVERYWHERE = [
    pytest.param(model, place, marks=mark)
    for model in options("model")
    for place, mark in (("cpu", () if model in ON_CPU else pytest.mark.slow), ("cuda", pytest.mark.gpu))
]
SHARES = {"32-true": 1e-4, "bf16-mixed": 0.03, "16-mixed": 0.005}
"""Of the largest logit, by which others may differ; bfloat16 has 8 bits, float16 11."""


@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize(("model", "device"), EVERYWHERE, indirect=["device"])
def test_logits_are_those_of_the_cpu_in_float32(model: str, precision: str, device: torch.device) -> None:
    for classifier, feature_dim in classifiers(model):
        audio = make_batch(classifier, feature_dim, 4)
        with torch.no_grad():
            expected = outputs(classifier, audio)
            with in_precision(device, precision):
                found = outputs(classifier.to(device), audio.to(device)).float().cpu()
        assert found.isfinite().all()
        assert float((found - expected).abs().max()) <= SHARES[precision] * float(expected.abs().max())


@pytest.mark.parametrize(("model", "device"), EVERYWHERE, indirect=["device"])
def test_batch_mates_change_nothing(model: str, device: torch.device) -> None:
    for classifier, feature_dim in classifiers(model):
        audio = make_batch(classifier, feature_dim, 4).to(device)
        classifier.to(device)
        with torch.no_grad():
            together = outputs(classifier, audio)
            single = torch.cat([outputs(classifier, alone(audio, index)) for index in range(4)])
        torch.testing.assert_close(together, single, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "model", ["causal_cnn", "causal_transformer", "gru_stream", "gru_tiny", "lstm_stream"]
)
def test_a_stream_equals_the_whole(model: str, device: torch.device) -> None:
    classifier = (
        make_classifier(f"model={model}", "pooling=mean", "frontend.delta_align=causal").to(device).eval()
    )
    assert isinstance(classifier.encoder, CausalEncoder)
    frames = torch.randn(2, 48, 26, device=device)
    state = classifier.initial_state(2)
    with torch.no_grad():
        for chunk in frames.split([5, 16, 1, 26], dim=1):
            logits, state = classifier.step(chunk, state)
        whole = classifier(Padded(frames, torch.tensor([48, 48], device=device)))
    torch.testing.assert_close(logits[:, -1], whole, atol=1e-4, rtol=1e-3)


def test_other_device_refuses_data_of_the_cpu(device: torch.device) -> None:
    """Or the tests here would show nothing."""
    here = torch.ones(3, device=device)
    assert (here + 1).sum().item() == 6
    assert (here + torch.tensor(2.0)).tolist() == [3, 3, 3]
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        _ = here + torch.ones(3)
    with pytest.raises(RuntimeError, match=r"indices|Expected all tensors"):
        _ = torch.ones(3)[here.long()]
    with pytest.raises(TypeError, match="numpy"):
        here.numpy()


def test_carried_state_follows_the_batch_to_the_device(device: torch.device) -> None:
    words = ("model=lstm_stream", "pooling=none", "frontend.delta_scale=0")
    classifier = make_classifier(*words).eval()
    frames, continues = torch.randn(2, 12, 26), torch.tensor([True, False])
    found = []
    for place in (torch.device("cpu"), device):
        classifier.to(place)
        moved = frames.to(place)
        with torch.no_grad():
            _, state = classifier.step(moved, classifier.initial_state(2))
            before = carried(state, classifier.initial_state(2), continues.to(place))
            found.append(classifier.step(moved, before)[0].cpu())
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(found[0][0], found[0][1])


@pytest.mark.parametrize("name", ["audio_ntt", "cvt"])
def test_a_step_of_a_pretraining_is_that_of_the_cpu(name: str, device: torch.device) -> None:
    size: dict[str, Any] = {"width": 16, "dropout": 0.0} if name == "audio_ntt" else {"widths": [8, 12, 16]}
    encoder = build_network({"model_type": name, **size})
    model, found = BYOL(encoder, projection_dim=8, hidden_dim=12).eval(), []
    audio = Padded(torch.randn(6, 96, 64), torch.tensor([96, 96, 50, 17, 96, 9])).zeroed()
    for place in (torch.device("cpu"), device):
        model, views, sent = model.to(place), Views(memory=8), audio.to(place)
        keys = utterance_keys(0, 0, torch.arange(6)).to(place)
        with torch.no_grad():
            for _ in range(3):
                pair = views(fill_ends(sent, 96, -3.0), keys)
            outputs_of = model(*standardize(torch.cat(pair)).chunk(2))
            embedded = model.encoder.embed(sent)
            model.move_target()
        spread = Spread()
        spread.add(outputs_of.projections)
        found.append([outputs_of.losses.cpu(), embedded.cpu(), torch.tensor(spread.take())])
    torch.testing.assert_close(found[1], found[0], atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize(("features", "silence"), OF_SILENCE)
def test_features_are_those_of_the_cpu(features: str, silence: str | None, device: torch.device) -> None:
    chosen = [f"silence={silence}"] if silence else []
    extractor = build(composed("train", [f"features={features}", *chosen])["features"], slot="features")
    waveforms = Padded(0.1 * torch.randn(3, 16_000, 1), torch.tensor([16_000, 9_000, 1_700])).zeroed()
    waveforms.values[0, 4_000:12_000] *= 1e-4  # a pause
    expected = extractor(waveforms)
    found = extractor.to(device)(waveforms.to(device)).to("cpu")
    assert found.lengths.tolist() == expected.lengths.tolist()
    torch.testing.assert_close(found.values, expected.values, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("model", ["cnn", "transformer"])
@pytest.mark.parametrize(
    "device",
    [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)],
    indirect=True,
)
def test_compiled_logits_and_gradients_are_those_of_eager_code(model: str, device: torch.device) -> None:
    classifier = make_classifier(f"model={model}", *NARROW[: 2 * (model == "cnn")]).to(device).eval()
    found = []
    for is_compiled in (False, True):
        if is_compiled:
            setup.compile_in_place(classifier)
        for count in (8, 5):
            torch.manual_seed(count)
            audio = make_batch(classifier.cpu(), 26, count).to(device)
            logits = classifier.to(device)(audio)
            classifier.zero_grad()
            logits.square().mean().backward()
            gradients = [weight.grad for weight in classifier.parameters() if weight.grad is not None]
            found.append([logits.detach(), *(gradient.clone() for gradient in gradients)])
    for eager, compiled in zip(found[:2], found[2:], strict=True):
        torch.testing.assert_close(compiled, eager, atol=1e-4, rtol=1e-2)


class Interrupt(L.Callback):
    """Ends a training as an error would, once it has taken so many steps."""

    def __init__(self, steps: int, checkpoint: Path) -> None:
        self.steps = steps
        self.checkpoint = checkpoint

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.steps:
            trainer.save_checkpoint(self.checkpoint)
            raise InterruptedError


def fit_on(device: torch.device, folder: Path, made: Pieces, ckpt: Path | None = None) -> Task:
    config, data, task = made
    trainer = trainer_of(config, folder, accelerator="gpu" if device.type == "cuda" else "cpu", devices=1)
    if device.type == other_device.NAME:
        other_device.use(trainer)
    trainer.fit(task, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return task


FRESH = "SER_TEST_FRESH"
"""Variable of a process whose tests have computed no gradients yet: afterwards, torch takes no new device for them."""


def needs_fresh_process(device: torch.device) -> None:
    if device.type == other_device.NAME and FRESH not in os.environ:
        pytest.skip("runs within test_trainings_run_elsewhere_in_a_fresh_process")


@pytest.mark.skipif(FRESH in os.environ, reason="is the fresh process")
def test_trainings_run_elsewhere_in_a_fresh_process() -> None:
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", __file__]
    chosen = ["-k", "other and (begun_on_the_cpu or several_tasks)"]
    ended = subprocess.run(
        [*command, *chosen], env=os.environ | {FRESH: "1"}, cwd=REPOSITORY, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    if other_device.IS_SUPPORTED:
        assert "2 passed" in ended.stdout


def test_a_training_begun_on_the_cpu_resumes_on_the_device(
    challenge: Path, tmp_path: Path, device: torch.device
) -> None:
    needs_fresh_process(device)

    def made() -> Pieces:
        on_cpu = ("trainer.accelerator=cpu", "trainer.max_epochs=3")
        return pieces(challenge, tmp_path, *NARROW, *STILL, *on_cpu)

    whole = fitted(tmp_path / "whole", made())
    with pytest.raises(InterruptedError):
        fitted(tmp_path / "begun", made(), Interrupt(3, tmp_path / "last.ckpt"))
    resumed = fit_on(device, tmp_path / "resumed", made(), tmp_path / "last.ckpt")
    for name, curve in whole.curves.items():
        if name != "train/speed_frames_per_second":
            assert resumed.curves[name] == pytest.approx(curve, rel=1e-2, abs=0.07), name
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name].cpu(), weight, atol=5e-3, rtol=5e-2)


def test_several_tasks_train_on_the_device(recordings: Path, tmp_path: Path, device: torch.device) -> None:
    needs_fresh_process(device)
    words = ("target=multi_task", "label_map=arousal_valence", "callbacks={}", *TINY, "trainer.max_epochs=1")
    curves = []
    for place in (torch.device("cpu"), device):
        made = pieces(recordings, tmp_path, *words, *STILL, data="ravdess")
        curves.append(fit_on(place, tmp_path / place.type, made).curves)
    on_cpu, found = curves
    for name in ("train/loss", "validation/loss"):
        assert found[name] == pytest.approx(on_cpu[name], rel=1e-2)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
@pytest.mark.parametrize("precision", TYPES)
def test_losses_and_gradients_are_those_of_the_cpu_in_float32(
    precision: str, challenge: Path, tmp_path: Path, device: torch.device
) -> None:
    _, data, task = pieces(challenge, tmp_path, *NARROW, *STILL)
    batch = data.datasets["train"][BatchIndices(0, [*range(16)])]

    def step(place: torch.device, kind: str) -> list[Tensor]:
        moved, sent = task.to(place), batch.to(place)
        moved.zero_grad()
        with in_precision(place, kind):
            losses = moved.objective(moved.model(moved.to_features(sent.audio)), sent)
        losses.mean().backward()
        return [losses.detach().cpu(), gradient_norm(moved).cpu()]

    expected = step(torch.device("cpu"), "32-true")
    found = step(device, precision)
    tolerance = 1e-3 if precision == "32-true" else 0.1
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def gradient_norm(task: Task) -> Tensor:
    return torch.stack([weight.grad.norm() for weight in task.parameters() if weight.grad is not None]).norm()
