"""Plans hold every utterance once, pad little and mix mates; the loader resumes them exactly."""

import logging
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import Dataset

from ser.batching import bucketing, samplers
from ser.batching.bucketing import padding_ratio, plan_batches, plan_evaluation
from ser.batching.samplers import BatchIndices, BucketLoader, BucketSampler, EvaluationSampler
from ser.errors import CheckpointError, ConfigError

some_lengths = st.lists(st.integers(1, 400), min_size=4, max_size=80)
some_limits = st.fixed_dictionaries(
    {"max_frames": st.integers(1, 3000), "max_utterances": st.integers(2, 20)}
)
some_pool = st.integers(1, 100)
some_ranks = st.integers(1, 4)


def speech_lengths(count: int = 7800) -> np.ndarray:
    """Frames of utterances, spread like the challenge's training file: log-normal, mean 223, deviation 153."""
    variance = np.log1p((153 / 223) ** 2)
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(np.log(223) - variance / 2, np.sqrt(variance), count)
    return np.clip(lengths, 30, 1707).astype(np.int64)


def mates_that_meet_again(plan: list[list[int]], later: list[list[int]]) -> float:
    """The chance that two utterances of one batch of `plan` share a batch of `later`, too."""
    batch_of = {index: number for number, batch in enumerate(later) for index in batch}
    again = pairs = 0
    for batch in plan:
        counts = np.unique([batch_of[index] for index in batch], return_counts=True)[1]
        again += int((counts * (counts - 1)).sum())
        pairs += len(batch) * (len(batch) - 1)
    return again / pairs


def assert_complete_and_within(plan: list[list[int]], lengths: list[int], limits: dict[str, int]) -> None:
    assert sorted(index for batch in plan for index in batch) == list(range(len(lengths)))
    for batch in plan:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or longest * len(batch) <= limits["max_frames"]
        assert 1 <= len(batch) <= limits["max_utterances"]


def assert_steps_of_like_length(plan: list[list[int]], lengths: list[int], ranks: int) -> None:
    """Sorted by length, no step reaches into another."""
    longest = [max(lengths[index] for index in batch) for batch in plan]
    steps = sorted(sorted(longest[start : start + ranks]) for start in range(0, len(plan), ranks))
    in_order = [length for step in steps for length in step]
    assert in_order == sorted(in_order)


@st.composite
def dealable(draw: Any) -> tuple[list[int], dict[str, int], int]:
    """Lengths, limits and ranks that can have equally many batches: nearly all in twos, at the least."""
    lengths, limits, ranks = draw(some_lengths), draw(some_limits), draw(some_ranks)
    if ranks > 1:
        limits["max_frames"] = max(limits["max_frames"], 2 * max(lengths))
    return lengths, limits, ranks


@given(dealable(), some_pool, st.integers(0, 3), st.integers(0, 5))
def test_plan_holds_every_utterance_once_within_the_budget(case, pool, seed, epoch):
    lengths, limits, ranks = case
    plan = plan_batches(lengths, **limits, pool=pool, seed=seed, epoch=epoch, ranks=ranks)
    assert_complete_and_within(plan, lengths, limits)
    assert len(plan) % ranks == 0
    assert_steps_of_like_length(plan, lengths, ranks)


@given(dealable())
def test_evaluation_holds_every_utterance_once_and_begins_with_the_longest(case):
    lengths, limits, ranks = case
    plan = plan_evaluation(lengths, **limits, ranks=ranks)
    assert_complete_and_within(plan, lengths, limits)
    assert len(plan) % ranks == 0
    longest = [max(lengths[index] for index in batch) for batch in plan]
    assert longest == sorted(longest, reverse=True)


@given(dealable(), some_pool)
def test_every_epoch_has_as_many_batches_as_the_first(case, pool):
    lengths, limits, ranks = case
    plans = (
        plan_batches(lengths, **limits, pool=pool, seed=0, epoch=epoch, ranks=ranks) for epoch in range(20)
    )
    assert len({len(plan) for plan in plans}) == 1


@given(dealable(), some_pool)
def test_ranks_share_an_epoch_without_overlap(case, pool):
    lengths, limits, ranks = case
    samplers = [
        BucketSampler(lengths, **limits, pool=pool, seed=0, rank=rank, ranks=ranks) for rank in range(ranks)
    ]
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {len(samplers[0])}
    drawn = [index for share in shares for draw in share for index in draw.indices]
    assert sorted(drawn) == list(range(len(lengths)))


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_wait_little_for_each_other(ranks):
    lengths = speech_lengths()
    plan = plan_batches(lengths, max_frames=8000, max_utterances=500, pool=2000, seed=0, epoch=0, ranks=ranks)
    longest = np.array([lengths[batch].max() for batch in plan]).reshape(-1, ranks)
    assert (longest.max(1) / longest.min(1)).mean() < 1.05


