"""Searches: spaces, the journal, pruning, failures, and the command line with functions as trainings."""

import math
import shutil
import signal
import subprocess
import textwrap
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from ser.config.search import check_search, space_beside
from ser.errors import ConfigError, DataError
from ser.runs.sweep import TRIAL, read_statuses, record_status
from ser.runs.sweep_tables import summarize
from ser.search import journal
from ser.search.plots import best_so_far
from ser.search.pruning import TrialReports, watch_trial
from ser.search.space import read_space
from ser.search.trial import TrialOfJob
from tests.commands import warm_python
from tests.conftest import REPOSITORY


def space_of(*words):
    return read_space(OverridesParser.create().parse_overrides([*words]))


# ---- spaces ----


def test_each_kind_of_space_becomes_its_distribution():
    space = space_of(
        "data=x",
        "~y",
        "++a=interval(0.0,0.5)",
        "b=tag(log,interval(1e-4,1e-2))",
        "c=range(1,8,2)",
        "m=cnn,lstm",
    )
    assert space.fixed == ("data=x", "~y")
    assert space.dimensions == {
        "++a": FloatDistribution(0.0, 0.5),
        "b": FloatDistribution(1e-4, 1e-2, log=True),
        "c": IntDistribution(1, 7, step=2),
        "m": CategoricalDistribution(["cnn", "lstm"]),
    }


def test_drawn_settings_stay_in_their_bounds_and_are_short():
    space = space_of("data=x", "++a=tag(log,interval(0.00012345,0.00012347))", "c=choice([1,2],[3])")
    trial = optuna.create_study().ask()
    fixed, rate, choice = space.draw(trial)
    assert fixed == "data=x"
    assert 0.00012345 <= float(rate.removeprefix("++a=")) <= 0.00012347
    assert choice in ("c=[1,2]", "c=[3]")
    assert space.draw(trial) == [fixed, rate, choice]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=x"], "nothing is searched"),
        (["seed=0,1"], "the luckiest would win"),
        (["a=interval(2.0,1.0)"], r"a=interval\(2.0,1.0\): is no space to search"),
        (["a=tag(log,interval(0.0,1.0))"], "is no space to search"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        space_of(*words)


@pytest.mark.parametrize("name", [path.stem for path in (REPOSITORY / "conf" / "search").glob("*.yaml")])
def test_each_space_in_conf_can_be_searched(name):
    model = {"finetune": ["experiment=finetune", "model.path=x"]}
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        cfg = compose("train", [*model.get(name, []), f"search={name}"], return_hydra_config=True)
        words = space_beside(cfg.hydra.sweeper, [])
        space = space_of(*words)
        drawn = space.draw(optuna.create_study().ask())
        compose("train", [*model.get(name, []), *drawn])
    assert len(space.dimensions) >= 4


def test_typed_settings_replace_those_of_a_space():
    sweeper = {"_target_": "hydra_plugins.ser.OptunaSweeper", "space": {"a.b": "1,2", "c": "3,4"}}
    assert space_beside(sweeper, ["++a.b=5"]) == ["c=3,4"]
    assert space_beside({"_target_": "other"}, []) == []


def test_a_search_without_a_sweep_or_an_interval_without_a_search_is_refused(monkeypatch):
    ours = {"_target_": "hydra_plugins.ser.OptunaSweeper"}
    assert [*check_search(ours, [], is_sweep=True)] == []
    assert [*check_search(ours, [], is_sweep=False)] == [
        "hydra/sweeper=optuna: a search trains several times. Add -m."
    ]
    (interval,) = check_search({}, ["a=1,2", "lr=interval(0,1)"], is_sweep=True)
    assert interval == "lr=interval(0,1): an interval has to be searched. Add hydra/sweeper=optuna."
    monkeypatch.setattr("ser.config.search.find_spec", lambda _: None)
    (missing,) = check_search(ours, [], is_sweep=True)
    assert missing.startswith("hydra/sweeper=optuna: needs optuna. Install it: ")
    assert missing.endswith('pip install "optuna>=4,<6"')


# ---- the journal ----


def test_a_half_written_line_is_dropped_and_the_study_goes_on(tmp_path):
    path = tmp_path / journal.JOURNAL
    study = journal.open_study(path, direction="minimize")
    study.tell(study.ask(), 0.5)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:20])
    again = journal.open_study(path, direction="minimize")
    again.tell(again.ask(), 0.25)
    assert [trial.value for trial in journal.open_study(path).trials] == [0.5, 0.25]


