"""The benchmark as a command, and a corpus of it."""

import csv
import json
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

pytest.importorskip("sklearn")
pytest.importorskip("soundfile")

from joblib import Parallel

from ser.config.settings import Serab
from ser.config.validate import check
from ser.data.manifest import Manifest, Utterance
from ser.data.manifest_io import write_manifest
from ser.embeddings.cache import stored_features
from ser.embeddings.statistics import LogMelStatistics
from ser.errors import ConfigError, DataError
from ser.runs.sweep import read_statuses
from ser.scripts.serab import corpus_spec
from ser.scripts.serab_compare import serab_compare
from ser.serab import benchmark, results
from ser.serab.classifiers import SEED, BestCandidate
from ser.serab.corpora import BenchmarkCorpus, benchmark_remedies, read
from ser.serab.normalize import Problem, Problems
from ser.serab.published import published
from ser.serab.scores import bootstrap
from tests import commands
from tests.commands import documented
from tests.conftest import REPOSITORY
from tests.serab.test_scores import corpus as results_of

QUICK = ("classifiers=[lda,lr]", "extractor=logmel_stats", "jobs=1", "allow_partial=true")

SETTINGS = {
    *(
        "_target_",
        "corpus",
        "root",
        "label",
        "fields",
        "label_map",
        "declared_leaks",
        "on_error",
        "cache_dir",
        "validation",
    ),
    "split",
}


