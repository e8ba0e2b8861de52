"""The command `ser matrix`: what its words become before Hydra, and what is refused."""

import csv
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ser.config.command_line import App
from ser.config.settings import Train
from ser.errors import ConfigError
from ser.evaluation.test_set_scores import check_test_sets
from ser.evaluation.test_sets import read_test_sets
from ser.scripts.matrix import combinations, planned_trainings, read_settings, rewrite
from ser.targets import Quadrant
from tests.commands import TINY, run
from tests.conftest import REPOSITORY
from tests.fits import composed

APP = App(REPOSITORY / "conf", "train", schema=Train)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ravdess", "emodb", "mine", "emovo", "A", "B"):
        (tmp_path / name).mkdir()
    for name in ("A/test.csv", "B/test.csv", "A/own.csv"):
        (tmp_path / name).touch()
    (tmp_path / "own.csv").touch()
    return tmp_path


def expanded(*words: str) -> list[str]:
    return rewrite([*words], APP)


@pytest.mark.usefixtures("root")
def test_corpora_become_a_sweep_over_trainings_and_test_sets() -> None:
    assert expanded("corpora=[ravdess:ravdess,emodb:emodb]", "model=lstm") == [
        *("data=mix", "experiment_name=matrix", "label_map=quadrant", "target=quadrant"),
        "trainer.max_epochs=20",
        *("data.folders.ravdess=ravdess", "data.folders.emodb=emodb", "model=lstm"),
        "data.corpora=[ravdess],[emodb],[ravdess,emodb]",
        *('test_sets=["ravdess:ravdess","emodb:emodb"]', "-m"),
    ]


def test_corpora_of_a_root_are_those_of_its_subfolders(root: Path) -> None:
    for key in ("corpora_root", "data.corpora_root"):
        words = expanded("corpora=[ravdess,emodb]", f"{key}={root}")
        assert f"data.folders.emodb={root / 'emodb'}" in words


@pytest.mark.usefixtures("root")
def test_own_folders_and_tables_get_names_and_readers() -> None:
    words = expanded("corpora=[folder:mine,own.csv]", "label_map=null")
    assert {"data.settings.mine={data:folder}", "data.settings.own={data:manifest}"} <= {*words}
    assert "data.folders.own=own.csv" in words
    assert not {"label_map=quadrant", "target=quadrant"} & {*words}
    described = expanded("corpora=[mine:mine,emodb:emodb]", "data.settings.mine={data:folder}")
    assert "data.corpora=[mine],[emodb],[mine,emodb]" in described


@pytest.mark.usefixtures("root")
def test_tables_named_like_splits_or_like_each_other_get_the_names_of_their_folders() -> None:
    words = expanded("corpora=[A/test.csv,B/test.csv,own.csv]", "test_sets=[A/own.csv]")
    assert "data.corpora=[A_test],[B_test],[own],[A_test,B_test,own]" in words
    assert {"data.settings.B_test={data:manifest}", "data.folders.B_test=B/test.csv"} <= {*words}


@pytest.mark.usefixtures("root")
def test_a_protocol_of_a_corpus_is_none_of_its_test_set(recordings: Path) -> None:
    words = expanded(
        *(f"corpora=[ravdess:{recordings},emodb:emodb]", "split=published", "data.split.fold=0"),
        "+data.settings.ravdess.protocol=serab",
    )
    words = [word for word in words if word != "-m" and not word.startswith("data.corpora=")]
    settings = Train.of(
        composed(*(word.replace("data.folders", "+data.folders") for word in words), "data.corpora=[emodb]")
    )
    assert settings.data["settings"] == {"ravdess": {"protocol": "serab"}}
    given = [text for text in settings.test_sets if text.startswith("ravdess")]
    sets = read_test_sets(given, settings.data, settings.test_settings or {})
    assert check_test_sets(sets, Quadrant(), {}, {}) == [
        "Test set ravdess: 48 of 48 utterances can be scored."
    ]


@pytest.mark.usefixtures("root")
def test_seeds_and_further_test_sets_are_added() -> None:
    words = expanded("corpora=[ravdess:ravdess,emodb:emodb]", "seeds=2", "test_sets=[own.csv]")
    assert 'test_sets=["ravdess:ravdess","emodb:emodb",own.csv]' in words
    assert (words.count("-m"), "seed=0,1" in words) == (1, True)
    words = expanded("corpora=[ravdess:ravdess,emodb:emodb]", "test_sets=emovo:emovo")
    assert 'test_sets=["ravdess:ravdess","emodb:emodb","emovo:emovo"]' in words


def test_leaving_one_out_needs_three_corpora() -> None:
    assert combinations(["a", "b", "c"], leave_out=True)[3:] == [
        ["a", "b", "c"],
        ["b", "c"],
        ["a", "c"],
        ["a", "b"],
    ]
    assert combinations(["a", "b"], leave_out=True) == [["a"], ["b"], ["a", "b"]]