def test_a_damaged_journal_is_refused(tmp_path):
    path = tmp_path / journal.JOURNAL
    study = journal.open_study(path, direction="minimize")
    study.tell(study.ask(), 0.5)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"{half\n", *lines[2:]]))
    with pytest.raises(DataError, match=r"optuna.journal: is damaged .* Delete it"):
        journal.open_study(path, direction="minimize")


def test_another_space_in_the_same_folder_is_refused(tmp_path):
    path = tmp_path / journal.JOURNAL
    study = journal.open_study(path, direction="minimize")
    journal.check_same_space(study, {"a": "1", "fixed": []}, path)
    journal.check_same_space(study, {"fixed": [], "a": "1"}, path)
    with pytest.raises(ConfigError, match=r"holds a search with other settings \(a, b\)"):
        journal.check_same_space(study, {"b": "1", "fixed": []}, path)


@pytest.mark.parametrize("name", journal.SAMPLERS)
def test_trials_depend_on_seed_and_number_only(name):
    def drawn(seed, number):
        study = optuna.create_study(sampler=journal.make_sampler(name, seed=seed, number=number, startup=5))
        return study.ask({"a": FloatDistribution(0, 1)}).params["a"]

    assert drawn(0, 3) == drawn(0, 3)
    assert len({drawn(0, 3), drawn(0, 4), drawn(1, 3)}) == 3


# ---- pruning ----


def test_a_training_outside_of_a_search_reports_nothing(monkeypatch):
    monkeypatch.delenv(TRIAL, raising=False)
    assert watch_trial(SimpleNamespace(callbacks=[]), "x") is None
    monkeypatch.setenv(TRIAL, "")
    assert watch_trial(SimpleNamespace(callbacks=[]), "x") is None


@pytest.mark.parametrize("pruner", journal.PRUNERS)
def test_a_bad_trial_is_stopped_by_a_pruner(tmp_path, monkeypatch, pruner):
    path = tmp_path / journal.JOURNAL
    study = journal.open_study(path, direction="maximize", pruner=journal.make_pruner(pruner, 2))
    for level in (0.8, 0.85, 0.9, 0.95):
        trial = study.ask()
        for epoch in range(1, 6):
            trial.report(level, epoch)
            trial.should_prune()  # halving keeps its rungs when it is asked
        study.tell(trial, level)
    study.ask()
    monkeypatch.setenv(TRIAL, TrialOfJob(str(path), 4, pruner, 2).to_text())
    trainer = SimpleNamespace(
        callbacks=["last"], callback_metrics={"m": 0.1}, current_epoch=0, should_stop=False, max_epochs=9
    )
    reports = watch_trial(trainer, "m")
    assert trainer.callbacks == [reports, "last"]
    for epoch in range(4):
        trainer.current_epoch = epoch
        reports.on_train_epoch_end(trainer, None)
        if trainer.should_stop:
            break
    assert trainer.should_stop == reports.is_pruned == (pruner != "none")
    if pruner == "median":
        assert trainer.current_epoch + 1 == 3, "not before a third of the epochs"
    assert journal.open_study(path).trials[4].intermediate_values[1] == 0.1


def test_an_epoch_that_is_repeated_or_not_validated_is_not_reported(tmp_path):
    path = tmp_path / journal.JOURNAL
    journal.open_study(path, direction="maximize").ask()
    reports = TrialReports(TrialOfJob(str(path), 0, "median", 2), "m")
    for metrics in ({}, {"m": math.nan}):
        reports.on_train_epoch_end(SimpleNamespace(callback_metrics=metrics), None)
    reports.report(0.5, 1)
    reports.report(0.75, 1)
    assert journal.open_study(path).trials[0].intermediate_values == {1: 0.5}


def test_a_pruned_job_is_shown_with_its_epochs_and_never_best(tmp_path, capsys):
    record_status(tmp_path / "a", "completed", overrides=["x=1"], value=0.5, number=0)
    record_status(tmp_path / "b", "pruned", overrides=["x=2"], value=0.75, epochs=3, number=1)
    assert summarize(tmp_path, ["python", "train.py"]) == 0
    rows = (tmp_path / "sweep.csv").read_text().splitlines()
    assert rows[1:] == ["1,0.5,x=1,a,completed", ",0.75,x=2,b,pruned after 3 epochs"]
    assert capsys.readouterr().out.splitlines()[-1].endswith("train.py x=1")


def test_the_best_so_far_never_gets_worse():
    best = best_so_far([None, 0.5, 0.25, None, 0.75], is_min=False)
    assert math.isnan(best[0])
    assert best[1:] == [0.5, 0.5, 0.5, 0.75]
    assert best_so_far([0.5, None, 0.25], is_min=True) == [0.5, 0.5, 0.25]


# ---- from end to end ----