def run(*arguments: str, cwd: Path, code: int = 0, fresh: bool = False) -> subprocess.CompletedProcess[str]:
    result = commands.run("ser", "serab", *arguments, cwd=cwd, code=code, fresh=fresh)
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture(scope="module")
def finished(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a small copy of RAVDESS; the command's words are in it, too."""
    cwd = tmp_path_factory.mktemp("serab")
    place = ("corpora=[ravdess]", f"corpora_root={recordings.parent}", f"folders.ravdess={recordings.name}")
    told = run(*place, *QUICK, "hydra.run.dir=out", cwd=cwd)
    (cwd / "out" / "told.txt").write_text(told.stdout)
    again = run(*place, *QUICK, "hydra.run.dir=out", cwd=cwd)  # the same run, which is no other
    assert again.stdout.splitlines()[1:] == told.stdout.splitlines()[1:]  # the first has times
    other = run(*place, *QUICK, "hydra.run.dir=out", "normalize=global", cwd=cwd, code=1)
    assert "out: holds results of another run, which differs in normalize. Choose another" in other.stderr
    other = run(*place, *QUICK, "hydra.run.dir=out", "split=honest", cwd=cwd, code=1)
    assert "out: holds results of another run, which differs in split. Choose another" in other.stderr
    return cwd / "out"


def test_a_run_leaves_scores_tables_and_a_picture(finished: Path) -> None:
    scores = json.loads((finished / "results.json").read_text())
    assert list(scores) == ["ravdess"]
    assert list(scores["ravdess"]) == ["lda", "lr"]
    needed = {"validation_accuracy", "test_accuracy", "test_uar", "test_correct", "test_total"}
    for result in scores["ravdess"].values():
        assert needed <= {*result}
        assert result["test_accuracy"] == pytest.approx(result["test_correct"] / result["test_total"])
        assert result["test_total"] == 16  # two of six speakers
    names = {"serab.csv", "serab.md", "classifiers.csv", "heat_map.png", "config.yaml", "environment.json"}
    assert names <= {path.name for path in finished.iterdir()}
    assert yaml.safe_load((finished / "config.yaml").read_text())["select"] == "validation"
    facts = json.loads((finished / "environment.json").read_text())
    assert facts["command"].startswith("python -m ser serab 'corpora=[ravdess]'")
    assert facts["packages"]["scikit-learn"] == metadata.version("scikit-learn")


@pytest.mark.slow
def test_two_jobs_print_what_one_prints(finished: Path, recordings: Path, tmp_path: Path) -> None:
    """That jobs change no number, test_classifiers.py tests, too. A fork would not end the workers."""
    place = ("corpora=[ravdess]", f"corpora_root={recordings.parent}", f"folders.ravdess={recordings.name}")
    told = run(*place, *QUICK, "jobs=2", "hydra.run.dir=out", cwd=tmp_path, fresh=True).stdout
    assert (
        told.splitlines()[1:] == (finished / "told.txt").read_text().splitlines()[1:]
    )  # the first has times


def test_a_partial_corpus_is_stamped_on_every_table(finished: Path) -> None:
    stamp = "ravdess is PARTIAL: 48 of 1440 utterances, 6 of 24 speakers"
    for name in ("serab.md", "serab.csv", "classifiers.csv", "told.txt"):
        assert stamp in (finished / name).read_text()
    assert "ravdess*" in (finished / "classifiers.csv").read_text()


def test_both_choices_and_the_floor_stand_side_by_side(finished: Path) -> None:
    told = (finished / "told.txt").read_text()
    assert told.index("chosen by validation (headline)") < told.index(
        "chosen by test: optimistic, as published"
    )
    assert "floor" in told
    assert "transductive" in told


def test_mistakes_end_as_messages(recordings: Path, tmp_path: Path) -> None:
    place = (f"corpora_root={recordings.parent}", f"folders.ravdess={recordings.name}", "hydra.run.dir=out")
    partial = run("corpora=[ravdess]", *place, cwd=tmp_path, code=1).stderr
    assert "48 of 1440 utterances, 6 of 24 speakers: its results would not compare" in partial
    assert "allow_partial=true" in partial
    assert not (tmp_path / "out" / "results.json").exists()
    unknown = run("corpora=[ravdes]", *place, cwd=tmp_path, code=1).stderr
    assert unknown == "corpora=[ravdes]: there is no such corpus. Did you mean 'ravdess'?\n"
    frames = run("corpora=[challenge]", *place, cwd=tmp_path, code=1).stderr
    assert frames.startswith("corpora=[challenge]: data=challenge is no corpus of recordings.")
    absent = run("corpora=[savee]", *place, cwd=tmp_path, code=1).stderr
    assert f"{recordings.parent / 'savee'}: no such folder." in absent
    assert "give its folder with folders.savee=FOLDER." in absent  # data.root is no setting here
    (tmp_path / "cut").mkdir()
    for file in recordings.rglob("*.wav"):
        (tmp_path / "cut" / file.name).symlink_to(file)
    (tmp_path / "cut" / file.name).unlink()
    (tmp_path / "cut" / file.name).write_bytes(b"RIFF")
    place = (f"corpora_root={tmp_path}", "folders.ravdess=cut", "hydra.run.dir=out", *QUICK)
    damaged = run("corpora=[ravdess]", *place, cwd=tmp_path, code=1).stderr
    assert "1 of 48 recordings cannot be used" in damaged
    assert damaged.endswith("Fix or remove these.\n")
    assert (
        "corpora_root=nowhere" in run("corpora=[savee]", "corpora_root=nowhere", cwd=tmp_path, code=1).stderr
    )


def test_a_sweep_of_extractors_ends_in_one_table(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("corpora=[ravdess]", f"corpora_root={recordings.parent}", f"folders.ravdess={recordings.name}")
    sweep = ("-m", "extractor=random,logmel_stats", "hydra.sweep.dir=sweep")
    told = run(*place, *sweep, "classifiers=[lda]", "jobs=1", "allow_partial=true", cwd=tmp_path).stdout
    assert re.search(r"Best, to repeat it: \S*python -m ser serab 'corpora=\[ravdess\]'", told)
    assert serab_compare([str(tmp_path / "sweep"), "--output", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    for job, name in zip(read_statuses(tmp_path / "sweep"), ("random", "logmel_stats"), strict=True):
        scores = json.loads((job / "results.json").read_text())["ravdess"]["lda"]
        row = rows[f"{name}, chosen by validation"]
        assert row["ravdess"] == f"{100 * scores['test_accuracy']:.1f}*"
        assert "ravdess is PARTIAL" in row["notes"]
    assert "| random | ravdess* | LDA |" in capsys.readouterr().out


def test_a_sweep_compares_what_the_headline_is_chosen_by() -> None:
    found = [results_of("ravdess"), results_of("savee")]  # 0.7 on validation; LDA has 0.5 on test, SVC 0.67
    assert benchmark.objective(found, "validation") == pytest.approx(0.7)
    assert benchmark.objective(found, "test") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"classifiers": ["svm"]}, "classifiers=[svm]: there is no such classifier. Did you mean 'svc'?"),
        ({"classifiers": []}, "classifiers, corpora: one of them is empty"),
        ({"jobs": 0}, "jobs=0: expected a number of processes"),
    ],
)
def test_settings_are_checked(setting: dict[str, Any], message: str) -> None:
    config = {"classifiers": ["lda"], "select": "test", "normalize": "speaker", "corpora": ["a"], "jobs": 1}
    with pytest.raises(ConfigError) as caught:
        benchmark._check(Serab.of({**config, **setting}))
    assert str(caught.value).startswith(message)


