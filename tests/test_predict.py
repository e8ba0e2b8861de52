"""The prediction script, from the outside."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser.checkpoints import checkpoint
from ser.corpora.challenge_reader import read_challenge
from ser.data.store import Store
from ser.errors import ConfigError, DataError
from ser.inference import predict
from ser.scripts.validate import find_reasons
from ser.targets.classification import Classes
from ser.targets.quadrants import Quadrant
from tests.commands import TINY, environment, run
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def best(challenge: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The best checkpoint of a short training."""
    cwd = tmp_path_factory.mktemp("trained")
    run("train.py", "data=challenge", f"data.root={challenge}", *TINY, "hydra.run.dir=run", cwd=cwd)
    return cwd / "run" / "checkpoints" / "best.ckpt"


@pytest.mark.parametrize("file", ["ser_test_1.json", "ser_test_2.json"])
def test_every_id_is_answered_once_in_order_and_type(
    best: Path, challenge: Path, file: str, tmp_path: Path
) -> None:
    run("predict.py", f"ckpt={best}", f"input={challenge / file}", "output=pred.json", cwd=tmp_path)
    asked = json.loads((challenge / file).read_text())
    answered = json.loads((tmp_path / "pred.json").read_text())
    assert type(answered) is type(asked)
    if isinstance(asked, list):
        assert [record["id"] for record in answered] == [record["id"] for record in asked]
        answers = answered
    else:
        assert list(answered) == list(asked)
        answers = list(answered.values())
    for answer in answers:
        bits = {key: value for key, value in answer.items() if key != "id"}
        assert set(bits) == {"valence", "activation"}
        assert all(type(bit) is int and bit in (0, 1) for bit in bits.values())
    assert find_reasons(tmp_path / "pred.json", challenge / file) == []


def test_probabilities_sum_to_one_and_agree_with_the_answer(
    best: Path, challenge: Path, tmp_path: Path
) -> None:
    source = challenge / "ser_test_1.json"
    run("predict.py", f"ckpt={best}", f"input={source}", "output=pred.json", "scores=true", cwd=tmp_path)
    answers = json.loads((tmp_path / "pred.json").read_text())
    names = ("sadness", "anger", "pleasure", "joy")
    for key, row in json.loads((tmp_path / "pred_scores.json").read_text()).items():
        assert tuple(row["scores"]) == names
        assert sum(row["scores"].values()) == pytest.approx(1, abs=1e-5)
        top = names.index(max(row["scores"], key=row["scores"].__getitem__))
        assert (answers[key]["valence"], answers[key]["activation"]) == divmod(top, 2)


def test_scores_of_a_labelled_file_are_those_of_training(best: Path, challenge: Path, tmp_path: Path) -> None:
    printed = run("predict.py", f"ckpt={best}", f"input={challenge / 'dev.json'}", cwd=tmp_path).stdout
    assert (tmp_path / "predictions_dev.json").is_file()
    accuracy = json.loads((best.parents[1] / "metrics.json").read_text())["validation/accuracy"]
    assert f"{accuracy:.1%}" in next(line for line in printed.splitlines() if line.startswith("accuracy"))


def test_predictions_do_not_depend_on_the_batch(best: Path, challenge: Path, tmp_path: Path) -> None:
    store = read_challenge(challenge / "dev.json", cache_dir=tmp_path)
    models = [checkpoint.load(best)]
    alone = predict.class_scores(models, store, device=torch.device("cpu"), max_utterances=1)
    together = predict.class_scores(models, store, device=torch.device("cpu"), max_utterances=64)
    assert torch.allclose(alone, together, atol=1e-5)


def test_several_models_are_averaged(best: Path, challenge: Path, tmp_path: Path) -> None:
    store = read_challenge(challenge / "dev.json", cache_dir=tmp_path)
    device = torch.device("cpu")
    last = best.with_name("last.ckpt")
    one, other = (
        predict.class_scores([checkpoint.load(path)], store, device=device) for path in (best, last)
    )
    both = predict.class_scores([checkpoint.load(best), checkpoint.load(last)], store, device=device)
    assert torch.allclose(both, (one + other) / 2, atol=1e-6)
    run("predict.py", f"ckpt=[{best},{last}]", f"input={challenge / 'dev.json'}", cwd=tmp_path)


def test_an_output_that_exists_is_kept_unless_told(best: Path, challenge: Path, tmp_path: Path) -> None:
    arguments = ("predict.py", f"ckpt={best}", f"input={challenge / 'dev.json'}", "output=pred.json")
    (tmp_path / "pred.json").write_text("mine")
    result = run(*arguments, cwd=tmp_path, code=1)
    assert "overwrite=true" in result.stderr
    assert (tmp_path / "pred.json").read_text() == "mine"
    run(*arguments, "overwrite=true", cwd=tmp_path)
    assert (tmp_path / "pred.json").read_text() != "mine"


