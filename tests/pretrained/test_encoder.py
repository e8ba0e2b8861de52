"""Fine-tuned encoders of speech: tiny ones with random weights, and a real one where it lies beside the checkout."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ser
from ser.batch import Padded
from ser.checkpoints.checkpoint import rebuild
from ser.config.settings import Train
from ser.errors import CheckpointError, ConfigError, MissingPackageError
from ser.models import MeanPooling
from ser.pretrained import PretrainedEncoder
from ser.training.consistency import check_encoder_input
from ser.training.task import parameter_groups
from tests.conftest import alone
from tests.fits import composed, fit
from tests.pretrained.tiny import EXACT, FAMILIES, classifier, save, trained, waveforms

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("layer", ["last", "weighted", 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_does_not_change_an_encoder(family: str, layer: Any, folder: Callable[[str], str]) -> None:
    encoder = PretrainedEncoder(1, path=folder(family), layer=layer).eval()
    audio = waveforms(9000, 5003, 700, 1)
    with torch.no_grad():
        together = encoder(audio)
        for index, length in enumerate(together.lengths.tolist()):
            single = encoder(alone(audio, index))
            assert single.values.shape == (1, length, encoder.out_dim)
            torch.testing.assert_close(together.values[index, :length], single.values[0], **EXACT)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "whisper"])
def test_hidden_states_are_those_of_the_library(family: str, folder: Callable[[str], str]) -> None:
    path, samples = folder(family), torch.randn(8000) * 0.3 + 0.1
    extractor = transformers.AutoFeatureExtractor.from_pretrained(path)
    inputs = extractor(samples.numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    audio = Padded.collate([samples[:, None]])
    with torch.no_grad():
        states = transformers.AutoModel.from_pretrained(path).eval()(inputs, output_hidden_states=True)
        for layer in (0, 1, "last"):
            own = PretrainedEncoder(1, path=path, layer=layer).eval()(audio)
            theirs = states.last_hidden_state if layer == "last" else states.hidden_states[layer]
            torch.testing.assert_close(own.values, theirs, **EXACT)


def test_whisper_is_that_of_the_library(folder: Callable[[str], str]) -> None:
    path, samples = folder("whisper"), torch.randn(15_841) * 0.3  # fills its 1 s of positions
    extractor = transformers.AutoFeatureExtractor.from_pretrained(path)
    mels = extractor(samples.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        theirs = transformers.AutoModel.from_pretrained(path).eval().encoder(mels).last_hidden_state
        own = PretrainedEncoder(1, path=path).eval()(Padded.collate([samples[:, None]]))
    torch.testing.assert_close(own.values, theirs, **EXACT)


def test_log_mels_are_those_of_whisper(folder: Callable[[str], str]) -> None:
    network = PretrainedEncoder(1, path=folder("whisper")).network
    samples = torch.sin(torch.arange(12_345) / 5) * torch.linspace(0, 1, 12_345)
    theirs = transformers.WhisperFeatureExtractor(chunk_length=30)(
        samples.numpy(), sampling_rate=16_000, return_tensors="pt"
    ).input_features[0]
    own = network.log_mels(waveforms(16_000, 12_345).with_values(pad(samples, 16_000)))
    assert own.lengths.tolist() == [100, 78]
    torch.testing.assert_close(own.values[1, :78], theirs[:, :78].T, atol=1e-4, rtol=0)


def pad(samples: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(samples, (0, length - len(samples)))[None, :, None].repeat(2, 1, 1)


def test_whisper_encodes_longer_clips_in_pieces(folder: Callable[[str], str]) -> None:
    encoder = PretrainedEncoder(1, path=folder("whisper")).eval()
    samples = torch.randn(40_000, 1) * 0.1
    quiet = samples.clone()
    quiet[:12_000] *= 0.5  # the first of the pieces of 1 s
    with torch.no_grad():
        steps, other = (encoder(Padded.collate([each])).values for each in (samples, quiet))
    assert steps.shape[1] == 125
    assert (steps[0, :40] - other[0, :40]).abs().max() > 1e-3
    torch.testing.assert_close(steps[0, 60:], other[0, 60:], **EXACT)


@pytest.mark.parametrize("family", ["wav2vec2_group", "whisper"])
def test_freeze_trains_what_it_says(family: str, folder: Callable[[str], str]) -> None:
    path = folder(family)
    counts = [
        len(trained(PretrainedEncoder(1, path=path, freeze=freeze)))
        for freeze in ("none", "features", 2, 3, "all")
    ]
    assert counts[:3] == sorted({*counts[:3]}, reverse=True)
    assert counts[2] > counts[3] >= counts[4] == 0
    weighted = PretrainedEncoder(1, path=path, freeze="all", layer="weighted")
    assert trained(weighted) == {"layer_logits"}
    assert all(
        ".layers.2." in name or ".model.layer_norm" in name
        for name in trained(PretrainedEncoder(1, path=path, freeze=2))
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_trained_weight_gets_a_gradient(family: str, folder: Callable[[str], str]) -> None:
    encoder = PretrainedEncoder(1, path=folder(family), layer="weighted").train()
    MeanPooling(encoder.out_dim)(encoder(waveforms(4000, 3000))).square().sum().backward()
    assert {name for name, weight in encoder.named_parameters() if weight.requires_grad} == {
        name for name, weight in encoder.named_parameters() if weight.grad is not None
    }


def test_frozen_layers_have_no_dropout(folder: Callable[[str], str]) -> None:
    audio = waveforms(4000)
    frozen = PretrainedEncoder(1, path=folder("wav2vec2_layer"), freeze="all").train()
    torch.testing.assert_close(frozen(audio).values, frozen(audio).values)
    free = PretrainedEncoder(1, path=folder("wav2vec2_layer")).train()
    assert (free(audio).values - free(audio).values).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoint_needs_no_folder(family: str, tmp_path: Path) -> None:
    model, description = classifier(save(tmp_path / "model", family), layer=2)
    shutil.rmtree(tmp_path / "model")
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"ser": description, "state_dict": weights}, tmp_path / "best.ckpt")  # plain containers only
    content = torch.load(tmp_path / "best.ckpt", weights_only=True)
    again = rebuild(content, tmp_path / "best.ckpt").model
    audio = waveforms(4000, 2500)
    torch.testing.assert_close(again(audio), model.eval()(audio), **EXACT)


def test_encoder_learns_at_its_own_rate(folder: Callable[[str], str]) -> None:
    model, _ = classifier(folder("whisper"), lr_scale=0.1, layer="weighted")
    groups = parameter_groups(model, lr=1e-3)
    rates = {id(weight): group.get("lr", 1e-3) for group in groups for weight in group["params"]}
    assert rates[id(model.head.output.weight)] == rates[id(model.encoder.layer_logits)] == 1e-3
    assert rates[id(model.encoder.network.model.conv1.weight)] == pytest.approx(1e-4)
    assert len(rates) == sum(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("family", ["wav2vec2_layer", "whisper"])
def test_layer_decay_slows_lower_layers(family: str, folder: Callable[[str], str]) -> None:
    model, _ = classifier(folder(family), lr_scale=0.1, layer_decay=0.5, freeze="none")
    groups = parameter_groups(model, lr=1e-2)
    rates = {id(weight): group.get("lr", 1e-2) for group in groups for weight in group["params"]}
    network = model.encoder.network
    parts = [*network.layers[::-1], network.before_layers[0], network.convolutions[0]]
    for part, rate in zip(parts, [1e-3, 5e-4, 2.5e-4, 1.25e-4, 6.25e-5], strict=True):
        assert all(rates[id(weight)] == pytest.approx(rate) for weight in part.parameters())
    assert rates[id(model.head.output.weight)] == 1e-2
    assert len(rates) == sum(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer_decay": 0.0}, r"model.layer_decay=0.0: expected more than 0, up to 1. Write 0.8"),
        ({"layer": 4}, r"model.layer=4: this encoder has the hidden states 0 to 3\."),
        ({"freeze": 4}, r"model.freeze=4: 3 layers are in use\. Give 0 to 3"),
        (
            {"in_dim": 26},
            r"reads waveforms of one value per step, and gets 26 values\. Set features=raw_waveform",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    settings: dict[str, Any], message: str, folder: Callable[[str], str]
) -> None:
    with pytest.raises(ConfigError, match=message):
        PretrainedEncoder(**{"in_dim": 1, "path": folder("whisper"), **settings})


def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model.path=whisper: holds no config.json"):
        PretrainedEncoder(1, path="whisper")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"its config.json cannot be read"):
        PretrainedEncoder(1, path=str(tmp_path))


def test_model_of_text_is_refused(tmp_path: Path) -> None:
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    transformers.BertModel(transformers.BertConfig(vocab_size=9, **small)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"a bert is not an encoder of speech"):
        PretrainedEncoder(1, path=str(tmp_path))


def test_folder_without_some_files_is_refused(tmp_path: Path) -> None:
    path = Path(save(tmp_path, "whisper"))
    weights = path / "model.safetensors"
    weights.rename(path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"holds no model.safetensors.*convert"):
        PretrainedEncoder(1, path=str(path))
    (path / "pytorch_model.bin").rename(weights)
    (path / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"preprocessor_config.json cannot be read"):
        PretrainedEncoder(1, path=str(path))


@pytest.mark.parametrize("family", ["whisper", "wav2vec2_layer"])
def test_weights_that_do_not_fit_are_listed(family: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = Path(save(tmp_path, family)) / "model.safetensors"
    tensors = load_file(file)
    weight = next(
        name for name in tensors if name.endswith(("1.fc1.weight", "1.feed_forward.output_dense.weight"))
    )
    prefix = "" if family == "whisper" else "encoder."
    own = f"{prefix}layers.{weight.partition('layers.')[2].removesuffix('weight')}"
    tensors[weight] = tensors[weight][:5].contiguous()
    tensors[weight.replace("layers.1", "layers.7")] = torch.ones(2)
    del tensors[weight.replace("weight", "bias")]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError) as caught:
        PretrainedEncoder(1, path=str(tmp_path))
    message = str(caught.value)
    assert f"config.json: {own}bias is missing; {own}weight is [5, " in message
    assert f"; {own.replace('1', '7', 1)}weight is not part of it. Save or copy" in message


def test_parts_beside_the_encoder_are_named(
    folder: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        PretrainedEncoder(1, path=folder("whisper"), layer=1)
    assert re.search(r"left out the tensors of other parts: decoder \(\d+\)$", caplog.text.strip())


def test_missing_package_is_named(
    folder: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, description = classifier(folder("whisper"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        MissingPackageError, match=r"transformers is not installed.*pip install .*transformers>="
    ):
        PretrainedEncoder(1, path=folder("whisper"))
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    with pytest.raises(MissingPackageError, match=r"best.ckpt: model=pretrained: the package transformers"):
        rebuild({"ser": description, "state_dict": weights}, tmp_path / "best.ckpt")


def test_architecture_is_plain_containers(folder: Callable[[str], str]) -> None:
    architecture = PretrainedEncoder(1, path=folder("hubert_group")).architecture
    assert json.loads(json.dumps(architecture)) == architecture
    assert architecture["extractor"]["sampling_rate"] == 16_000
    assert PretrainedEncoder.waveform_rate({"path": folder("hubert_group")}) == 16_000


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        ("features=log_mel", "features=raw_waveform"),
        ("features=waveform", "features.normalize=none"),
        ("features.sample_rate=8000", "features.sample_rate=16000"),
        ("features.normalize=peak", "features.normalize=none"),
        ("frontend.normalize=global", "frontend.normalize=none"),
        ("frontend.delta_scale=3", "frontend.delta_scale=0"),
    ],
)
def test_features_are_waveforms_as_recorded(
    changed: str, remedy: str, folder: Callable[[str], str], tmp_path: Path
) -> None:
    words = ("data=folder", f"data.root={tmp_path}", "experiment=finetune", f"model.path={folder('whisper')}")
    check_encoder_input(Train.of(composed(*words)))
    with pytest.raises(ConfigError, match=rf"unchanged waveforms of 16000 Hz\. Set {remedy}\."):
        check_encoder_input(Train.of(composed(*words, changed)))


def test_fine_tuned_run_predicts_without_the_folder(recordings: Path, tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    path = save(tmp_path / "model", "whisper")
    words = (
        "model=pretrained",
        f"model.path={path}",
        "model.layer=weighted",
        "model.freeze=1",
        "pooling=mean",
    )
    before = PretrainedEncoder(1, path=path).state_dict()
    fitted = fit(recordings, tmp_path / "run", *words, data="ravdess")
    shutil.rmtree(path)
    after = fitted.task.model.encoder.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(".layers.1." in name for name in moved)
    assert not any(".layers.0." in name or ".conv" in name for name in moved)
    file = next(recordings.rglob("*.wav"))
    found = ser.load(fitted.run.best).predict(file)
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.shared
def test_real_whisper_is_that_of_the_library(shared: Path) -> None:
    path = shared / "weights" / "whisper-tiny.en-encoder"
    if not path.is_dir():
        pytest.skip("no whisper-tiny.en-encoder in shared/weights")
    encoder = PretrainedEncoder(1, path=str(path)).eval()
    samples = torch.randn(479_841) * 0.05  # fills its 30 s of positions
    extractor = transformers.AutoFeatureExtractor.from_pretrained(path)
    mels = extractor(samples.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        theirs = encoder.network.model(mels).last_hidden_state
        own = encoder(Padded.collate([samples[:, None]])).values
    torch.testing.assert_close(own, theirs, atol=5e-3, rtol=0)  # of values up to 13