SPLIT = {
    "_target_": "ser.splits.Serab",
    "train": 0.6,
    "validation": 0.2,
    "key": "speaker",
    "label": None,
}


def test_a_run_tells_how_corpora_were_divided() -> None:
    def told(split: str, **rule: Any) -> str:
        settings = {
            "data": {"split": {**SPLIT, **rule}},
            "normalize": "speaker",
            "grid": True,
            "classifiers": [],
        }
        return benchmark._method(Serab.of(settings), split=split)[0]

    random = {"_target_": "ser.splits.RandomSplit"}
    texts = [told("serab"), told("honest"), told("serab", label="arousal"), told("random", **random)]
    texts += [told("random", **random, seed=1)]
    assert len({*texts}) == len(texts)  # by which runs are compared or not
    assert [text.startswith("Speakers are split as for the published table") for text in texts] == [
        *[True, False, False, False, False]
    ]
    assert ["by actual speaker" in text for text in texts] == [False, True, False, False, False]
    assert texts[-1].endswith("RandomSplit with train=0.6, validation=0.2, key=speaker, seed=1.")


def test_intervals_have_the_seed_that_is_told() -> None:
    generator = np.random.default_rng(0)
    truth, predicted = generator.choice(["anger", "fear"], (2, 900))
    speakers = generator.integers(20, size=900).astype(str)
    part = Problem(np.zeros((900, 1)), truth, np.zeros((900, 1)), truth)
    outcome = BestCandidate({}, truth, predicted, 1, {}, ())
    found = results._result(Problems(part, part), outcome, speakers).interval
    told, default = (bootstrap(predicted == truth, speakers, seed=seed) for seed in (SEED, 0))
    assert found == told != default
    settings = {"data": {"split": SPLIT}, "normalize": "speaker", "grid": True, "classifiers": ["lda"]}
    assert benchmark._method(Serab.of(settings), split="serab")[-1].endswith(
        "Classifiers and intervals have the seed 42."
    )


def test_a_run_tells_among_which_classifiers_it_chose() -> None:
    settings = {"data": {"split": SPLIT}, "normalize": "speaker", "classifiers": ["svc", "lda"]}
    for grid in (True, False):
        told = " ".join(benchmark._method(Serab.of({**settings, "grid": grid}), split="serab"))
        assert "Classifiers: LDA, SVC." in told


def test_a_corpus_of_ones_own_is_a_config_of_ten_lines(recordings: Path, tmp_path: Path) -> None:
    files = sorted(recordings.rglob("*.wav"))
    utterances = [Utterance(f.stem, f, speaker=f.stem[-2:], labels={"emotion": f.parent.name}) for f in files]
    write_manifest(recordings / "table.csv", Manifest(tuple(utterances), "here"))
    lines = documented("serab.md", "yaml").replace("/data/mine/table.csv", str(recordings / "table.csv"))
    (tmp_path / "own" / "data").mkdir(parents=True)
    (tmp_path / "own" / "data" / "mine.yaml").write_text(lines)
    place = ("--config-dir", "own", "corpora=[mine]", "corpora_root=.", "hydra.run.dir=out")
    run(*place, *QUICK, "split=honest", "grid=false", "select=test", cwd=tmp_path)
    assert list(json.loads((tmp_path / "out" / "results.json").read_text())) == ["mine"]
    text = (tmp_path / "out" / "serab.md").read_text()
    assert "split by actual speaker" in text
    assert "PARTIAL" not in text
    (recordings / "table.csv").unlink()  # others count the files there


