"""Pooled vectors that are normalised by speaker or corpus."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from ser.batch import Padded
from ser.batching.dataset import UtteranceDataset
from ser.checkpoints.checkpoint import Trained
from ser.data.store import Store
from ser.errors import ConfigError
from ser.features.on_the_fly import OnTheFlyFeatures
from ser.inference.head_statistics import fit_head
from ser.inference.predict import class_scores
from ser.models import CNNEncoder, Frontend, MeanPooling
from ser.models.classifier import Classifier, GroupZScores, Head
from ser.targets import Classes

GROUPS = torch.tensor([0, 1, 1, 0, 1, 0, 1, 1])


def vectors() -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randn(8, 3, generator=random) * 4 + 100 + GROUPS[:, None] * 50


def test_each_group_has_mean_zero_and_deviation_one_after_a_fit() -> None:
    norm = GroupZScores(3).eval()
    norm.fit(vectors(), GROUPS)
    found = norm(vectors(), GROUPS).numpy()
    for group in (0, 1):
        own = vectors()[group == GROUPS].numpy().astype(np.float64)
        expected = (own - own.mean(0)) / own.std(0)
        np.testing.assert_allclose(found[group == GROUPS], expected, atol=1e-3)


def test_an_answer_does_not_depend_on_batch_mates() -> None:
    norm = GroupZScores(3).eval()
    norm.fit(vectors(), GROUPS)
    together = norm(vectors(), GROUPS)
    alone = torch.cat([norm(vectors()[[row]], GROUPS[[row]]) for row in range(8)])
    torch.testing.assert_close(alone, together)


def test_training_moves_the_statistics_to_those_of_the_group() -> None:
    norm = GroupZScores(3).train()
    for _ in range(200):
        norm(vectors(), GROUPS)
    own = vectors()[GROUPS == 1]
    torch.testing.assert_close(norm.mean[1], own.mean(0))
    torch.testing.assert_close(norm.variance[1], own.var(0, correction=0))
    assert not norm(vectors().requires_grad_(), GROUPS).detach().isnan().any()


def test_statistics_go_on_after_a_checkpoint_and_are_no_weights() -> None:
    norm, other = GroupZScores(3), GroupZScores(3).eval()
    norm.fit(vectors(), GROUPS)
    assert not norm.state_dict()
    other.load_tables(norm.tables())
    torch.testing.assert_close(other(vectors(), GROUPS), norm.eval()(vectors(), GROUPS))


def model_with(normalize: str) -> Classifier:
    torch.manual_seed(0)
    frontend = Frontend(16)
    encoder = CNNEncoder(
        frontend.out_dim, in_channels=frontend.num_channels, channels=[4, 4], time_strides=[2, 2]
    )
    pooling = MeanPooling(encoder.out_dim)
    return Classifier(frontend, encoder, pooling, Head(pooling.out_dim, 2, normalize=normalize)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("groups", [np.array([0, 1, 0, 1, 1, 0]), None])
def test_scores_of_a_model_do_not_depend_on_the_size_of_batches(groups: np.ndarray | None) -> None:
    lengths = np.array([30, 40, 25, 60, 33, 21])
    audio = np.random.default_rng(0).normal(size=(lengths.sum(), 16)).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    store = Store([*range(6)], audio, offsets, None, (), "object", "x", groups=groups)
    dataset = UtteranceDataset(store, None)
    found = []
    for size in (1, 6):
        model = model_with("corpus")
        fit_head(
            model,
            dataset,
            OnTheFlyFeatures(),
            device=torch.device("cpu"),
            max_frames=1000,
            max_utterances=size,
        )
        rows = [torch.from_numpy(audio[a:b]) for a, b in itertools.pairwise(offsets.tolist())]
        where = None if groups is None else torch.from_numpy(groups)
        found.append(model(Padded.collate(rows), where))
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)
    assert found[0].std(0).min() > 0


def test_a_stream_of_a_head_with_statistics_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"head\.normalize=speaker: needs all recordings of the speaker"):
        model_with("speaker").initial_state(1)


def test_few_recordings_of_a_corpus_cause_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    audio = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    store = Store([0, 1], audio, np.array([0, 30, 60]), None, (), "object", "x")
    trained = Trained(
        model_with("corpus"),
        Classes(class_names=["a", "b"], field="emotion"),
        16,
        features={},
        frontend={},
        path=Path("best.ckpt"),
    )
    scores = class_scores([trained], store, device=torch.device("cpu"), max_frames=1000)
    assert scores.sum(-1).tolist() == pytest.approx([1, 1])
    assert "the smallest has 2 recordings here, too few" in caplog.text
    assert "each answer depends on the others (transductive)" in caplog.text


def test_vectors_that_are_not_finite_change_no_statistics() -> None:
    norm, other = GroupZScores(3).train(), GroupZScores(3).train()
    vectors, groups = torch.randn(6, 3), torch.tensor([0, 0, 1, 1, 0, 1])
    norm(vectors, groups)
    bad = torch.cat([vectors, torch.full((1, 3), torch.inf)])
    other(bad, torch.cat([groups, torch.tensor([1])]))
    torch.testing.assert_close(norm.mean, other.mean)
    torch.testing.assert_close(norm.variance, other.variance)


def test_models_that_normalise_by_different_groups_are_not_averaged() -> None:
    audio = np.zeros((60, 16), np.float32)
    store = Store([0, 1], audio, np.array([0, 30, 60]), None, (), "object", "x")
    target = Classes(class_names=["a", "b"], field="emotion")
    models = [
        Trained(model_with("batch"), target, 16, features={}, frontend={"normalize": group}, path=Path("a"))
        for group in ("speaker", "corpus")
    ]
    with pytest.raises(ConfigError, match="normalise features in different ways"):
        class_scores(models, store.with_zscores(np.array([0, 0]), floor=None), device=torch.device("cpu"))


def test_unit_constant_in_training_does_not_outweigh_the_others() -> None:
    random = torch.Generator().manual_seed(0)
    head = Head(3, 3, dropout=0.0, normalize="corpus").train()
    train, other = (torch.randn(400, 3, generator=random) for _ in range(2))
    for batch in (train * torch.tensor([0.0, 1.0, 1.0])).split(4):
        head(batch)
    head.eval().by_group.fit(other, torch.zeros(400, dtype=torch.long))
    weights = head.output.weight.detach()
    scores = (other - other.mean(0)) / other.std(0, correction=0)
    torch.testing.assert_close(head(other).detach(), scores @ weights.T + head.output.bias.detach())
