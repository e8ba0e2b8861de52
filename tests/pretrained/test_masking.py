"""Masks over time: how many steps, which, and by what they are replaced."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ser.batch import Padded
from ser.errors import ConfigError
from ser.pretrained import PretrainedEncoder
from ser.pretrained.masking import TimeMask
from tests.pretrained.tiny import save, waveforms


@pytest.mark.parametrize(("share", "length"), [(0.1, 10), (0.5, 3), (0.3, 1)])
def test_masks_cover_their_share_in_spans(share: float, length: int) -> None:
    lengths = torch.full((2000,), 60)
    masked = TimeMask(share, length).draw(lengths, 60)
    assert float(masked.float().mean()) == pytest.approx(share, abs=0.015)
    assert float(masked[:, 0].float().mean()) == pytest.approx(share, abs=0.04)
    inner = masked[:, 1:-1] & ~masked[:, :-2]  # steps where a span begins, within the sequence
    rows, starts = inner.nonzero(as_tuple=True)
    for row, start in zip(rows.tolist()[:200], starts.tolist()[:200], strict=True):
        assert masked[row, start + 1 : start + 1 + length].all()


def test_masks_leave_padding_and_one_step() -> None:
    lengths = torch.tensor([7, 1, 30])
    masked = TimeMask(1.0, 4).draw(lengths, 30)
    assert masked.sum(1).tolist() == [6, 0, 29]
    assert not masked[0, 7:].any()
    assert not TimeMask(1e-9, 4).draw(lengths, 30).any()


def test_masks_repeat_with_the_seed() -> None:
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return TimeMask(0.3, 5).draw(torch.tensor([50, 40]), 50)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_masked_steps_are_zero_or_the_vector() -> None:
    steps, vector = Padded(torch.ones(1, 20, 3), torch.tensor([20])), torch.tensor([5.0, 6.0, 7.0])
    for other in (None, vector):
        values = TimeMask(1.0, 2)(steps, other).values[0]
        expected = torch.zeros(3) if other is None else vector
        same = (values == expected).all(1)
        assert same.sum() == 19
        assert torch.equal(values[~same], torch.ones(1, 3))


@pytest.mark.parametrize("family", ["wav2vec2_layer", "wavlm_layer", "data2vec", "whisper"])
def test_encoder_masks_in_training_only(family: str, folder: Callable[[str], str]) -> None:
    plain = PretrainedEncoder(1, path=folder(family), freeze="all", layer=0)
    masking = PretrainedEncoder(1, path=folder(family), freeze="all", layer=0, mask_time_prob=0.5)
    audio = waveforms(8000, 5000)
    torch.testing.assert_close(masking.eval()(audio).values, plain.eval()(audio).values)
    assert (masking.train()(audio).values - plain.train()(audio).values).abs().max() > 1e-2
    assert hasattr(masking.network.model, "masked_spec_embed") == (family != "whisper")
    assert not hasattr(plain.network.model, "masked_spec_embed")


def test_whisper_keeps_the_positions_of_masked_steps(folder: Callable[[str], str]) -> None:
    encoder = PretrainedEncoder(1, path=folder("whisper"), layer=0, mask_time_prob=1.0).train()
    values = encoder(waveforms(8000)).values[0]
    positions = encoder.network.model.embed_positions.weight[: len(values)]
    assert (values == positions).all(1).sum() == len(values) - 1


def test_mask_vector_that_a_folder_lacks_is_zero(tmp_path: Path) -> None:
    file = Path(save(tmp_path, "wav2vec2_group")) / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(file).items() if name != "masked_spec_embed"}
    assert len(kept) == len(load_file(file)) - 1
    save_file(kept, file, metadata={"format": "pt"})
    encoder = PretrainedEncoder(1, path=str(tmp_path), mask_time_prob=0.5)
    assert encoder.network.model.masked_spec_embed.tolist() == [0.0] * 16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_time_prob": 1.5}, r"^model.mask_time_prob=1.5: expected a share, 0 to 1\. Write 0\.1,"),
        (
            {"mask_time_prob": 0.5, "mask_time_length": 0},
            r"^model.mask_time_length=0: expected 1 step or more",
        ),
    ],
)
def test_masks_out_of_range_are_refused(
    settings: dict[str, float], message: str, folder: Callable[[str], str]
) -> None:
    with pytest.raises(ConfigError, match=message):
        PretrainedEncoder.waveform_rate({"path": folder("whisper"), **settings})