def published_spec(root: Path, **changes: Any) -> dict[str, Any]:
    rule = {"_target_": "ser.splits.Serab", "label": "emotion"}
    spec = {"_target_": "ser.corpora.PublishedCorpus", "corpus": "ravdess", "root": str(root)}
    return {**spec, "label": "emotion", "split": rule, **changes}


def test_a_corpus_is_read_split_and_checked(recordings: Path) -> None:
    corpus = read("ravdess", published_spec(recordings), utterances=48, allow_partial=True)
    assert [len(indices) for indices in corpus.assignment.values()] == [24, 8, 16]
    assert {*corpus.classes} == {"anger", "happiness", "neutral", "sadness"}
    assert corpus.is_partial  # of speakers there are 6, not 24
    with pytest.raises(DataError, match="48 of 48 utterances, 6 of 24 speakers"):
        read("ravdess", published_spec(recordings), utterances=48)


def test_a_class_that_train_lacks_is_refused(recordings: Path, tmp_path: Path) -> None:
    corpus = read("ravdess", published_spec(recordings), allow_partial=True)
    train = {corpus.manifest.utterances[place].speaker for place in corpus.assignment["train"]}
    for file in recordings.rglob("*.wav"):
        if not (file.parent.name == "anger" and file.stem[-2:] in train):
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(DataError, match="train has no utterance of the emotion 'anger'"):
        read("ravdess", published_spec(tmp_path), allow_partial=True)


def test_a_split_without_test_is_refused(recordings: Path) -> None:
    rule = {"_target_": "ser.splits.SpeakerDisjoint", "test": 0}
    with pytest.raises(
        DataError, match="ravdess: its split has no test utterances, so nothing can be scored"
    ):
        read("ravdess", published_spec(recordings, split=rule), allow_partial=True)


def test_a_corpus_that_leaves_nothing_to_tell_apart_is_refused(recordings: Path, tmp_path: Path) -> None:
    for file in (recordings / "anger").iterdir():
        (tmp_path / file.name).symlink_to(file)
    with pytest.raises(
        DataError, match=r"ravdess: train has 6 utterances of 1 class: anger\. Classifiers need"
    ):
        read("ravdess", published_spec(tmp_path), allow_partial=True)


def test_a_corpus_of_an_utterance_a_class_is_refused(recordings: Path, tmp_path: Path) -> None:
    train = {"02", "03", "06"}
    emotions = iter(("anger", "sadness", "neutral"))
    for speaker in sorted(train):
        file = next((recordings / next(emotions)).glob(f"*-{speaker}.wav"))
        (tmp_path / file.name).symlink_to(file)
    for speaker in ("01", "04", "05"):
        file = next((recordings / "anger").glob(f"*-{speaker}.wav"))
        (tmp_path / file.name).symlink_to(file)
    with pytest.raises(DataError, match="train has 3 utterances of 3 classes: anger, neutral, sadness"):
        read("ravdess", published_spec(tmp_path), allow_partial=True)


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("Check data.root.", "Check folders.savee."),
        ("Drop it with data.label_map, or", "Drop it with +settings.savee.label_map, or"),
        ("Set data.speaker to a pattern", "Set +settings.savee.speaker to a pattern"),
        ("another folder with data.cache_dir=FOLDER or", "another folder with cache_dir=FOLDER or"),
        ("raise data.split.validation", "raise data.split.validation"),
    ],
)
def test_remedies_name_the_settings_of_the_benchmark(told: str, meant: str) -> None:
    with pytest.raises(DataError) as caught, benchmark_remedies("savee"):
        raise DataError(told)
    assert str(caught.value) == meant