@pytest.mark.parametrize(("max_frames", "most"), [(8_000, 1.03), (14_700, 1.055)])
def test_speech_is_padded_little_although_mates_change(max_frames, most):
    lengths = speech_lengths()
    settings = {"max_frames": max_frames, "max_utterances": 500, "pool": 2000, "seed": 0}
    plans = [plan_batches(lengths, **settings, epoch=epoch) for epoch in range(5)]
    for plan, later in pairwise(plans):
        assert 1 <= padding_ratio(lengths, plan) <= most
        assert mates_that_meet_again(plan, later) <= 0.20


def test_mates_change_even_where_the_pool_is_larger_than_the_corpus():
    lengths = speech_lengths(200)
    settings = {"max_frames": 4000, "max_utterances": 32, "pool": 10_000, "seed": 0}
    plans = [plan_batches(lengths, **settings, epoch=epoch) for epoch in range(2)]
    assert mates_that_meet_again(*plans) < 0.7


def test_plan_follows_from_seed_and_epoch_alone():
    lengths = speech_lengths(300)
    settings = {"max_frames": 4000, "max_utterances": 32, "pool": 100}
    plan = plan_batches(lengths, **settings, seed=1, epoch=2)
    assert plan == plan_batches(lengths, **settings, seed=1, epoch=2)
    for seed, epoch in [(1, 3), (2, 2)]:
        other = plan_batches(lengths, **settings, seed=seed, epoch=epoch)
        assert set(map(frozenset, plan)) != set(map(frozenset, other))


def test_no_batch_is_a_leftover():
    plan = plan_evaluation([10] * 65, max_frames=1000, max_utterances=32)
    assert [len(batch) for batch in plan] == [32, 17, 16]


def test_too_few_batches_for_the_ranks_are_halved_not_repeated():
    plan = plan_evaluation([10] * 7, max_frames=1000, max_utterances=32, ranks=4)
    assert sorted(len(batch) for batch in plan) == [1, 2, 2, 2]


def test_padding_ratio_is_padded_by_real_steps():
    assert padding_ratio([4, 2, 3], [[0, 1], [2]]) == (4 + 4 + 3) / (4 + 2 + 3)


@pytest.mark.parametrize("name", ["max_frames", "max_utterances", "pool"])
def test_a_limit_below_one_is_refused_by_name(name):
    settings = {"max_frames": 100, "max_utterances": 4, "pool": 10, "seed": 0, name: 0}
    with pytest.raises(ConfigError, match=rf"batching\.{name}=0: expected 1 or more"):
        BucketSampler([10, 20], **settings)


def test_fewer_utterances_than_ranks_are_refused():
    with pytest.raises(ConfigError, match=r"trainer\.devices=4: 3 utterances.*Use fewer devices"):
        EvaluationSampler([10, 20, 30], max_frames=100, max_utterances=4, ranks=4)


def test_no_utterances_are_refused():
    with pytest.raises(ConfigError, match="0 utterances"):
        BucketSampler([], max_frames=100, max_utterances=4, pool=10, seed=0)


def test_batches_of_one_that_ranks_cannot_share_are_refused():
    with pytest.raises(ConfigError, match=r"5 utterances in batches of 1 .*larger batches"):
        plan_batches([10] * 5, max_frames=100, max_utterances=1, pool=5, seed=0, epoch=0, ranks=2)


def test_utterances_over_the_budget_are_alone_and_said_once(caplog):
    with caplog.at_level(logging.WARNING):
        sampler = BucketSampler([50, 120, 30, 300], max_frames=100, max_utterances=8, pool=4, seed=0)
        for epoch in range(3):
            sampler.set_epoch(epoch)
            alone = {draw.indices[0] for draw in sampler if len(draw.indices) == 1}
            assert {1, 3} <= alone
    assert [record.getMessage() for record in caplog.records] == [
        "max_frames=100: 2 of 4 utterances are longer (up to 300 frames), and each forms a batch of its own. "
        "If memory runs short, cut them, in training with batching.crop_frames, in prediction of recordings with "
        "window_s."
    ]


def test_only_the_first_rank_speaks_of_long_utterances(caplog):
    BucketSampler([50, 120], max_frames=100, max_utterances=8, pool=4, seed=0, rank=1, ranks=2)
    assert not caplog.records


# The loader ----------------------------------------------------------------------------------------------------

