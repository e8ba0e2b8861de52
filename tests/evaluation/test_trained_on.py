"""What the folder of a run tells about its training."""

from pathlib import Path

import pytest
import yaml

from ser.errors import DataError
from ser.evaluation.trained_on import read_trained_on

RAVDESS = {"corpus": "ravdess", "root": "here"}


def test_a_checkpoint_outside_a_run_tells_nothing(tmp_path: Path) -> None:
    assert read_trained_on(tmp_path / "best.ckpt") is None


def test_the_folder_of_a_run_tells_its_data(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {**RAVDESS, "label_map": {"a": "b"}}}))
    found = read_trained_on(tmp_path / "checkpoints" / "best.ckpt")
    assert found is not None
    assert found.label_map == {"a": "b"}
    (tmp_path / "splits.json").write_text("{")
    with pytest.raises(DataError, match="json: is damaged"):
        read_trained_on(tmp_path / "checkpoints" / "best.ckpt")
