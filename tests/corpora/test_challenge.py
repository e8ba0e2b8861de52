"""The challenge's files as a run's data, and what its splits share."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser.config.settings import Train
from ser.corpora.challenge import ChallengeCorpus
from ser.data.store import Store
from ser.errors import ConfigError, DataError
from ser.features.extractors import CHALLENGE
from ser.splits.base import SplitFacts, Splits, compare_splits
from ser.training import setup
from tests.config.test_composed import composed
from tests.conftest import write_challenge


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_challenge(tmp_path / "data", {"train": 12, "dev": 8, "ser_test_1": 8})
    return tmp_path / "data"


def splits(root: Path, **settings: Any) -> Splits:
    corpus = ChallengeCorpus(str(root), cache_dir=str(root / "cache"), **settings)
    return corpus.splits({"_target_": "ser.features.LogMel", "sample_rate": 16_000, **CHALLENGE})


def test_challenge_splits_without_equal_utterances_have_no_stamp(root: Path) -> None:
    found = compare_splits(splits(root, test="ser_test_1.json", test_labels="gold_1.json"))
    assert (found.facts.stamps, found.facts.leaks) == ([], [])
    assert found.facts.remarks == ["Leaks: no two splits have equal audio; nothing more is known."]


def test_a_copied_challenge_split_is_stamped_as_a_leak(root: Path) -> None:
    shutil.copy(root / "train.json", root / "dev.json")
    found = compare_splits(splits(root))
    assert found.facts.stamps == ["LEAK: train and validation share equal audio (12)"]
    assert found.facts.leaks[0].touched == 12
    assert "in 12 of 12 utterances of validation: train, 0 = validation, 0" in found.facts.remarks[0]


def test_one_utterance_of_train_in_the_test_file_is_found(root: Path) -> None:
    train = json.loads((root / "train.json").read_text())
    test = json.loads((root / "ser_test_1.json").read_text())
    test["3"]["features"] = train["7"]["features"]
    (root / "ser_test_1.json").write_text(json.dumps(test))
    found = compare_splits(splits(root, test="ser_test_1.json", test_labels="gold_1.json"))
    assert found.facts.stamps == ["LEAK: train and test share equal audio (1)"]


def test_facts_of_a_corpus_that_compared_its_splits_stay(root: Path) -> None:
    kept = Splits(splits(root).stores, SplitFacts(leaks=[]))
    assert compare_splits(kept) is kept


def test_stores_without_digests_are_not_compared(root: Path) -> None:
    bare = Splits({name: replace(store, digests=None) for name, store in splits(root).stores.items()})
    assert compare_splits(bare) is bare


def test_test_labels_of_another_file_change_the_fingerprint(root: Path) -> None:
    def test_store() -> Store:
        return splits(root, test="ser_test_1.json", test_labels="gold_1.json").stores["test"]

    before = test_store()
    gold = json.loads((root / "gold_1.json").read_text())
    gold["0"]["valence"] = 1 - gold["0"]["valence"]
    (root / "gold_1.json").write_text(json.dumps(gold))
    after = test_store()
    assert after.fingerprint != before.fingerprint
    assert np.sum(np.asarray(after.labels) != np.asarray(before.labels)) == 1


def test_a_run_on_a_copied_split_carries_the_stamp(root: Path) -> None:
    shutil.copy(root / "train.json", root / "dev.json")
    config = composed("train", ["data=challenge", f"data.root={root}", f"data.cache_dir={root / 'cache'}"])
    settings = Train.of(config)
    data = setup.make_data(settings, setup.read_splits(settings))
    assert data.facts.stamps == ["LEAK: train and validation share equal audio (12)"]
    assert len(data.facts.leaks) == 1


def test_training_on_validation_too_without_dev_json_is_refused(root: Path) -> None:
    (root / "dev.json").unlink()
    with pytest.raises(DataError, match=r"dev\.json: no such file, but data\.validation=none trains on it"):
        splits(root, validation="none")


@pytest.mark.parametrize("key", ["train", "test"])
def test_a_merged_dev_json_that_is_train_or_test_too_is_refused(root: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.{key}=\./dev\.json: data\.validation=none adds this file"):
        splits(root, validation="none", **{key: "./dev.json"})