def test_a_job_of_the_sweep_keeps_its_arguments() -> None:
    words = ["--config-path", "FOLDER", "--config-name", "job", "hydra.run.dir=FOLDER"]
    assert expanded(*words) == words


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "corpora: a matrix needs two or more corpora"),
        (["corpora=[ravdess:ravdess]"], "corpora: a matrix needs two or more corpora"),
        (["corpora=[ravdes:ravdess,emodb:emodb]"], "no corpus 'ravdes'. Did you mean 'ravdess'?"),
        (["corpora=[ravdess:gone,emodb:emodb]"], "corpora: gone is not there"),
        (["corpora=[ravdess:ravdess,ravdess:emodb]"], "corpora: two are called 'ravdess'"),
        (["corpora=[folder:mine,folder:mine]"], "corpora: mine is given twice. Leave one out."),
        (
            ["corpora=[test:mine,emodb:emodb]", "data.settings.test={data:folder}"],
            "corpora: 'test' is the name of a split. Call it otherwise, such as OTHER:DIR, with ",
        ),
        (["corpora=[ravdess:ravdess,emodb:emodb]", "test_sets=[gone.csv]"], "gone.csv is not there"),
        (["corpora=[ravdess:ravdess,emodb:emodb]", "test_sets=[emodb:emodb]"], "are the same corpus"),
        (
            ["corpora=[ravdess:ravdess,emodb:emodb]", "test_settings.x.label=y"],
            "test_settings.x: test_sets names",
        ),
        (
            ["corpora=[ravdess:ravdess,emodb:emodb]", "test_settings.emodb=map.yaml"],
            "test_settings.emodb=map.yaml: expected settings of emodb, such as test_settings.emodb.label_map=FILE",
        ),
        (
            ["corpora=[ravdess:ravdess,emodb:emodb]", "test_settings.emodb=null"],
            "expected settings of emodb",
        ),
        (
            ["corpora=[ravdess:ravdess,emodb:emodb]", "data.settings.emodb=3"],
            "data.settings.emodb=3: expected settings of emodb, such as data.settings.emodb.label_map=FILE",
        ),
        (
            ["corpora=[ravdess:ravdess,emodb:emodb]", "test_settings=3"],
            "test_settings=3: expected settings by name",
        ),
        (
            ["corpora=[ravdess:ravdess,emodb:emodb]", "test_settings={emodb:{labl:x}}"],
            "test_settings.emodb.labl: unknown key. Did you mean 'label'",
        ),
        (
            ["corpora=[ravdess:ravdess,emodb:emodb]", "data.settings=0"],
            "data.settings=0: expected settings by name",
        ),
        (
            ["corpora=[mine:mine,emodb:emodb]", "data.settings.mine.label=x"],
            "corpora: there is no corpus 'mine'",
        ),
        (["corpora=[ravdess:ravdess,emodb:emodb]", "leave_out=true"], "a single one is left"),
        (["corpora=[ravdess:ravdess,emodb:emodb]", "leave_out=maybe"], "is neither true nor false"),
        (["corpora=[ravdess:ravdess,emodb:emodb]", "test_sets=[a.csv],[b.csv]"], "which a matrix cannot do"),
        (["corpora=[ravdess:ravdess,emodb:emodb]", "data=demo"], "data=demo: a matrix reads several"),
        (["corpora=[ravdess:ravdess,emodb:emodb]", "resume=RUN"], "resume=RUN: goes on with one run"),
        (["corpora=[ravdess:ravdess,emodb:emodb]", "data.corpora=[a]"], "corpora=[...] sets this"),
    ],
)
def test_words_that_make_no_matrix_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expanded(*words)
    assert message in str(caught.value)


@pytest.mark.usefixtures("root")
def test_settings_of_single_corpora_may_be_typed_in_every_way() -> None:
    words = [
        "data.settings={mine:{data:folder}}",
        "test_settings.emodb.label_map.anger=anger",
        "test_settings={mine:{label:x}}",
    ]
    assert {*words, "data.corpora=[mine],[emodb],[mine,emodb]"} <= {
        *expanded("corpora=[mine:mine,emodb:emodb]", *words)
    }
    assert read_settings("test_settings", [*words, "+test_settings.mine.speaker=s", "test_set=x"]) == {
        "emodb": {"label_map": {"anger": "anger"}},
        "mine": {"label": "x", "speaker": "s"},
    }
    assert read_settings("data.settings", ["data.settings.emodb=null"]) == {"emodb": {}}
    assert read_settings("test_settings", ["test_settings=null"]) == {}


def test_the_trainings_of_a_sweep_are_counted_by_their_corpora(tmp_path: Path) -> None:
    words = [
        "++data=mix",
        "data.corpora=[a],[b],[a,b]",
        "seed=0,1",
        "test_sets=[a:A,b:B]",
        "optimizer.lr=0.1",
    ]
    OmegaConf.save({"hydra": {"overrides": {"task": words}}}, tmp_path / "multirun.yaml")
    assert planned_trainings(tmp_path) == {("a",): 2, ("b",): 2, ("a", "b"): 2}


def test_a_matrix_is_trained_and_continued(recordings: Path, tmp_path: Path) -> None:
    shutil.copytree(recordings, tmp_path / "mine")
    words = [f"corpora=[ravdess:{recordings},folder:mine]", "split=random", *TINY, "trainer.max_epochs=1"]
    words.append("hydra.sweep.dir=SWEEP")
    run("ser", "matrix", *words, cwd=tmp_path)
    rows = [*csv.DictReader((tmp_path / "SWEEP" / "matrix.csv").read_text().splitlines())]
    assert [(row["trained_on"], row["tested_on"], row["part"]) for row in rows] == [
        ("ravdess", "ravdess", "test split"),
        ("ravdess", "mine", "whole corpus"),
        ("mine", "ravdess", "whole corpus"),
        ("mine", "mine", "test split"),
        ("ravdess+mine", "ravdess", "test split"),
        ("ravdess+mine", "mine", "test split"),
    ]
    again = run("ser", "matrix", *words, cwd=tmp_path)
    assert again.stdout.count("Skipped, as it finished before") == 3
    assert "mine: the speakers are unknown" in again.stdout
    assert "ravdess on mine: " in again.stdout
    assert "utterances on which this training was trained" in again.stdout
    assert all(int(row["utterances"]) < 24 for row in rows[1:3])
