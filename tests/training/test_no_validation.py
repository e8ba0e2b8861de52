"""Trainings on train and validation together: data.validation=none."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from ser.config.settings import Train
from ser.errors import ConfigError
from ser.report import figures
from ser.splits.assignment import use_validation
from ser.training.consistency import without_validation
from ser.training.evaluation import Scores, evaluate, write_report
from tests import blank_plots
from tests.fits import Fitted, composed, fit

NONE = "data.validation=none"


def test_validation_moves_to_train_and_test_stays() -> None:
    made = {"train": np.array([0, 3]), "validation": np.array([1]), "test": np.array([2])}
    kept = use_validation(made, "none")
    assert {name: indices.tolist() for name, indices in kept.items()} == {"train": [0, 1, 3], "test": [2]}
    assert use_validation(made, "split") is made


@pytest.fixture(scope="module")
def fitted(challenge: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    words = ("data.test=ser_test_1.json", "data.test_labels=gold_1.json", "trainer.max_epochs=3")
    return fit(challenge, tmp_path_factory.mktemp("run"), NONE, *words)


def report_of(fitted: Fitted, scores: Scores) -> str:
    parts = {"task": fitted.task, "data": fitted.data, "scores": scores, "seconds": 1.0}
    with mock.patch.multiple(figures, to_image=blank_plots.to_image, save=blank_plots.save):
        write_report(fitted.settings, fitted.run, fitted.trainer, **parts)
    return (fitted.run.path / "report.md").read_text()


def test_the_challenge_trains_on_both_files_to_the_last_epoch(fitted: Fitted, challenge: Path) -> None:
    files = [json.loads((challenge / name).read_text()) for name in ("train.json", "dev.json")]
    train = fitted.data.datasets["train"].store
    assert len(train) == sum(map(len, files))
    assert train.lengths.tolist() == [len(u["features"]) for file in files for u in file.values()]
    labels = [[u["valence"], u["activation"]] for file in files for u in file.values()]
    assert np.asarray(train.labels).tolist() == labels
    assert len({*train.ids}) == len(train)
    assert fitted.task.best_epoch == 3
    assert set(fitted.data.datasets) == {"train", "test"}
    second = np.array(next(iter(files[1].values()))["features"], dtype=np.float32)
    assert train.gather(np.array([len(files[0])]), np.zeros(1, int), train.lengths[[len(files[0])]])[
        0
    ].numpy() == pytest.approx(second, abs=1e-3)


def test_the_report_says_that_no_epoch_was_chosen(fitted: Fitted) -> None:
    scores = evaluate(fitted.settings, fitted.trainer, fitted.task, fitted.data)
    assert {name.partition("/")[0] for name in scores.results} == {"test"}
    assert scores.value == fitted.task.curves["train/loss"][3]
    text = report_of(fitted, scores)
    assert "best epoch: 3 of 3, the last one, as there is no validation split" in text
    assert "trained on train and validation together, so no epoch was chosen" in text
    assert json.loads((fitted.run.path / "facts.json").read_text())["chosen_by"] is None
    assert not (fitted.run.path / "predictions_validation.csv").exists()
    assert not (fitted.run.path / "calibration.json").exists()
    assert any("data.validation=none" in line for line in fitted.data.facts.remarks)


def test_a_training_on_all_labelled_data_is_reported_unscored(challenge: Path, tmp_path: Path) -> None:
    fitted = fit(challenge, tmp_path, NONE)
    scores = evaluate(fitted.settings, fitted.trainer, fitted.task, fitted.data)
    text = report_of(fitted, scores)
    assert "**Nothing was scored**" in text
    assert "train/loss" in json.loads((fitted.run.path / "metrics.json").read_text())


def settings_of(*words: str) -> Train:
    return Train.of(composed("data=challenge", "data.root=.", NONE, *words))


def test_what_watches_validation_is_off_without_it() -> None:
    adapted = without_validation(settings_of("callbacks=language_id"))
    assert adapted.callbacks["early_stopping"] is None
    assert adapted.callbacks["loss_curve"] is None
    assert adapted.callbacks["averaged_weights"]
    best = adapted.callbacks["best"] or {}
    assert (adapted.monitor, adapted.mode, best["monitor"]) == ("train/loss", "min", None)
    assert without_validation(adapted).config == adapted.config  # as after a resume


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["schedule=plateau"], r"schedule=plateau needs scores.*Use schedule=one_cycle, or"),
        (
            ["balance=ensemble", "ensemble=3"],
            r"ensemble=3 needs scores of a validation split\. Set ensemble=null",
        ),
    ],
)
def test_a_choice_by_validation_scores_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        without_validation(settings_of(*words))


def test_a_plateau_of_the_training_loss_is_allowed() -> None:
    settings = settings_of("schedule=plateau", "+schedule.monitor=train/loss")
    assert without_validation(settings).schedule == settings.schedule


def test_a_search_is_refused_without_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_TRIAL", json.dumps({"number": 0}))
    with pytest.raises(ConfigError, match=r"a search needs scores of a validation split"):
        without_validation(settings_of())
