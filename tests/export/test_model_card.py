"""Model cards: they describe the checkpoint that was exported, and each score with its interval and floor."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

import ser
from ser.errors import DataError
from ser.export.bundle import CARD, Bundle
from ser.export.model_card import model_card
from ser.export.run_facts import RunFacts, is_best, read_facts
from ser.html_report.answers import read_answers


def test_the_card_is_read_by_the_hub_and_may_be_edited(folder):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(folder / CARD)
    (result,) = [each for each in card.data.eval_results if each.metric_type == "accuracy"]
    assert (result.metric_value, result.dataset_split) == (0.75, "test")
    assert card.data.pipeline_tag == "audio-classification"
    for text in (
        "| accuracy | 75.0% | ",
        "## Limits\n\nMuch.",
        f"`{'ab' * 8}`",
        "| 50.0% |",
        "A floor is the score of always answering the most frequent class",
    ):
        assert text in card.text
    (folder / CARD).write_text("my own words")
    assert ser.load(folder).labels


def scores_of(text: str) -> dict[str, list[str]]:
    """Score, interval and floor of each metric in the table of a card."""
    rows = text.partition("## Scores\n")[2].partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("|")]
    return {name: own for name, *own in cells}


def write_answers(folder: Path, header: str, *rows: str) -> None:
    """Predictions of the test split, of speakers a, b and c."""
    cells = [f"{place},{'abc'[place % 3]},{row}" for place, row in enumerate(rows)]
    (folder / "predictions_test.csv").write_text("\n".join([f"id,speaker,{header}", *cells]) + "\n")


def card_of(written: tuple[Path, Bundle], run: Path, metrics: dict[str, float], target: str) -> str:
    """The card of a run with these metrics of its test split."""
    (run / "config.yaml").write_text(yaml.safe_dump({"data": {}, "target": {"_target_": target}}))
    (run / "metrics.json").write_text(json.dumps({f"test/{name}": value for name, value in metrics.items()}))
    config = json.loads((written[0] / "config.json").read_text())
    return model_card(config, read_facts(run / "best.ckpt"), {})


def test_the_card_of_several_tasks_has_scores_intervals_and_floors_of_each(written, tmp_path):
    header = "label_emotion,label_arousal,emotion,p_emotion_x,p_emotion_y,prediction_arousal"
    header = header.replace(",emotion,", ",prediction_emotion,")
    rows = [f"{'xxy'[i % 3]},{i / 9},{'xyy'[i % 3]},{i % 2},{1 - i % 2},{(i * 7 % 10) / 9}" for i in range(9)]
    write_answers(tmp_path, header, *rows)
    scores = {"emotion/uar": 0.625, "emotion/accuracy": 0.5, "emotion/recall_calm": 0.1}
    scores |= {"emotion/majority_floor": 0.25, "vad/ccc": 0.5, "vad/mse": 0.25, "vad/mse_floor": 0.5}
    scores |= {"vad/ccc_arousal": 0.5, "vad/mse_arousal": 0.25, "vad/mse_floor_arousal": 0.75}
    text = card_of(written, tmp_path, scores, "ser.targets.MultiTask")
    (entry,) = yaml.safe_load(text.split("---")[1])["model-index"][0]["results"]
    own = {name: value for name, value in scores.items() if "floor" not in name and "recall" not in name}
    assert {each["name"]: each["value"] for each in entry["metrics"]} == own
    found, answers = scores_of(text), read_answers(tmp_path / "predictions_test.csv")
    assert found["emotion/accuracy"][::2] == ["50.0%", "25.0%"]
    assert found["emotion/uar"][::2] == ["62.5%", ""]
    low, high = answers.classes[0].intervals()["uar"]
    assert found["emotion/uar"][1] == f"{low:.1%} to {high:.1%}"
    assert found["vad/mse"] == ["0.250", "", "0.500"]
    assert found["vad/mse_arousal"] == ["0.250", "", "0.750"]
    low, high = answers.values[0].interval()
    assert found["vad/ccc"] == found["vad/ccc_arousal"] == ["0.500", f"{low:.3f} to {high:.3f}", ""]


def test_the_card_of_a_model_of_frames_has_the_interval_at_the_score_of_utterances(written, tmp_path):
    rows = ["x,x,1,0", "x,y,0,1", "y,y,0,1", "x,x,1,0", "y,x,1,0", "y,y,0,1"]
    write_answers(tmp_path, "label,prediction,p_x,p_y", *rows)
    scores = {"accuracy": 0.25, "file_accuracy": 4 / 6, "file_uar": 0.625, "majority_floor": 0.5}
    text = card_of(written, tmp_path, scores, "ser.targets.FrameClasses")
    found = scores_of(text)
    assert "Scores are those of frames; file_accuracy" in text
    assert found["accuracy"] == ["25.0%", "", "50.0%"]
    low, high = (float(end.rstrip("%")) for end in found["file_accuracy"][1].split(" to "))
    assert low < 100 * 4 / 6 < high
    with (tmp_path / "predictions_test.csv").open("a") as file:
        file.write("6,a,x,,,\n")  # without speech: wrong in file_accuracy
    found = scores_of(card_of(written, tmp_path, scores, "ser.targets.FrameClasses"))
    assert found["file_accuracy"] == ["66.7%", "", ""]
    found = scores_of(card_of(written, tmp_path, scores, "ser.targets.Classes"))
    assert "%" in found["accuracy"][1]


def test_the_card_shows_as_shares_those_metrics_alone_that_are(written):
    config = json.loads((written[0] / "config.json").read_text())
    names = ("macro_f1", "file_uar", "ccc_f1", "mae_accuracy", "ccc_floor", "vad/ccc_f1")
    found = scores_of(model_card(config, RunFacts({"data": {}}, {f"test/{name}": 0.5 for name in names}), {}))
    shown = {name: cells[0] for name, cells in found.items() if name in names}
    assert shown == {name: "50.0%" if name in names[:2] else "0.500" for name in names}


@pytest.mark.parametrize("row", ["x,x,zero,0", "x,x"])
def test_damaged_predictions_are_named(row, written, tmp_path):
    write_answers(tmp_path, "label,prediction,p_x,p_y", row)
    with pytest.raises(DataError, match=r"predictions_test.csv: is damaged .*Copy it again"):
        card_of(written, tmp_path, {"accuracy": 0.5}, "ser.targets.Classes")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"label": {"a": "anger", "b": "calm", "c": "joy"}}, "the probabilities of `anger`, `calm`, `joy`."),
        (
            {"emotion": {"a": "anger", "b": "calm"}},
            "the probabilities of `emotion`: `anger`, `calm`; the values `c`.",
        ),
        ({}, "the values `a`, `b`, `c`."),
    ],
)
def test_the_card_names_classes_and_values(labels, said, written):
    config = json.loads((written[0] / "config.json").read_text()) | {"labels": labels, "answers": [*"abc"]}
    assert f"A model of speech that answers with {said}" in model_card(config, RunFacts(), {})


def test_the_card_of_a_run_without_scores_says_so(written):
    config = json.loads((written[0] / "config.json").read_text())
    assert "The run was not scored" in model_card(config, RunFacts({"data": {}}), {})
    assert "The checkpoint is not in the folder of its run" in model_card(config, RunFacts(), {})


def test_the_card_of_another_checkpoint_has_no_scores_of_the_best(source, written):
    config = json.loads((written[0] / "config.json").read_text())
    assert [is_best(source.with_name(f"{name}.ckpt")) for name in ("best", "last")] == [True, False]
    facts = read_facts(source.with_name("last.ckpt"))
    text = model_card(config, facts, {})
    assert (
        "This model is last.ckpt, which the run did not score: the scores of the run are those of best"
        in text
    )
    assert not [word for word in ("75.0%", "95% interval", "Much.") if word in text]
    assert "model-index" not in yaml.safe_load(text.split("---")[1])
    assert f"`{'ab' * 8}`" in text  # the data are the same


def test_the_card_names_the_licence_of_a_published_corpus(of_recordings):
    text = (of_recordings[1] / CARD).read_text()
    assert "its licence: CC BY-NC-SA 4.0" in text
    assert yaml.safe_load(text.split("---")[1])["language"] == ["en"]


def test_facts_are_empty_without_a_run_and_damage_is_named(source, tmp_path):
    shutil.copy(source, tmp_path / "best.ckpt")
    assert read_facts(tmp_path / "best.ckpt").metrics == {}
    (tmp_path / "config.yaml").write_text("data: {}")
    (tmp_path / "metrics.json").write_text("[")
    with pytest.raises(DataError, match="a file of this run is damaged"):
        read_facts(tmp_path / "best.ckpt")
