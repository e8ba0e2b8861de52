import torch

from ser.randomness import seed_dropout, uniform, utterance_keys


def test_numbers_are_uniform() -> None:
    numbers = uniform(utterance_keys(0, 0, torch.arange(20_000)), "x", 2)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    histogram = torch.histc(numbers, 20, 0, 1) / numbers.numel()
    assert (histogram - 0.05).abs().max() < 0.005
    assert torch.corrcoef(numbers.T)[0, 1].abs() < 0.03


def test_numbers_depend_on_the_utterance_and_not_on_its_place_in_the_batch() -> None:
    forwards = uniform(utterance_keys(1, 2, torch.arange(10)), "x")
    backwards = uniform(utterance_keys(1, 2, torch.arange(9, -1, -1)), "x")
    assert torch.equal(forwards.flip(0), backwards)


def test_seed_epoch_and_salt_each_change_the_numbers() -> None:
    indices = torch.arange(1000)
    base = uniform(utterance_keys(0, 0, indices), "x")
    for other in (
        uniform(utterance_keys(1, 0, indices), "x"),
        uniform(utterance_keys(0, 1, indices), "x"),
        uniform(utterance_keys(0, 0, indices), "y"),
    ):
        assert torch.corrcoef(torch.cat([base, other], 1).T)[0, 1].abs() < 0.1


def test_dropout_depends_on_seed_step_and_rank_and_on_nothing_else() -> None:
    def drawn(seed: int, step: int, rank: int) -> list[float]:
        torch.rand(3)
        seed_dropout(seed, step, rank, torch.device("cpu"))
        return torch.rand(4).tolist()

    assert drawn(0, 1, 2) == drawn(0, 1, 2)
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 1, 0)]
    assert len({tuple(drawn(*place)) for place in places}) == len(places)
