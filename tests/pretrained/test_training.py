"""What happens to an encoder over the steps of a training."""

from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor

from ser.batch import Padded
from ser.config.settings import Train
from ser.errors import ConfigError
from ser.models import MeanPooling
from ser.pretrained import PretrainedEncoder
from ser.training.consistency import check_training
from tests.fits import composed
from tests.pretrained.tiny import trained, waveforms
from tests.training.test_plot_callbacks import differing, fitted, pieces

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:.*in eval mode at the start"),
]


class Watch(L.Callback):
    """Copies a weight of the encoder after each step, and saves the training after one of them."""

    def __init__(self, save_at: int, file: Path) -> None:
        self.save_at, self.file = save_at, file
        self.weights: list[Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        encoder = pl_module.model.encoder  # type: ignore[union-attr]
        self.weights.append(encoder.network.layers[1].fc1.weight.detach().clone())
        if trainer.global_step == self.save_at:
            trainer.save_checkpoint(self.file)


def test_encoder_waits_and_a_resumed_run_ends_the_same(
    recordings: Path, tmp_path: Path, folder: Callable[[str], str]
) -> None:
    pytest.importorskip("soundfile")
    words = ("model=pretrained", f"model.path={folder('whisper')}", "pooling=mean")
    drawing = ("model.unfreeze_epoch=1", "model.mask_time_prob=0.3", "model.lora_rank=2", "model.freeze=none")
    small = ("trainer.accelerator=cpu", "trainer.max_epochs=2", "batching.max_utterances=8", "augment=none")

    def made() -> tuple:
        return pieces(recordings, tmp_path, *words, *drawing, *small, data="ravdess")

    watch = Watch(2, tmp_path / "last.ckpt")
    whole = fitted(tmp_path / "whole", made(), watch)
    steps = len(watch.weights) // 2
    assert steps > 2  # so that the run is saved within its first epoch
    assert all(torch.equal(weight, watch.weights[0]) for weight in watch.weights[:steps])
    assert not torch.equal(watch.weights[-1], watch.weights[0])
    resumed = fitted(tmp_path / "resumed", made(), ckpt=tmp_path / "last.ckpt")
    assert differing(whole, resumed) == []


def test_waiting_encoder_is_as_frozen_as_it_will_be_free(folder: Callable[[str], str]) -> None:
    encoder = PretrainedEncoder(
        1, path=folder("wav2vec2_layer"), layer="weighted", freeze=1, unfreeze_epoch=2
    ).train()
    free = trained(encoder)
    encoder.begin_epoch(1)
    assert trained(encoder) == {"layer_logits"}
    assert not any(part.training for part in encoder.network.modules())
    encoder.train()
    assert not any(part.training for part in encoder.network.modules())
    encoder.begin_epoch(2)
    assert trained(encoder) == free
    assert encoder.network.layers[1].training
    assert not encoder.network.layers[0].training
    MeanPooling(encoder.out_dim)(encoder(waveforms(4000, 3000))).square().sum().backward()
    assert {name for name, weight in encoder.named_parameters() if weight.grad is not None} == free


def gradients(encoder: PretrainedEncoder, audio: Padded) -> tuple[dict[str, Tensor], int]:
    """Gradients of a training step, and the number of bytes that are kept for them."""
    kept = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.nbytes)
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = MeanPooling(encoder.out_dim)(encoder(audio)).square().sum()
    loss.backward()
    found = {name: weight.grad for name, weight in encoder.named_parameters() if weight.grad is not None}
    return found, sum(kept)


@pytest.mark.parametrize("options", [{}, {"lora_rank": 2}, {"freeze": 1, "layer": "weighted"}])
@pytest.mark.parametrize("family", ["wav2vec2_layer", "wavlm_group", "whisper"])
def test_checkpointed_gradients_are_those_of_all_that_is_kept(
    family: str, options: dict[str, object], folder: Callable[[str], str]
) -> None:
    torch.manual_seed(0)
    encoder = PretrainedEncoder(1, path=folder(family), checkpoint_gradients=True, **options).train()
    plain = PretrainedEncoder(1, path=folder(family), **options).train()
    plain.load_state_dict(encoder.state_dict())
    audio = waveforms(4000, 3000)
    (found, less), (expected, more) = (gradients(each, audio) for each in (encoder, plain))
    assert found.keys() == expected.keys() == trained(encoder)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)
    assert less < 0.7 * more


def test_unfreezing_in_several_processes_needs_its_strategy(tmp_path: Path) -> None:
    words = ("data=folder", f"data.root={tmp_path}", "model=pretrained", "model.path=x", "trainer=ddp")
    waiting = ("model.unfreeze_epoch=1",)
    check_training(Train.of(composed(*words)))
    check_training(Train.of(composed(*words, *waiting, "trainer.strategy=ddp_find_unused_parameters_true")))
    with pytest.raises(ConfigError, match=r"^model.unfreeze_epoch=1: .*find_unused_parameters_true"):
        check_training(Train.of(composed(*words, *waiting)))