SCRIPT = """
    import os, signal, sys
    from hydra.core.hydra_config import HydraConfig
    from ser.config.main import main
    from ser.search.sweeper import register


    @main("train", prepare=register)
    def train(settings):
        cfg = settings.config
        x, kind = cfg["model"]["dropout"], cfg["model"]["subsampling"]
        if os.environ.get("KILL") and x > 0.6 and not os.path.exists("killed_once"):
            open("killed_once", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        with open("started.txt", "a") as file:
            file.write(f"{HydraConfig.get().runtime.output_dir}\\n")
        if kind == 2:
            raise RuntimeError("a bug")
        if kind == 3:
            raise MemoryError("no memory")
        value = float("nan") if kind == 4 else -((x - 0.3) ** 2)
        return value


    if __name__ == "__main__":
        train()
"""

TREE = {
    "train.yaml": """
        defaults: [_self_, model: lstm]
        seed: 0
        monitor: m
        mode: max
        hydra:
          sweep: {dir: logs/sweep, subdir: "${hash_of_settings:}"}
          run: {dir: logs/single}
          output_subdir: null
    """,
    "model/lstm.yaml": "_target_: ser.models.LSTMEncoder\ndropout: 0.1\nsubsampling: 1\n",
}


@pytest.fixture
def app(tmp_path):
    (tmp_path / "train.py").write_text(textwrap.dedent(SCRIPT))
    for name, text in TREE.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(textwrap.dedent(text).lstrip())
    shutil.copytree(REPOSITORY / "conf" / "hydra" / "sweeper", tmp_path / "conf" / "hydra" / "sweeper")
    return tmp_path


def search(folder: Path, *words, **variables):
    return subprocess.run(
        [warm_python(), "train.py", "-m", "hydra/sweeper=optuna", "hydra.sweeper.startup_trials=2", *words],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def trials_of(folder):
    return journal.open_study(folder / "logs" / "sweep" / journal.JOURNAL).trials


def test_a_search_records_failures_with_reasons_and_goes_on(app):
    done = search(
        app, "model.dropout=interval(0.0,1.0)", "model.subsampling=1,2,3,4", "hydra.sweeper.trials=12"
    )
    assert done.returncode == 1, done.stderr
    trials = trials_of(app)
    assert len(trials) == 12
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.FAIL}
    statuses = read_statuses(app / "logs" / "sweep")
    assert [status["number"] for status in statuses.values()] == [*range(12)]
    reasons = {status["reason"] for status in statuses.values()}
    assert reasons == {None, "error", "out of memory", "diverged"}
    best = max(trial.value for trial in trials if trial.value is not None)
    table = (app / "logs" / "sweep" / "sweep.csv").read_text().splitlines()
    assert float(table[1].split(",")[1]) == pytest.approx(best, rel=1e-5)
    assert (app / "logs" / "sweep" / "search.png").stat().st_size > 10_000
    assert "Best, to repeat it: " in done.stdout.splitlines()[-1]
    assert TRIAL not in done.stdout


def test_a_killed_search_goes_on_as_if_it_never_was(app):
    words = ["model.dropout=interval(0.0,1.0)", "hydra.sweeper.trials=6"]
    killed = search(app, *words, KILL="1")
    assert killed.returncode == -signal.SIGKILL
    assert 0 < len(trials_of(app)) < 6
    done = search(app, *words, KILL="1")
    assert (done.returncode, done.stderr) == (0, "")
    drawn = [trial.params for trial in trials_of(app)]
    started = (app / "started.txt").read_text().splitlines()
    assert len(started) == len({*started}) == 6
    shutil.rmtree(app / "logs")
    assert search(app, *words).returncode == 0
    assert [trial.params for trial in trials_of(app)] == drawn
    before = len((app / "started.txt").read_text().splitlines())
    assert search(app, words[0], "hydra.sweeper.trials=7").returncode == 0  # one more
    assert len((app / "started.txt").read_text().splitlines()) == before + 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.dropout=interval(0.0,1.0)", "hydra.sweeper.sampler=tpr"], "Did you mean 'tpe'?"),
        (["model.dropout=interval(0.0,1.0)", "hydra.sweeper.trials=0"], "whole number of at least 1"),
        (["model.drop=interval(0.0,1.0)"], "model.drop=0.0: unknown key. Did you mean 'model.dropout'?"),
        (["model=lstm,cnnn"], "model=cnnn: no such option."),
        (
            ["model.subsampling=2,2"],
            "The first 3 trials failed alike, so the search ends:\nRuntimeError: a bug",
        ),
    ],
)
def test_a_search_that_cannot_work_ends_with_a_sentence(app, words, message):
    done = search(app, *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