LENGTHS = np.random.default_rng(0).integers(5, 60, 40)
SETTINGS = {"max_frames": 300, "max_utterances": 8, "pool": 20, "seed": 0}


class Echo(Dataset[Tensor]):
    """Answers a draw with its epoch and indices."""

    def __getitem__(self, draw: BatchIndices) -> Tensor:
        return torch.tensor([draw.epoch, *draw.indices])


def make_loader(num_workers: int = 0, **changes: Any) -> BucketLoader:
    settings = {"lengths": LENGTHS, **SETTINGS, **changes}
    return BucketLoader(Echo(), BucketSampler(**settings), num_workers=num_workers)


def as_tuples(batches: Any) -> list[tuple[int, ...]]:
    return [tuple(batch.tolist()) for batch in batches]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_epoch_travels_with_each_draw(num_workers):
    loader = make_loader(num_workers)
    for epoch in (0, 3):
        loader.sampler.set_epoch(epoch)
        batches = as_tuples(loader)
        assert len(batches) == len(loader)
        assert {batch[0] for batch in batches} == {epoch}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_state_counts_what_was_handed_out_and_the_rest_follows(num_workers):
    loader = make_loader(num_workers)
    loader.sampler.set_epoch(4)
    whole = as_tuples(loader)
    batches = iter(loader)
    had = as_tuples(next(batches) for _ in range(3))
    state = loader.state_dict()
    assert (state["epoch"], state["batches"]) == (4, 3)

    resumed = make_loader(num_workers)
    resumed.load_state_dict(state)
    iterator = iter(resumed)  # before the epoch is set, as Lightning does
    resumed.sampler.set_epoch(4)
    assert resumed.state_dict() == state
    assert had + as_tuples(iterator) == whole
    assert len(resumed) == len(whole)
    assert as_tuples(resumed) == whole


def test_state_of_a_finished_epoch_leaves_the_next_whole():
    loader = make_loader()
    list(loader)
    resumed = make_loader()
    resumed.load_state_dict(loader.state_dict())
    resumed.sampler.set_epoch(1)
    assert len(as_tuples(resumed)) == len(loader)


def test_state_survives_a_file_that_may_hold_only_plain_data(tmp_path):
    state = make_loader().state_dict()
    torch.save(state, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == state


def test_a_pass_leaves_torchs_random_numbers_alone():
    before = torch.get_rng_state()
    list(make_loader())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"max_frames": 200}, "max_frames was 300, is 200"),
        ({"max_utterances": 4}, "max_utterances was 8, is 4"),
        ({"pool": 10}, "pool was 20, is 10"),
        ({"seed": 7}, "seed was 0, is 7"),
        ({"ranks": 2}, "ranks was 1, is 2"),
        ({"lengths": LENGTHS[:-1]}, "utterances was 40, is 39"),
        ({"lengths": LENGTHS[::-1]}, "the lengths of the utterances"),
    ],
)
def test_a_checkpoint_of_other_batches_is_refused(changes, difference):
    with pytest.raises(
        CheckpointError, match=f"not those of this run: {difference}.*Resume with the same data"
    ):
        make_loader(**changes).load_state_dict(make_loader().state_dict())


# Under Lightning -----------------------------------------------------------------------------------------------


quiet_lightning = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:The dirpath has changed",
    "ignore:.*LeafSpec.* is deprecated:FutureWarning",  # Lightning 2.6 beside torch 2.13
)


class Data(L.LightningDataModule):
    """Keeps the loader's state itself.

    Lightning loads the state of a loader only where no one has asked for the number of steps before, which a
    schedule does.
    """

    def __init__(self, num_workers: int) -> None:
        super().__init__()
        self.loader = make_loader(num_workers)

    def train_dataloader(self) -> BucketLoader:
        return self.loader

    def val_dataloader(self) -> BucketLoader:
        return BucketLoader(Echo(), EvaluationSampler(LENGTHS, max_frames=300, max_utterances=8))

    def state_dict(self) -> dict[str, Any]:
        return self.loader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.loader.load_state_dict(state)


