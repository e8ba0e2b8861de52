"""What the folder of a run tells about its training."""

from pathlib import Path

import pytest
import yaml

from ser.errors import DataError
from ser.evaluation.evaluate import label_maps
from ser.evaluation.trained_on import TrainedOn, read_trained_on

RAVDESS = {"corpus": "ravdess", "root": "here"}


def test_a_checkpoint_outside_a_run_tells_nothing(tmp_path: Path) -> None:
    assert read_trained_on(tmp_path / "best.ckpt") is None


def test_the_folder_of_a_run_tells_its_data(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {**RAVDESS, "label_map": {"a": "b"}}}))
    found = read_trained_on(tmp_path / "checkpoints" / "best.ckpt")
    assert found is not None
    assert found.label_maps() == [{"a": "b"}]
    (tmp_path / "splits.json").write_text("{")
    with pytest.raises(DataError, match="json: is damaged"):
        read_trained_on(tmp_path / "checkpoints" / "best.ckpt")


def test_the_label_map_of_a_corpus_of_a_mix_is_used_for_that_corpus(tmp_path: Path) -> None:
    own, common = {"yes": "anger", "no": None, "maybe": "joy"}, {"anger": "bad", "sadness": "bad"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    reader = {"root": str(tmp_path), "label_map": str(tmp_path / "own.yaml")}
    mix = {"readers": {"words": reader, "ravdess": RAVDESS}, "label_map": common}
    runs = [None, TrainedOn(tmp_path, mix)]
    followed = {"yes": "bad", "no": None, "maybe": "joy"}
    assert label_maps(runs, {"root": str(tmp_path)}) == [followed, common]
    assert label_maps(runs, RAVDESS) == label_maps(runs, {}) == [common]
    assert label_maps([TrainedOn(tmp_path, {**mix, "label_map": None})], reader) == [own]
