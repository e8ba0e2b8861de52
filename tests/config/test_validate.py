"""Checking configs, and the command line around it, on a small tree of configs and on the real one."""

import errno
import os
import re
import runpy
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ser.config.command_line import App, read_command
from ser.config.paths import literal_path, resume_arguments
from ser.config.settings import SCHEMAS
from ser.config.types import signature
from ser.config.validate import check
from ser.errors import ConfigError, hydra_value
from ser.runs.process import describe_error, exit_code_of
from ser.training.consistency import check_monitor
from tests.commands import warm_python
from tests.conftest import REPOSITORY

ROOT = REPOSITORY

TREE = {
    "train.yaml": """
        defaults:
          - _self_
          - model: lstm
          - optimizer: adamw
          - trainer: default
          - debug: null
        name: run
        seed: 0
        monitor: validation/accuracy
        mode: max
        resume: null
        batching: {max_frames: 100, crop_frames: null}
        hydra:
          run: {dir: "logs/${name}"}
          sweep: {dir: "logs/sweep_${name}", subdir: "${hydra:job.num}"}
          job: {chdir: false}
          output_subdir: null
    """,
    "light.yaml": """
        seed: 0
        optimizer: {_target_: torch.optim.SGD, lr: 1e-3}
        hydra: {output_subdir: null, run: {dir: logs/light}}
    """,
    "predict.yaml": """
        ckpt: ???
        input: ???
        hydra: {output_subdir: null, run: {dir: logs/predict}}
    """,
    "model/cnn.yaml": "_target_: ser.models.CNNEncoder\ndropout: 0.0\n",
    "model/lstm.yaml": "_target_: ser.models.LSTMEncoder\nhidden_dim: 8\ncell: lstm\n",
    "optimizer/adamw.yaml": "_target_: torch.optim.AdamW\nlr: 1e-3\n",
    "trainer/default.yaml": "_target_: lightning.pytorch.Trainer\nmax_epochs: 3\nprecision: 32-true\n",
    "debug/fast.yaml": "# @package _global_\ntrainer: {max_epochs: 1}\n",
}