def iemocap(root: Path) -> Path:
    """A tree with the names of IEMOCAP: both actors talk in the dialogues of each wearer of the markers."""
    for session in range(1, 6):
        lines = []
        for wearer in "FM":
            for talker in "FM":
                for number, code in enumerate(("ang", "hap", "neu", "sad")):
                    name = f"Ses0{session}{wearer}_impro01_{talker}{number:03d}"
                    folder = root / f"Session{session}" / "sentences" / "wav" / name[:-5]
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / f"{name}.wav").touch()
                    lines.append(f"[0.0 - 1.0]\t{name}\t{code}\t[2.5, 2.5, 2.5]\n")
        labels = root / f"Session{session}" / "dialog" / "EmoEvaluation" / f"Ses0{session}F_impro01.txt"
        labels.parent.mkdir(parents=True)
        labels.write_text("".join(lines))
    return root


def test_the_published_split_of_iemocap_is_stamped_as_a_leak(tmp_path: Path) -> None:
    spec = published_spec(iemocap(tmp_path), corpus="iemocap")
    by_wearer = {**spec, "split": {**spec["split"], "key": "serab_speaker"}}
    corpus = read("iemocap", by_wearer, allow_partial=True)
    assert {*corpus.speakers} == {f"0{session}{wearer}" for session in range(1, 6) for wearer in "FM"}
    tested = {*corpus.speakers[corpus.assignment["test"]]}
    assert tested == {"01F", "03M"}
    assert "iemocap: LEAK: train and test share speakers (4)" in corpus.with_leaks(None).stamps
    honest = read("iemocap", spec, allow_partial=True).with_leaks(None)
    assert not [stamp for stamp in honest.stamps if "speakers (" in stamp]


def test_a_recording_in_two_splits_is_a_leak(recordings: Path, tmp_path: Path) -> None:
    for file in recordings.rglob("*.wav"):
        shutil.copy(file, tmp_path)
    corpus = read("ravdess", published_spec(tmp_path), allow_partial=True)
    one, other = (corpus.manifest.utterances[corpus.assignment[split][0]] for split in ("train", "test"))

    def stamps(cache: str) -> list[str]:
        store = stored_features(corpus.manifest, LogMelStatistics(), cache_dir=str(tmp_path / cache))
        return [stamp for stamp in corpus.with_leaks(store.digests).stamps if "LEAK" in stamp]

    assert stamps("before") == []
    shutil.copy(one.path, other.path)
    assert stamps("after") == ["ravdess: LEAK: train and test share equal audio (1)"]


def test_a_speaker_with_one_utterance_is_told(recordings: Path, tmp_path: Path) -> None:
    for file in recordings.rglob("*.wav"):
        (tmp_path / file.name).symlink_to(file)
    whole: BenchmarkCorpus = read("ravdess", published_spec(tmp_path), allow_partial=True)
    assert whole.remarks == []
    tested = {whole.manifest.utterances[place].speaker for place in whole.assignment["test"]}
    lonely = min(name for name in tested if name is not None)
    for file in sorted(tmp_path.glob(f"*-{lonely}.wav"))[1:]:
        file.unlink()
    corpus = read("ravdess", published_spec(tmp_path), allow_partial=True)
    assert corpus.remarks == [
        f"Speakers with one utterance in a split, which normalisation by speaker turns into zeros: {lonely} (test)"
    ]


@pytest.mark.slow
@pytest.mark.shared
def test_emodb4_is_complete_and_scored(shared: Path, tmp_path: Path) -> None:
    weights = f"extractor.weights={shared / 'weights' / 'byol_s_512.pth'}"
    place = ("corpora=emodb4", f"corpora_root={shared / 'data'}", "extractor=byol_s", weights)
    run(*place, "jobs=2", "hydra.run.dir=out", cwd=tmp_path)
    scores = json.loads((tmp_path / "out" / "results.json").read_text())["emodb4"]
    assert scores["svc"]["test_total"] == 61
    assert abs(scores["svc"]["test_correct"] - 58) <= 1
    assert "PARTIAL" not in (tmp_path / "out" / "serab.md").read_text()


