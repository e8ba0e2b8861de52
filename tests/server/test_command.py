"""`ser serve`: what it refuses before it loads a model, and how it begins and ends."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

import ser
from ser.errors import ConfigError
from ser.scripts.serve import serve
from ser.server.answers import ServedModel
from ser.server.limits import Limits
from ser.server.plane import plane_of
from ser.server.run import describe_address, open_socket
from ser.targets import Classes, MultiTask, Quadrant, Regression
from tests.commands import environment, run, warm_python
from tests.conftest import REPOSITORY
from tests.inference.test_api import write_run


def test_a_port_in_use_is_named(runs: dict[str, Path], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run("ser", "serve", f"ckpt={runs['frames']}", f"port={port}", cwd=tmp_path, code=1)
    assert done.stderr.startswith(f"port={port}: another program listens there on 127.0.0.1.")
    assert "port=0" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hop_s=3"], "hop_s=3: is more than window_s=2"),
        (["max_mb=0"], "max_mb=0: expected more than 0"),
        (["port=70000"], "port=70000: expected 0 to 65535"),
        (["host=a..b"], "host=a..b: is no address of this machine"),
        (["host=192.0.2.1"], "host=192.0.2.1: is no address of this machine"),
        (["ckpt=none"], "ckpt=none: "),
    ],
)
def test_bad_settings_are_refused(
    words: list[str],
    message: str,
    runs: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["ser", f"ckpt={runs['frames']}", *words])
    with pytest.raises(SystemExit) as ended:
        serve()
    assert ended.value.code == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("key", ["head", "frontend"])
@pytest.mark.parametrize("group", ["corpus", "speaker"])
def test_a_model_that_needs_other_recordings_is_refused(key: str, group: str, tmp_path: Path) -> None:
    part = {"_target_": f"ser.models.{key.title()}", "normalize": group}
    predictor = ser.load(write_run(tmp_path / "RUN", **{key: part}))
    with pytest.raises(
        ConfigError, match=rf"{key}\.normalize={group}, .* one at a time\. Train with {key}\."
    ):
        ServedModel(predictor, Limits(), window_s=2, hop_s=1)


def test_a_name_that_is_no_host_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no address of this machine"):
        open_socket("no.such.host.invalid", 0)


def test_an_address_that_others_reach_comes_with_a_warning() -> None:
    with open_socket("0.0.0.0", 0) as listener:
        warning, address = describe_address(listener, "0.0.0.0")
    assert "without a password" in warning
    assert address.startswith("Open http://127.0.0.1:")
    with open_socket("localhost", 0) as listener:
        assert len(describe_address(listener, "localhost")) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_server_answers_until_it_is_ended(
    number: int, code: int, runs: dict[str, Path], tmp_path: Path
) -> None:
    words = [warm_python(), "-m", "ser", "serve", f"ckpt={runs['frames']}", "port=0"]
    variables = environment(tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        words, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "A stream gets a decision for each frame.\n"
        address = server.stdout.readline().split()[1]
        with urlopen(f"{address}/model") as answer:
            assert json.load(answer)["names"] == ["en", "hi", "cmn"]
        server.send_signal(number)
        _, errors = server.communicate(timeout=60)
        assert (server.returncode, "Traceback" in errors) == (code, False), errors
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}  # nothing is logged


def test_the_plane_of_bits_has_their_corners() -> None:
    plane = plane_of(Quadrant(), Quadrant.class_names)
    assert plane is not None
    assert plane.locate([0, 1, 0, 0]) == [-1, 1]  # anger: negative, active
    assert plane.locate([0.5, 0, 0.5, 0]) == [0, -1]


def test_the_plane_of_emotions_has_their_usual_places() -> None:
    plane = plane_of(Classes(["anger", "neutral"], "emotion"), ["anger", "neutral"])
    assert plane is not None
    assert plane.locate([1, 0]) == [-0.8, 0.9]
    assert plane.locate([0.5, 0.5]) == [-0.4, 0.45]
    assert plane.locate([float("nan")] * 2) is None
    for names in (["anger", "hunger"], ["anger", "contempt"]):
        assert plane_of(Classes(names, "emotion"), names) is None


def test_the_plane_of_values_is_in_deviations_of_the_labels() -> None:
    target = Regression(["arousal", "liking", "valence"], mean=[4, 0, 3], std=[1, 1, 0.5])
    plane = plane_of(target, target.label_names)
    assert plane is not None
    assert plane.locate([4, 9, 3]) == [0, 0]
    assert plane.locate([5, 9, 3.5]) == [0.5, 0.5]
    assert plane.locate([50, 9, -50]) == [-1, 1]
    assert plane_of(Regression(["arousal"]), ["arousal"]) is None


def test_the_plane_of_several_tasks_is_that_of_their_values() -> None:
    emotion = Classes(["anger", "neutral"], "emotion")
    affect = Regression(["arousal", "valence"], mean=[4, 3], std=[1, 1])
    names = ["emotion_anger", "emotion_neutral", "arousal", "valence"]
    plane = plane_of(MultiTask({"emotion": {"target": emotion}, "affect": {"target": affect}}), names)
    assert plane is not None
    assert plane.locate([1, 0, 4, 4]) == [0.5, 0]
    liking = Regression(["liking"], mean=[0], std=[1])
    plane = plane_of(
        MultiTask({"emotion": {"target": emotion}, "liking": {"target": liking}}), [*names[:2], "liking"]
    )
    assert plane is not None
    assert plane.locate([1, 0, 4]) == [-0.8, 0.9]
