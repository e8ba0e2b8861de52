"""What a run takes over from the run that `init=` names."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ser.config.settings import Train
from ser.evaluation.inherited import describe_inherited, inherited_rows
from ser.evaluation.trained_on import read_trained_on
from ser.splits.utterances_file import INHERITED, Row, write_utterances
from ser.training import setup
from tests.fits import composed
from tests.splits.test_utterances_file import store_of

FIRST = "00" * 16  # no digest of the stores below
MIX = {"readers": {"r": {"corpus": "ravdess"}, "own": {"root": "/own"}}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run on a mix that began with a run on EmoDB."""
    path = tmp_path / "checkpoints" / "best.ckpt"
    path.parent.mkdir()
    torch.save({}, path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": MIX, "init": "OLDER"}))
    rows = [
        "split,id,speaker,digest,corpus",
        f"train,r/a1,r/a,{FIRST},",
        "train,own/b1,,,",
        "test,r/c1,r/c,,",
    ]
    (tmp_path / "utterances.csv").write_text("\n".join([*rows, f"{INHERITED},e1,e,,emodb", ""]))
    return tmp_path


def test_the_training_of_a_run_and_of_the_one_before_are_taken_over(run: Path) -> None:
    assert sorted(inherited_rows(run)) == [
        (INHERITED, "a1", "a", FIRST, "ravdess"),
        (INHERITED, "b1", "", "", "/own"),
        (INHERITED, "e1", "e", "", "emodb"),
    ]
    found = read_trained_on(run / "checkpoints" / "best.ckpt")
    assert found is not None
    assert ({*found.known}, found.before["emodb"].ids, found.init) == ({"train", "test"}, {"e1"}, "OLDER")


def test_splits_that_share_utterances_with_the_first_run_are_stamped() -> None:
    stores = {"train": store_of("a1"), "validation": store_of("v1"), "test": store_of("a1", "b1", "c1")}
    digest = bytes(range(16, 32)).hex()  # of the second utterance of a store
    rows: list[Row] = [(INHERITED, "a1", "s1", "", "ravdess"), (INHERITED, "x", "", digest, "")]
    speakers = {"test": {"a1": "s1", "b1": "s2"}}
    assert describe_inherited(rows, "OLD", stores, speakers, data={"corpus": "ravdess"}, named=stores) == [
        "LEAK: init=OLD was trained on 2 of the 3 utterances of test: its scores are worthless as scores of new "
        "speech.",
        "test and the training of init=OLD: LEAK: 1 of the 2 speakers are in the training data, too (s1): the scores "
        "are better than for new speakers.",
    ]
    assert describe_inherited(rows[:1], "OLD", stores, speakers, data={"corpus": "emodb"}, named=stores) == []


def test_a_first_run_that_tells_nothing_is_named() -> None:
    (line,) = describe_inherited([], "OLD", {}, {}, data={}, named=())
    assert line.startswith("init=OLD: it is not known on which utterances that run was trained")


def run_of(folder: Path, data: dict[str, Any], *train: str) -> Path:
    """The folder of a run on utterances of a corpus, whose features are unknown."""
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({}, folder / "checkpoints" / "best.ckpt")
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    write_utterances(folder, {"train": store_of(*train, digests=False)}, {})
    return folder


def stamps_of(*overrides: str) -> list[str]:
    settings = Train.of(composed(*overrides))
    data = setup.make_data(settings, setup.read_splits(settings))
    return [stamp for stamp in data.facts.stamps if "was trained on" in stamp]


def test_numbers_that_two_files_of_the_challenge_share_are_no_leak(challenge: Path, tmp_path: Path) -> None:
    words = ("data=challenge", f"data.root={challenge}")
    first = Train.of(composed(*words))
    stores = setup.read_splits(first).stores
    assert {*stores["validation"].ids} < {*stores["train"].ids}
    folder = run_of(tmp_path / "run", {**first.data}, "0")
    assert stamps_of(*words, f"init={folder}") == []
    write_utterances(folder, stores, {})
    assert stamps_of(*words, f"init={folder}") == []
    write_utterances(folder, {"train": stores["validation"]}, {})
    (line,) = stamps_of(*words, f"init={folder}")
    assert "was trained on 32 of the 32 utterances of validation" in line


def test_rows_of_the_same_arrays_are_found_by_their_ids(arrays: Path, tmp_path: Path) -> None:
    words = ("data=language_id_arrays", f"data.root={arrays}")
    first = Train.of(composed(*words))
    stores = setup.read_splits(first).stores
    folder = run_of(tmp_path / "run", {**first.data}, *stores["train"].ids)
    assert stamps_of(*words, f"init={folder}") == []
    folder = run_of(tmp_path / "other", {**first.data}, *stores["test"].ids[:2])
    (line,) = stamps_of(*words, f"init={folder}")
    assert "was trained on 2 of the 36 utterances of test" in line
