"""Training that begins with another run's network: what is copied by name, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ser.checkpoints import checkpoint
from ser.checkpoints.initialize import initialize
from ser.errors import CheckpointError
from ser.models.classifier import Classifier
from ser.targets.classification import Target
from tests.checkpoints.test_checkpoint import CONFIG

EMOTIONS = {
    "_target_": "ser.targets.Classes",
    "class_names": ["anger", "fear", "joy"],
    "field": "emotion",
}
PAIR = {"_target_": "ser.targets.Binary", "class_names": ["en", "es"], "field": "language"}


def fresh(**changed: object) -> tuple[Classifier, Target, dict[str, Any]]:
    description = checkpoint.describe(CONFIG | changed, feature_dim=26)
    return (*checkpoint.assemble(description), description)


def write(path: Path, **changed: object) -> Classifier:
    """A checkpoint of a model whose head tells its logits apart."""
    model, _, description = fresh(**changed)
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"ser": description, "state_dict": weights}, path)
    return model


def row(model: Classifier, place: int) -> torch.Tensor:
    return torch.cat([model.head.output.weight[place], model.head.output.bias[place : place + 1]]).detach()


def test_network_is_taken_and_frontend_stays(tmp_path: Path) -> None:
    other = write(tmp_path / "best.ckpt")
    other.frontend.fit([torch.randn(100, 26) + 7])
    model, target, description = fresh()
    said = initialize(model, target, description, tmp_path / "best.ckpt")
    for name, tensor in model.state_dict().items():
        if not name.startswith("frontend."):
            assert torch.equal(tensor, other.state_dict()[name]), name
    assert (model.frontend.normalizer.state_dict()["mean"] == 0).all()
    assert "4 of 4 rows of the head (sadness, anger, pleasure, joy)" in said
    assert "not those" not in said


def test_head_rows_follow_their_classes_in_another_order(tmp_path: Path) -> None:
    other = write(tmp_path / "best.ckpt", target=EMOTIONS)
    model, target, description = fresh(target=EMOTIONS | {"class_names": ["joy", "anger", "fear"]})
    initialize(model, target, description, tmp_path / "best.ckpt")
    for place, origin in enumerate([2, 0, 1]):
        assert torch.equal(row(model, place), row(other, origin))


def test_head_rows_of_unknown_classes_start_afresh(tmp_path: Path) -> None:
    other = write(tmp_path / "best.ckpt", target=EMOTIONS)
    model, target, description = fresh(target=EMOTIONS | {"class_names": ["disgust", "joy"]})
    before = row(model, 0)
    said = initialize(model, target, description, tmp_path / "best.ckpt")
    assert torch.equal(row(model, 0), before)
    assert torch.equal(row(model, 1), row(other, 2))
    assert "1 of 2 rows of the head (joy); disgust is initialised at random" in said


@pytest.mark.parametrize(("names", "sign"), [(["en", "es"], 1), (["es", "en"], -1)])
def test_one_logit_of_two_classes_turns_with_their_order(tmp_path: Path, names: list[str], sign: int) -> None:
    other = write(tmp_path / "best.ckpt", target=PAIR)
    model, target, description = fresh(target=PAIR | {"class_names": names})
    initialize(model, target, description, tmp_path / "best.ckpt")
    assert torch.equal(row(model, 0), sign * row(other, 0))


def test_heads_of_two_bits_and_of_views_share_their_bits(tmp_path: Path) -> None:
    other = write(tmp_path / "best.ckpt", target={"_target_": "ser.targets.TwoBinary"})
    model, target, description = fresh(target={"_target_": "ser.targets.MultiView"})
    said = initialize(model, target, description, tmp_path / "best.ckpt")
    assert torch.equal(row(model, 4), row(other, 0))
    assert "2 of 6 rows of the head (valence, activation)" in said


def test_head_without_common_classes_starts_afresh(tmp_path: Path) -> None:
    write(tmp_path / "best.ckpt", target=PAIR)
    model, target, description = fresh()
    before = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
    said = initialize(model, target, description, tmp_path / "best.ckpt")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.head.state_dict().items())
    assert "nothing of the head, which is initialised at random" in said


def test_head_with_other_hidden_layers_starts_afresh(tmp_path: Path) -> None:
    write(tmp_path / "best.ckpt", head=CONFIG["head"] | {"hidden_dims": [5]})
    model, target, description = fresh()
    assert "nothing of the head" in initialize(model, target, description, tmp_path / "best.ckpt")


def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path: Path) -> None:
    other = write(tmp_path / "checkpoints" / "best.ckpt")
    model, target, description = fresh()
    initialize(model, target, description, tmp_path)
    assert torch.equal(row(model, 0), row(other, 0))


def test_an_ensemble_is_answered_with_one_of_its_checkpoints(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / f"member_{number}" / "checkpoints" / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"holds 2 models.*init=.*member_0/checkpoints/best\.ckpt"):
        initialize(*fresh(), tmp_path)


def test_another_network_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "best.ckpt")
    changed = fresh(model=CONFIG["model"] | {"channels": [4, 8]})
    with pytest.raises(
        CheckpointError, match=r"init=.*best\.ckpt: its network has .* for encoder\.stages\.1"
    ):
        initialize(*changed, tmp_path / "best.ckpt")


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (
            {"_target_": "ser.features.LogMel", "sample_rate": 8000},
            r"16000 Hz.*has 8000 Hz. Set features\.sample_rate=16000",
        ),
        (
            {"_target_": "ser.features.MFCC"},
            "trained with features LogMel, this training has MFCC",
        ),
    ],
)
def test_another_sample_rate_or_kind_of_features_is_refused(
    tmp_path: Path, features: dict[str, Any], words: str
) -> None:
    write(tmp_path / "best.ckpt", features={"_target_": "ser.features.LogMel", "sample_rate": 16000})
    with pytest.raises(CheckpointError, match=words):
        initialize(*fresh(features={"sample_rate": 16000} | features), tmp_path / "best.ckpt")


def test_settings_that_differ_are_said(tmp_path: Path) -> None:
    write(tmp_path / "best.ckpt")
    changed = fresh(
        features=CONFIG["features"] | {"frame_shift_ms": 20.0},
        frontend=CONFIG["frontend"] | {"normalize": "utterance"},
    )
    said = initialize(*changed, tmp_path / "best.ckpt")
    assert "features.frame_shift_ms=20.0, there None; frontend.normalize=utterance, there None" in said


TASKS = {
    "_target_": "ser.targets.MultiTask",
    "tasks": {
        "emotion": {"target": EMOTIONS},
        "values": {"target": {"_target_": "ser.targets.Regression", "fields": ["arousal"]}},
    },
}


def test_a_task_takes_the_rows_of_the_target_alone(tmp_path: Path) -> None:
    other = write(tmp_path / "best.ckpt", target=EMOTIONS | {"class_names": ["joy", "anger", "fear"]})
    model, target, description = fresh(target=TASKS)
    said = initialize(model, target, description, tmp_path / "best.ckpt")
    for place, origin in enumerate([1, 2, 0]):
        assert torch.equal(row(model, place), row(other, origin))
    assert "3 of 4 rows" in said
    assert "values/arousal is initialised at random" in said


def test_a_target_alone_takes_the_rows_of_its_task(tmp_path: Path) -> None:
    other = write(tmp_path / "best.ckpt", target=TASKS)
    model, target, description = fresh(target=EMOTIONS | {"class_names": ["joy", "anger", "fear"]})
    initialize(model, target, description, tmp_path / "best.ckpt")
    for place, origin in enumerate([2, 0, 1]):
        assert torch.equal(row(model, place), row(other, origin))


def test_a_name_of_two_tasks_is_not_taken(tmp_path: Path) -> None:
    write(tmp_path / "best.ckpt", target=EMOTIONS)
    rater = {"target": EMOTIONS | {"field": "rater"}}
    tasks = TASKS | {"tasks": {"emotion": {"target": EMOTIONS}, "rater": rater}}
    model, target, description = fresh(target=tasks)
    said = initialize(model, target, description, tmp_path / "best.ckpt")
    assert "nothing of the head" in said