def specs(*overrides: str) -> dict[str, dict[str, Any]]:
    """The node of every corpus of the published table, as the command composes it."""
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        given = ["corpora=[ravdess]", "corpora_root=/corpora", "cache_dir=cache", *overrides]
        cfg = compose("serab", overrides=given, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        try:
            keys = [key for key in cfg if key != "hydra"]
            settings = Serab.of(check(OmegaConf.masked_copy(cfg, keys), schema=Serab))
            return {name: corpus_spec(name, settings) for name in (*published().corpora, "emodb4")}
        finally:
            HydraConfig.instance().cfg = None


def test_corpora_are_split_as_published() -> None:
    found = specs()
    assert {name: spec["root"] for name, spec in found.items()} == {
        name: f"/corpora/{name.removesuffix('4')}" for name in found
    }
    rule = {
        "_target_": "ser.splits.Serab",
        "train": 0.6,
        "validation": 0.2,
        "key": "speaker",
        "label": "emotion",
    }
    assert found["ravdess"]["split"] == rule
    assert found["crema_d"]["split"] == rule | {"train": 0.7, "validation": 0.1}
    assert found["iemocap"]["split"] == found["shemo"]["split"] == rule | {"key": "serab_speaker"}
    assert found["emodb4"]["utterances"] == 339
    assert found["cafe"]["utterances"] == 864
    assert [label for label, kept in found["cafe"]["label_map"].items() if kept is None] == ["neutral"]
    assert not [name for name, spec in found.items() if set(spec) - {"utterances"} - SETTINGS]


def test_the_label_that_is_asked_for_is_predicted() -> None:
    spec = specs("data.label=arousal")["ravdess"]
    assert (spec["label"], spec["split"]["label"]) == ("arousal", "arousal")
    spec = specs()["ravdess"]
    assert (spec["label"], spec["split"]["label"]) == ("emotion", "emotion")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("classifiers=null", "classifiers=null: expected str or list[str]"),
        ("classifiers=[null]", "classifiers=[null]: expected str or list[str]"),
        ("corpora=null", "corpora=null: expected str or list[str]"),
        ("corpora=[1]", "corpora=[1]: expected str or list[str]"),
        ("settings=null", "settings=null: expected dict[str, dict[str, Any]]"),
        ("folders=null", "folders=null: expected dict[str, str | None]"),
        ("folders.ravdess=2024", "expected dict[str, str | None]"),
        ("select=tset", "select=tset: no such choice. Did you mean 'test'?"),
        ("normalize=none", "normalize=none: no such choice"),
    ],
)
def test_what_is_no_name_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        specs(setting)
    assert message in str(caught.value)


def test_the_honest_split_is_by_speaker_everywhere() -> None:
    found = specs("split=honest", "folders.emodb=/elsewhere")
    assert {spec["split"]["key"] for spec in found.values()} == {"speaker"}
    assert found["crema_d"]["split"]["train"] == 0.7
    assert found["cafe"]["label_map"] is None
    assert found["emodb"]["root"] == "/elsewhere"


def test_the_layer_is_chosen_on_validation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    classes, places = np.tile(["a", "b", "c"], 30), np.arange(90)
    good = random.normal(size=(90, 6)) + 4 * (classes[:, None] == np.array(["a", "b", "c", "a", "b", "c"]))
    only_on_test = np.where(places[:, None] < 72, random.normal(size=(90, 6)), good)

    class Layers:
        def candidates(self) -> dict[str, str]:
            return {"layer 0": "only_on_test", "layer 1": "good"}

    of = {"only_on_test": only_on_test, "good": good}
    assignment = {"train": places[:54], "validation": places[54:72], "test": places[72:]}
    corpus = BenchmarkCorpus("own", Manifest((), "own"), classes, assignment, speakers=np.repeat("s", 90))
    monkeypatch.setattr(benchmark, "_embed", lambda _, candidate, __: of[candidate])
    settings: Any = SimpleNamespace(normalize="global", grid=False)
    chosen, remarks = benchmark._choose_embedder(
        corpus,
        Layers(),  # type: ignore[arg-type]
        ["lda", "lr"],
        settings=settings,
        parallel=Parallel(1),
    )
    assert chosen == "good"
    found = re.fullmatch(
        r"own: layer 1 has the best validation accuracy: layer 0 (\S+), layer 1 (\S+)", remarks[0]
    )
    assert found
    assert float(found[1]) < 70 < 90 < float(found[2])
