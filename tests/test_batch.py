import torch

from ser.batch import Batch, Padded


def test_mask_is_true_on_real_steps_only() -> None:
    padded = Padded(torch.ones(2, 3, 1), torch.tensor([3, 1]))
    assert padded.mask.tolist() == [[True, True, True], [True, False, False]]


def test_zeroed_clears_padding_and_nothing_else() -> None:
    padded = Padded(torch.ones(2, 3, 1), torch.tensor([3, 1])).zeroed()
    assert padded.values.squeeze(-1).tolist() == [[1, 1, 1], [1, 0, 0]]


def test_collate_keeps_every_value() -> None:
    sequences = [torch.randn(n, 2) for n in (3, 5, 1)]
    padded = Padded.collate(sequences)
    assert padded.values.shape == (3, 5, 2)
    for row, length, sequence in zip(padded.values, padded.lengths, sequences, strict=True):
        assert torch.equal(row[:length], sequence)
        assert not row[length:].any()


def test_moving_a_batch_moves_every_tensor_and_keeps_the_ids() -> None:
    audio = Padded(torch.zeros(2, 3, 1), torch.tensor([3, 1]))
    batch = Batch(["7", 8], audio, torch.tensor([0, 1]), torch.tensor([5, 6]))
    moved = batch.to("meta")
    assert moved.ids == ["7", 8]
    assert len(moved) == 2
    devices = {
        moved.audio.values.device.type,
        moved.audio.lengths.device.type,
        moved.targets.device.type,
        moved.keys.device.type,
    }
    assert devices == {"meta"}
