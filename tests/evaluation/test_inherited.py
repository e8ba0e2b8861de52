"""What a run takes over from the run that `init=` names."""

from pathlib import Path

import pytest
import torch
import yaml

from ser.evaluation.inherited import describe_inherited, inherited_rows
from ser.evaluation.trained_on import read_trained_on
from ser.splits.utterances_file import INHERITED, Row
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
    assert describe_inherited(rows, "OLD", stores, speakers, data={"corpus": "ravdess"}) == [
        "LEAK: init=OLD was trained on 2 of the 3 utterances of test: its scores are worthless as scores of new "
        "speech.",
        "test and the training of init=OLD: LEAK: 1 of the 2 speakers are in the training data, too (s1): the scores "
        "are better than for new speakers.",
    ]
    assert describe_inherited(rows[:1], "OLD", stores, speakers, data={"corpus": "emodb"}) == []


def test_a_first_run_that_tells_nothing_is_named() -> None:
    (line,) = describe_inherited([], "OLD", {}, {}, data={})
    assert line.startswith("init=OLD: it is not known on which utterances that run was trained")