def test_features_of_another_width_are_refused(best: Path, tmp_path: Path) -> None:
    (tmp_path / "wide.json").write_text(json.dumps({"0": {"features": [[0.5] * 40] * 30}}))
    result = run("predict.py", f"ckpt={best}", "input=wide.json", cwd=tmp_path, code=1)
    assert "40 values in a frame" in result.stderr
    assert "trained on 26" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "predictions_wide.json").exists()


def test_what_must_be_given_and_does_not_exist_is_named_at_once(tmp_path: Path) -> None:
    result = run("predict.py", "input=nowhere.json", cwd=tmp_path, code=1)
    assert "ckpt=???" in result.stderr
    assert "input=nowhere.json: no such file" in result.stderr


@pytest.mark.parametrize("name", ["nonsense", "meta", "hpu"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"device={name}"):
        predict.choose_device(name)


def labelled(labels: list[str], field: str) -> Store:
    ends = np.arange(len(labels) + 1)
    table = np.array(labels)[:, None]
    audio = np.zeros((len(labels), 1), dtype=np.float32)
    return Store([*map(str, ends[1:])], audio, ends, table, (field,), layout="object", fingerprint="")


def test_scores_are_of_known_labels_and_decisions_and_the_others_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = Classes(["anger", "joy"], "emotion")
    scores = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [float("nan"), float("nan")]])
    predict.print_scores(scores, labelled(["anger", "joy", "boredom", "joy"], "emotion"), target)
    told = capsys.readouterr().out
    assert "2 of 4 utterances are scored: the others have no decision, or a label" in told
    assert "none of anger, joy (1 'boredom')" in told
    assert "accuracy             50.0%" in told
    predict.print_scores(scores[:2], labelled(["anger", "anger"], "emotion"), target)
    assert "are scored" not in capsys.readouterr().out


def test_utterances_without_a_decision_are_not_written_as_the_first_class() -> None:
    scores = torch.tensor([[0.5, 0.5], [torch.nan, torch.nan]])
    with pytest.raises(DataError, match=r"1 of 2 utterances hold no speech.*first 'b'"):
        predict.require_decisions(["a", "b"], scores, "x.json")
    predict.require_decisions(["a"], scores[:1], "x.json")


def test_what_no_model_was_asked_for_is_not_scored(capsys: pytest.CaptureFixture[str]) -> None:
    target, scores = Classes(["anger", "joy"], "emotion"), torch.tensor([[0.9, 0.1]])
    predict.print_scores(scores, labelled(["boredom"], "emotion"), target)
    assert "0 of 1" in (told := capsys.readouterr().out)
    assert "nan" not in told
    predict.print_scores(scores, labelled(["1"], "valence"), target)
    assert not capsys.readouterr().out


def answers(scores: list[list[float]], target: Any) -> list[str]:
    ids = [f"{index}.wav" for index in range(len(scores))]
    return [*predict.describe_answers(ids, torch.tensor(scores), target, Path("out.csv"))]


def test_a_single_answer_is_printed_with_its_probability() -> None:
    target = Classes(class_names=("anger", "joy"), field="label")
    assert answers([[0.125, 0.875]], target) == ["0.wav: joy 87.5%", "1 utterance: out.csv"]


def test_bits_are_printed_beside_their_class() -> None:
    assert answers([[0.1, 0.6, 0.2, 0.1]], Quadrant())[0] == "0.wav: anger 60.0%, valence 0, activation 1"


def test_a_recording_without_speech_has_no_answer() -> None:
    target = Classes(class_names=("anger", "joy"), field="label")
    lines = answers([[float("nan")] * 2, [0.9, 0.1]], target)
    assert lines == ["0.wav: no speech, so no decision", "1.wav: anger 90.0%", "2 utterances: out.csv"]


def test_many_answers_are_counted_by_class() -> None:
    target = Classes(class_names=("anger", "joy"), field="label")
    scores = [[0.9, 0.1]] * 3 + [[0.2, 0.8]] * 7 + [[float("nan")] * 2]
    assert answers(scores, target) == ["joy 7, anger 3, no answer 1", "11 utterances: out.csv"]


def test_a_name_that_is_no_utf8_can_be_printed(tmp_path: Path) -> None:
    code = "import predict; predict.predict(); print('\\udce9')"
    strict = environment(tmp_path) | {"PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, "--cfg", "job", "ckpt=.", "input=."]
    result = subprocess.run(command, cwd=tmp_path, env=strict, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.endswith(b"\\udce9\n")