class Witness(L.LightningModule):
    """One weight, and a record of the batches it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, ...]] = []
        self.validated: list[int] = []

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        self.seen.append(tuple(batch.tolist()))
        return (self.weight - batch.float().mean()).square()

    def validation_step(self, batch: Tensor, _: int) -> None:
        self.log("loss", self.weight.square(), batch_size=1)

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.validated.append(self.current_epoch)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=1e-3)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def run(folder: Path, num_workers: int, *, resume: Path | None = None) -> Witness:
    """Train for three epochs of eight batches, with a checkpoint after every batch and every epoch."""
    naming = {"dirpath": folder, "save_top_k": -1, "auto_insert_metric_name": False}
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=[
            ModelCheckpoint(filename="batch-{step}", every_n_train_steps=1, **naming),
            ModelCheckpoint(filename="epoch-{step}", save_on_train_epoch_end=True, **naming),
            ModelCheckpoint(
                filename="validated-{step}", monitor="loss", save_on_train_epoch_end=False, **naming
            ),
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    witness = Witness()
    trainer.fit(witness, datamodule=Data(num_workers), ckpt_path=resume, weights_only=True)
    return witness


@quiet_lightning
@pytest.mark.parametrize(
    ("num_workers", "names"),
    [
        (0, ["batch-3", "batch-8", "epoch-8", "validated-8", "batch-13", "epoch-16", "validated-24"]),
        (2, ["batch-3", "epoch-8", "batch-13"]),
    ],
)
def test_resumed_training_sees_what_was_left(tmp_path, num_workers, names):
    whole = run(tmp_path / "whole", num_workers)
    assert len(whole.seen) == 24
    for name in names:
        resumed = run(tmp_path / name, num_workers, resume=tmp_path / "whole" / f"{name}.ckpt")
        step = int(name.split("-")[1])
        assert resumed.seen == whole.seen[step:], name
        assert torch.equal(resumed.weight, whole.weight), name


@quiet_lightning
def test_lightning_never_validates_an_epoch_resumed_after_its_last_batch(tmp_path):
    """Why `last.ckpt` is not to be written there; should this fail, Lightning has mended it."""
    run(tmp_path, 0)
    assert run(tmp_path / "a", 0, resume=tmp_path / "batch-7.ckpt").validated == [0, 1, 2]
    assert run(tmp_path / "b", 0, resume=tmp_path / "batch-8.ckpt").validated == [1, 2]
    assert run(tmp_path / "c", 0, resume=tmp_path / "epoch-8.ckpt").validated == [1, 2]


def naive_batches(lengths: np.ndarray, indices: np.ndarray, most: int, rows: int) -> list[list[int]]:
    """Batches of utterances sorted by length, one after the other."""
    left = sorted(indices.tolist(), key=lambda index: -lengths[index])
    batches = []
    while left:
        count = max(min(most // lengths[left[0]], rows), 1)
        if count < len(left) < 2 * count:
            count = -(-len(left) // 2)
        batches.append(left[:count])
        left = left[count:]
    return batches


@given(some_lengths, some_limits, st.integers(1, 9), st.integers(0, 3))
def test_pools_are_filled_as_one_by_one(lengths, limits, pools, seed):
    given_lengths, drawn = np.array(lengths), np.arange(len(lengths))
    pools = min(pools, len(lengths))
    order = np.random.default_rng(seed).permutation(drawn)
    expected = [
        batch
        for pool in np.array_split(order, pools)
        for batch in naive_batches(given_lengths, pool, limits["max_frames"], limits["max_utterances"])
    ]
    rng = np.random.default_rng(seed)
    assert bucketing._fill_pools(given_lengths, drawn, pools, rng, bucketing.Budget(**limits)) == expected


@given(st.lists(st.lists(st.integers(), min_size=2, max_size=9), min_size=1, max_size=9), st.integers(0, 5))
def test_the_first_of_the_largest_batches_is_split(batches, more):
    total = len(batches) + more
    if sum(len(batch) // 2 for batch in batches) < more:
        return
    expected = [*batches]
    while len(expected) < total:
        batch = expected.pop(max(range(len(expected)), key=lambda place: len(expected[place])))
        expected += [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
    assert bucketing._split_largest(batches, total) == expected


def test_batches_are_counted_once_for_all_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = BucketSampler(speech_lengths(500), max_frames=8000, max_utterances=32, pool=100, seed=0)
    monkeypatch.setattr(samplers, "count_batches", None)
    for epoch in range(8):
        sampler.set_epoch(epoch)
        assert len(sampler.plan) == len(sampler)


def test_an_epoch_that_needs_more_batches_fills_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, calls = speech_lengths(4000), []
    settings = {"max_frames": 16000, "max_utterances": 32, "pool": 64, "seed": 0}
    count = bucketing.count_batches(lengths, **settings) - 20
    fill = bucketing._fill_pools
    monkeypatch.setattr(bucketing, "_fill_pools", lambda *given: calls.append(given[2]) or fill(*given))
    plan = plan_batches(lengths, **settings, epoch=9, count=count)
    assert_complete_and_within(plan, lengths.tolist(), {"max_frames": 16000, "max_utterances": 32})
    assert (len(plan), calls[0]) == (count, 63)
    assert 2 <= len(calls) <= 6