SCRIPT = """
    import json, os, signal, sys
    from ser.config.main import main
    from ser.errors import DataError


    @main("train", existing_paths=("resume",))
    def train(settings):
        cfg = settings.config
        print("settings:", json.dumps(cfg))
        match cfg["seed"]:
            case 13:
                raise DataError("train.json: is empty. Export it again.")
            case 14:
                raise RuntimeError("a bug")
            case 15:
                os.kill(os.getpid(), signal.SIGINT)
                signal.pause()
            case 16:
                return float("nan")
            case 17:  # as Lightning does
                try:
                    raise KeyboardInterrupt
                except KeyboardInterrupt:
                    sys.exit(1)
        return 1 - cfg["optimizer"]["lr"]


    if __name__ == "__main__":
        train()
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """A folder with a script and its configs."""
    folder = tmp_path_factory.mktemp("app")
    for name, text in TREE.items():
        (folder / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "conf" / name).write_text(textwrap.dedent(text).lstrip())
    (folder / "train.py").write_text(textwrap.dedent(SCRIPT))
    return folder


def run(app, *arguments, **environment):
    """Run a script as a user does, in a fork of a process that has imported everything."""
    return subprocess.run(
        [warm_python(), "train.py", *arguments],
        cwd=app,
        env={"PYTHONPATH": str(ROOT), "PATH": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def composed(app, *overrides):
    with initialize_config_dir(str(app / "conf"), version_base="1.3"):
        return compose("train", [*overrides])


def problems(cfg, **options):
    with pytest.raises(ConfigError) as caught:
        check(OmegaConf.create(cfg), is_own=True, **options)
    head, *lines = str(caught.value).splitlines()
    assert head == f"{len(lines)} problem{'s' * (len(lines) > 1)} in the configuration:"
    assert all(line.startswith("  ") for line in lines)
    return [line.strip() for line in lines]


ADAMW = {"_target_": "torch.optim.AdamW"}


# ---- check ----


def test_check_returns_plain_containers_with_interpolations_resolved(app):
    cfg = composed(app, "+model.dropout=${optimizer.lr}")
    plain = check(cfg)
    assert plain["model"] == {
        "_target_": "ser.models.LSTMEncoder",
        "hidden_dim": 8,
        "cell": "lstm",
        "dropout": 1e-3,
    }
    assert type(plain) is type(plain["batching"]) is dict


def test_check_reports_all_problems_at_once():
    cfg = {
        "optimizer": ADAMW | {"lrr": 1, "lr": "abc"},
        "model": {"_target_": "ser.models.LSTMEncoder", "cell": "gruu", "num_layers": "${nowhere}"},
        "init": "???",
    }
    lines = problems(cfg)
    assert len(lines) == 5
    assert "optimizer.lrr=1: unknown key. Did you mean 'optimizer.lr'?" in lines
    assert "optimizer.lr=abc: expected float (default 0.001), found a text." in lines
    assert "model.cell=gruu: no such choice. Did you mean 'gru'?" in lines
    assert "init=???: must be given. Add init=VALUE." in lines
    [unresolved] = [line for line in lines if line.startswith("model.num_layers: cannot be resolved")]
    assert "'nowhere' not found" in unresolved


@pytest.mark.parametrize(
    ("cfg", "line"),
    [
        (
            {"optimizer": ADAMW | {"lr": True}},
            "optimizer.lr=true: expected float (default 0.001), found true or false.",
        ),
        (
            {"optimizer": ADAMW | {"lr": None}},
            "optimizer.lr=null: expected float (default 0.001), found null.",
        ),
        (
            {"trainer": {"_target_": "lightning.pytorch.Trainer", "max_epochs": 1e3}},
            "trainer.max_epochs=1000.0: expected int or null, found a number. Write 1000.",
        ),
        (
            {"trainer": {"_target_": "lightning.pytorch.Trainer", "accelerator": 3}},
            "trainer.accelerator=3: expected str (default 'auto'), found a whole number."
            " To mean the text, quote it: 'trainer.accelerator=\"3\"'.",
        ),
        (
            {"trainer": {"_target_": "lightning.pytorch.Trainer", "precision": "16-mixd"}},
            "trainer.precision=16-mixd: no such choice. Did you mean '16-mixed'?",
        ),
        (
            {"optimizer": {"_target_": "torch.optim.AdmW"}},
            "optimizer._target_=torch.optim.AdmW: no class or function 'AdmW' in torch.optim. Did you mean 'AdamW'?",
        ),
        (
            {"callbacks": {"b": {"_target_": "nowhere.Class"}}},
            "callbacks.b._target_=nowhere.Class: module 'nowhere' cannot be imported (ModuleNotFoundError: No module"
            " named 'nowhere'). Correct the name or that file, or install what it needs.",
        ),
        (
            {"model": {"_target_": "Class"}},
            "model._target_=Class: is not the full name of a public class. Write package.module.Class.",
        ),
        (
            {"target": {"_target_": "ser.targets.Quadrant", "x": 1}},
            "target.x=1: unknown key. ser.targets.Quadrant takes nothing.",
        ),
        (
            {"optimizer": ADAMW | {"lr": float("inf")}},
            "optimizer.lr=inf: is not finite. Give a number.",
        ),
        (
            {"optimizer": ADAMW, "schedule": {"_target_": "ser.training.cosine", "lr": 1}},
            "schedule.lr=1: unknown key. Did you mean 'optimizer.lr'?",
        ),
        (
            {"words": None, "target": {"_target_": "ser.targets.Quadrant", "words": {"path": "a"}}},
            'target.words={"path": "a"}: unknown key. ser.targets.Quadrant takes no words. Leave out words=OPTION.',
        ),
        (
            {"optimizer": ADAMW | {"zzz": 1}},
            "optimizer.zzz=1: unknown key. torch.optim.AdamW takes params, lr, betas, eps, weight_decay, amsgrad,"
            " maximize, foreach, capturable, differentiable, fused.",
        ),
    ],
)
def test_each_problem_says_where_what_and_how(cfg, line):
    assert problems(cfg) == [line]


def test_unknown_keys_at_the_top_are_compared_with_full_keys():
    cfg = {"lr": 1, "modle": "cnn", "optimizer": ADAMW, "model": {"_target_": "ser.models.LSTMEncoder"}}
    assert problems(cfg, root_keys={"optimizer", "model"}) == [
        "lr=1: unknown key. Did you mean 'optimizer.lr'?",
        "modle=cnn: unknown key. Did you mean 'model'?",
    ]


def test_a_constructor_with_open_keywords_takes_any_key():
    logger = {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "x": 1}
    check(OmegaConf.create({"logger": {"own": logger}}))


def test_paths_that_must_exist_are_checked_unless_null(tmp_path):
    (tmp_path / "best.ckpt").touch()
    check(
        OmegaConf.create({"ckpt": str(tmp_path / "best.ckpt"), "resume": None}),
        existing_paths=("ckpt", "resume", "not.there"),
    )
    [line] = problems({"ckpt": str(tmp_path / "bset.ckpt")}, existing_paths=("ckpt",))
    assert line.startswith(f"ckpt={tmp_path}/bset.ckpt: no such file or folder, seen from {Path.cwd()}.")
    assert line.endswith(f"Did you mean '{tmp_path}/best.ckpt'?")


def test_each_path_of_a_list_must_exist(tmp_path):
    (tmp_path / "a").touch()
    [line] = problems({"ckpt": [str(tmp_path / "a"), str(tmp_path / "b")]}, existing_paths=["ckpt"])
    assert line.startswith(f"ckpt={tmp_path}/b: no such file")


def test_a_monitor_must_be_logged():
    logged = ["validation/accuracy", "validation/loss"]
    check_monitor("validation/loss", logged)
    with pytest.raises(
        ConfigError, match=r"callbacks\.best\.monitor=val/acuracy: no such metric.*'validation/accuracy'"
    ):
        check_monitor("val/acuracy", logged, key="callbacks.best.monitor")


# ---- the command line ----


def test_a_run_gets_plain_settings(app):
    done = run(app, "optimizer.lr=0.5", "optimizer.betas=[0.5,0.9]", "trainer.limit_train_batches=0.1")
    assert done.returncode == 0, done.stderr
    # A constructor's parameter needs no + even where the YAML does not list it.
    assert '"optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.5, "betas": [0.5, 0.9]}' in done.stdout
    assert '"limit_train_batches": 0.1' in done.stdout
    assert done.stderr == ""


def test_all_mistakes_of_a_command_line_come_in_one_message(app):
    mistakes = {
        "optimizer.lrr=1": "unknown key. Did you mean 'optimizer.lr'?",
        "lr=1": "unknown key. Did you mean 'optimizer.lr'?",
        "optimizer.lr=abc": "expected float (default 0.001), found a text.",
        "seed=abc": "expected int, found a text.",
        "batching.max_frames=1.5": "expected int (default 16000), found a number.",
        "batching.crop_frame=3": "unknown key. Did you mean 'batching.crop_frames'?",
        "model=cnnn": "no such option. Did you mean 'cnn'? Options: cnn, lstm.",
        "modle=cnn": "unknown key. Did you mean 'mode' or 'model'?",
        "name=a=3": "Hydra's grammar takes it apart. Write 'name=\"a=3\"'.",
        "name=a(b": "Hydra's grammar takes it apart. Write 'name=\"a(b\"'.",
        "oops": "is no setting. Write KEY=VALUE.",
        "=3": "is no setting. Write KEY=VALUE.",
        "--lr=3": "no such flag. Settings are written KEY=VALUE, without dashes.",
        "debug=true": "no such option. Options: fast.",
        "trainer.max_epochs=1,2": "several values make a sweep. Add -m for one run each, or put a list in brackets.",
        "~nothing": "a setting at the top cannot be deleted. Leave it out.",
        "hydra/job_logging=standard": "no such option. Options: default, disabled, none, stdout.",
    }
    done = run(app, *mistakes, "hydra.run.dir=logs/mistaken")
    head, *lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert done.stdout == ""
    assert head == f"{len(mistakes)} problems in the configuration:"
    assert {line.strip() for line in lines} == {f"{typed}: {words}" for typed, words in mistakes.items()}
    assert not (app / "logs" / "mistaken").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-cn", "trian"], "trian.yaml: there is no such config. Did you mean 'train'?"),
        (["-cp", "nowhere"], "nowhere/train.yaml: there is no such config."),
        (["-cd", "nowhere"], "nowhere: there is no such folder."),
        (["hydra.run.dri=x"], "Could not override 'hydra.run.dri'."),
        (["-cn", "predict", "input=a"], "ckpt=???: must be given. Add ckpt=VALUE."),
        (["--cfg", "jobs"], "invalid choice: 'jobs'"),
        (["--cfg", "job", "optimizer.lrr=1"], "optimizer.lrr=1: unknown key. Did you mean 'optimizer.lr'?"),
        (["--cfg", "job", "-m"], "only one of --multirun, --cfg and --info can be given"),
        (
            ["hydra.run.dir=/dev/null/run"],
            "/dev/null/run: cannot be written: not a directory. Choose another folder with hydra.run.dir=FOLDER.",
        ),
        (
            ["hydra.run.dir=/proc/run"],
            "/proc/run: cannot be written: no such file or directory. Choose another",
        ),
        (["resume=nowhere"], "resume=nowhere: no such file or folder"),
        (
            ["-m", "optimizer.lr=interval(1e-4,1e-2)"],
            "an interval has to be searched. Add hydra/sweeper=optuna.",
        ),
        (["~monitor"], "~monitor: a setting at the top cannot be deleted. Leave it out."),
        (["callbacks.bset.monitor=x"], "names no class in `_target_`."),
        (["resume=1"], "'resume=\"1\"': no such file or folder"),
        (["mode=maxx"], "mode=maxx: no such choice. Did you mean 'max'?"),
        (["seed=null"], "seed=null: expected int, found null."),
        (["+lr=1"], "lr=1: unknown key. Did you mean 'optimizer.lr'?"),
        (
            ["batching.max_frames.x=1"],
            'batching.max_frames={"x": 1}: expected int (default 16000), found settings.',
        ),
    ],
)
def test_a_mistake_is_answered_before_anything_starts(app, arguments, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(SystemExit, match="1"):
        runpy.run_path(str(app / "train.py"), run_name="__main__")
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        (13, "train.json: is empty. Export it again."),
        (16, "the run returned nan: training diverged. Lower optimizer.lr"),
    ],
)
def test_a_users_mistake_in_a_run_ends_as_a_message(app, seed, words):
    done = run(app, f"seed={seed}")
    assert done.returncode == 1
    assert done.stderr.startswith(words)
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment"), [(["debug=fast"], {}), ([], {"HYDRA_FULL_ERROR": "1"})]
)
def test_debug_or_the_environment_asks_for_a_traceback(app, arguments, environment):
    done = run(app, "seed=13", *arguments, **environment)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "DataError: train.json: is empty" in done.stderr


def test_a_bug_keeps_its_traceback(app):
    done = run(app, "seed=14")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError: a bug" in done.stderr


@pytest.mark.skipif(signal.getsignal(signal.SIGINT) == signal.SIG_IGN, reason="Ctrl-C is ignored here")
@pytest.mark.parametrize("seed", [15, 17])
def test_an_interrupt_ends_with_one_line_and_130(app, seed):
    done = run(app, f"seed={seed}")
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")


def test_hydras_own_flags_still_work(app):
    assert "lr: 0.5" in run(app, "--cfg", "job", "optimizer.lr=0.5").stdout
    shown = run(app, "--help")
    assert shown.returncode == 0
    assert "model: cnn, lstm" in shown.stdout
    assert "Defaults List" in run(app, "--info", "defaults").stdout
    assert run(app, "--version").stdout.startswith("Hydra 1.")


def test_another_folder_of_configs_can_be_the_start(app, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 3\noptimizer: {_target_: torch.optim.AdamW, lr: 0.25}\n")
    done = run(
        app, "--config-path", str(tmp_path), "--config-name", "config", "seed=4", f"hydra.run.dir={tmp_path}"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"seed": 4, "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.25}' in done.stdout


# ---- paths and streams ----


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("init=a,b", "a,b"),
        ("init=run (1)", "run (1)"),
        ("init=lr=1e-3", "lr=1e-3"),
        ("init=it's", "it's"),
        ("init='a b'", "a b"),
        ("init=[it's,run (1)]", ["it's", "run (1)"]),
        ("output=new,a (1).csv", "new,a (1).csv"),
        ("output=1", "1"),
        ("output=null", None),
        ("cache_dir=0", "0"),
        ("init=~/x", str(Path.home() / "x")),
        ("init=[~/x,~/y]", [str(Path.home() / "x"), str(Path.home() / "y")]),
        ("init=[c,d]", ["c", "d"]),
        ("lr=0.5", 0.5),
    ],
)
def test_a_path_is_taken_as_it_is(typed, read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a,b", "run (1)", "lr=1e-3", "it's"):
        (tmp_path / name).touch()
    word = literal_path(typed, is_sweep=False)
    assert OverridesParser.create().parse_override(word).value() == read


def test_several_paths_without_brackets_stay_a_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert literal_path("ckpt=a,b", is_sweep=False) == "ckpt=a,b"


@pytest.mark.parametrize("name", ["lr=1e-3", "a,b", "run (1)", "it's", "[x]", "~", "$x", "a b"])
def test_resume_takes_any_name_of_a_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.yaml").write_text("seed: 0\n")
    for typed in {str(tmp_path / name), hydra_value(str(tmp_path / name))}:
        rewritten = resume_arguments([f"resume={typed}"])
        assert resume_arguments(rewritten) == rewritten  # of which further processes of a run are started
        _, folder, *_, resume, run_dir = rewritten
        assert folder == str(tmp_path / name)
        for word in (resume, run_dir):
            assert OverridesParser.create().parse_override(word).value() == str(tmp_path / name)


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_resume_may_have_hydras_prefix(prefix, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    assert f"resume={tmp_path}" in resume_arguments([f"{prefix}resume={tmp_path}"])


@pytest.mark.parametrize(
    "word",
    [
        *("-m", "--multirun", "hydra.mode=MULTIRUN", "hydra.run.dir=elsewhere", "hydra.sweep.dir=elsewhere"),
        *("trainer=gpu", "split=random", "debug=fast", "++model=lstm"),
    ],
)
def test_what_a_resumed_run_has_chosen_is_refused(word, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(ConfigError, match=rf"{re.escape(word)}: .* Leave it out; .*trainer\.accelerator=gpu"):
        resume_arguments([f"resume={tmp_path}", word])


@pytest.mark.parametrize(
    "word", ["trainer.accelerator=gpu", "logger=null", "test=false", "data.root=elsewhere"]
)
def test_what_a_resumed_run_may_change_is_taken(word, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    assert word in resume_arguments([f"resume={tmp_path}", word])


def test_closed_standard_streams_end_no_run(app):
    command = f"exec {sys.executable} train.py -cn light <&- >&- 2>&-"
    done = subprocess.run(["/bin/sh", "-c", command], cwd=app, env={"PYTHONPATH": str(ROOT)}, timeout=60)
    assert done.returncode == 0


def test_a_reader_that_leaves_ends_a_run_without_traceback(app):
    command = f"exec {sys.executable} -u train.py -cn light"
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=app,
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        child.stdout.close()
        assert b"Traceback" not in child.stderr.read()
    assert child.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EFBIG])
def test_what_the_system_refuses_is_adescribe_error(number):
    assert re.fullmatch(
        r"runs/x: [a-z ]+\. [A-Z].*\.", describe_error(OSError(number, os.strerror(number), "runs/x"))
    )
    assert re.fullmatch(
        r"A file of this run: [a-z ]+\. [A-Z].*\.", describe_error(OSError(number, os.strerror(number)))
    )


WRONG = {
    "predict": [
        "output=[]",
        "ckpt=[]",
        "ckpt={a:1}",
        "input=",
        "cache_dir=[0]",
        "window_s=/",
        "hop_s=true",
        "on_error=x",
    ],
    "export": ["ckpt=[]", "output=null", "overwrite=1"],
    "serab": ["jobs=1.5", "select=x", "folders=1", "corpora=1", "grid=null", "device=0"],
    "train": [
        "seed=1.5",
        "compile=1",
        "ensemble=x",
        "init=[a]",
        "monitor=1",
        "~compile",
        "mode=1",
        "test=null",
    ],
}


@pytest.mark.parametrize(("script", "word"), [(script, word) for script in WRONG for word in WRONG[script]])
def test_a_setting_of_another_type_is_named(script, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["script.py"])
    given = {
        "predict": ["ckpt=.", "input=."],
        "export": ["ckpt=."],
        "serab": ["corpora=[a]", "corpora_root=."],
    }
    words = [each for each in given.get(script, []) if each.partition("=")[0] != word.partition("=")[0]]
    existing = ["ckpt", "input"] if script == "predict" else ["ckpt"] if script == "export" else []
    key = word.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"problems? in the configuration:(\n.*)*\n  {key}(=\S*)?: "):
        read_command([*words, word], App(ROOT / "conf", script, existing, SCHEMAS[script]))


@pytest.mark.parametrize("script", SCHEMAS)
def test_every_setting_at_the_top_of_a_config_is_typed(script):
    written = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / f"{script}.yaml"), resolve=False)
    nodes = {"defaults", "data", "frontend", "optimizer", "head"}  # what they hold has a schema of its own
    assert written.keys() - nodes <= signature(SCHEMAS[script])[0].keys()


def test_lightnings_exit_on_sigterm_has_the_code_of_the_signal():
    class SIGTERMException(SystemExit):
        pass

    def stopped():
        raise SIGTERMException

    assert exit_code_of(stopped) == 128 + signal.SIGTERM
