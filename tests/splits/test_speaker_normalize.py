"""Normalisation by speaker."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ser.data.manifest import Manifest, Utterance
from ser.data.store import Store
from ser.data.store_io import new_store
from ser.errors import DataError
from ser.inference.predict import add_groups, describe_lone_labels
from ser.splits.speaker_normalize import count_lone_labels, normalize_by_group, normalize_by_speaker
from tests.commands import TINY, run

LENGTHS = [30, 1, 70, 64, 5, 12]
SPEAKERS = ["b", "a", "b", "c", "a", "c"]


def manifest_of(speakers: list[str | None]) -> Manifest:
    rows = (Utterance(str(index), Path("a.wav"), speaker=name) for index, name in enumerate(speakers))
    return Manifest(tuple(rows), "table.csv")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Frames of 4 values, the last one constant."""
    with new_store(tmp_path) as writer:
        for index, length in enumerate(LENGTHS):
            frames = np.random.default_rng(index).normal(index, 1 + index, size=(length, 4))
            frames[:, 3] = 7
            writer.append(frames)
        ids = [str(index) for index in range(len(LENGTHS))]
        return writer.commit(ids, None, label_names=(), layout="object")


def frames_of(store: Store, index: int) -> np.ndarray:
    length = store.lengths[[index]]
    return store.gather(np.array([index]), np.array([0]), length)[0].numpy()


@pytest.mark.parametrize("floor", [None, 1.5])
def test_the_frames_of_each_speaker_have_mean_zero_and_deviation_one(
    store: Store, floor: float | None
) -> None:
    scaled = normalize_by_speaker(store, manifest_of(SPEAKERS), floor)
    for speaker in "abc":
        own = [index for index, name in enumerate(SPEAKERS) if name == speaker]
        raw = np.concatenate([frames_of(store, index) for index in own]).astype(np.float64)
        raw = raw if floor is None else np.maximum(raw, floor)
        found = np.concatenate([frames_of(scaled, index) for index in own])
        varying = raw[:, :3]
        scores = (varying - varying.mean(0)) / varying.std(0)
        np.testing.assert_allclose(found[:, :3], scores, atol=1e-5)
        np.testing.assert_array_equal(found[:, 3], 0)


def test_a_batch_a_chunk_and_a_selection_hold_the_same_values_and_padding_is_zero(store: Store) -> None:
    scaled = normalize_by_speaker(store, manifest_of(SPEAKERS), None)
    chunks = np.concatenate([*scaled.chunks(50)])
    np.testing.assert_array_equal(chunks, np.concatenate([frames_of(scaled, index) for index in range(6)]))
    few = scaled.select(np.array([4, 2]))
    batch = few.gather(np.array([0, 1]), np.array([2, 10]), np.array([3, 20])).numpy()
    np.testing.assert_array_equal(batch[0, :3], frames_of(scaled, 4)[2:5])
    np.testing.assert_array_equal(batch[1], frames_of(scaled, 2)[10:30])
    assert not batch[0, 3:].any()
    assert scaled.fingerprint != store.fingerprint


def test_an_unknown_speaker_is_named(store: Store) -> None:
    with pytest.raises(DataError, match=r"table\.csv.*2 utterances are unknown, first '3'.*column speaker"):
        normalize_by_speaker(store, manifest_of(["a", "a", "b", None, None, "b"]), None)


def models_of(*, features: str = "global", vectors: str | None = None) -> list[Any]:
    """A model that normalises its features, or its pooled vectors, by a group."""
    frontend, head = {"normalize": features}, SimpleNamespace(group=vectors)
    return [SimpleNamespace(frontend=frontend, model=SimpleNamespace(head=head))]


def test_the_fix_for_unknown_speakers_is_that_of_the_reader(store: Store) -> None:
    manifest = replace(manifest_of([*SPEAKERS[:5], None]), speaker_remedy="Write utt2spk")
    with pytest.raises(DataError, match=r"first '5'\. Write utt2spk\."):
        normalize_by_speaker(store, manifest, None)
    with pytest.raises(DataError, match=r"first '5'\. Write utt2spk\."):
        add_groups(store, manifest, models_of(vectors="speaker"))
    with pytest.raises(DataError, match=r"first '5'\. Give a manifest with a column speaker\."):
        add_groups(store, replace(manifest, speaker_remedy=None), models_of(vectors="speaker"))


def test_scored_speakers_with_one_label_each_cause_a_warning(store: Store) -> None:
    lone = store.with_labels(np.array([[name] for name in SPEAKERS]), ("emotion",))
    mixed = store.with_labels(np.array([["x"], ["x"], ["y"], ["x"], ["y"], ["z"]]), ("emotion",))
    manifest = manifest_of(SPEAKERS)
    for models, remedy in (
        (models_of(vectors="speaker"), "head.normalize=batch"),
        (models_of(features="speaker"), "frontend.normalize=global"),
        (models_of(features="speaker", vectors="speaker"), "frontend.normalize=global head.normalize=batch"),
        (
            [*models_of(features="speaker"), *models_of(vectors="speaker"), *models_of(features="speaker")],
            "frontend.normalize=global head.normalize=batch",
        ),
    ):
        (line,) = describe_lone_labels(manifest, lone, models)
        assert line.startswith("3 of 3 speakers have one label each here, so normalisation by speaker")
        assert line.endswith(f"Train with {remedy}.")
        assert describe_lone_labels(manifest, mixed, models) == []
    assert describe_lone_labels(manifest, lone, models_of()) == []


@pytest.mark.parametrize(
    ("rows", "lone"),
    [
        ([["x"], ["y"], ["x"], ["y"], [""], [""], [""], [""]], 0),  # c and d have no label
        ([["x"], [""], ["y"], [""], ["x"], ["x"], ["x"], ["y"]], 3),
        ([["x", "0.5"], ["x", "0.25"], ["y", "1"], ["y", "0.1"], *[["x", "0.5"], ["y", "1"]] * 2], 0),
        ([["x", "0.5"], ["x", "0.25"], ["y", "1"], ["y", "0.1"], *[["x", "0.5"], ["x", "0.1"]] * 2], 4),
        ([["x", "0.5"], ["y", "0.5"]] * 4, 0),  # values are no classes
    ],
)
def test_lone_labels_are_counted_by_class_without_missing_ones(rows: list[list[str]], lone: int) -> None:
    found = count_lone_labels([(manifest_of([*"aabbccdd"]), np.array(rows, dtype=object))], "speaker")
    assert found == ([f"{lone} of 4 speakers have one label each"] if lone else [])


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on features that are normalised by speaker."""
    cwd = tmp_path_factory.mktemp("trained")
    data = ("data=ravdess", f"data.root={recordings}", "features=challenge", "batching.crop_frames=null")
    settings = (*TINY, "trainer.max_epochs=2", "frontend.normalize=speaker", "hydra.run.dir=run")
    run("train.py", *data, *settings, cwd=cwd)
    return cwd / "run"


def test_a_run_is_stamped_and_predicts_where_speakers_are_named(
    trained: Path, recordings: Path, tmp_path: Path
) -> None:
    assert "transductive" in json.loads((trained / "splits.json").read_text())["stamps"][0]
    assert "transductive" in (trained / "report.md").read_text()

    files = [shutil.copy(file, tmp_path) for file in sorted(recordings.rglob("*-06.wav"))]
    rows = [f"{Path(file).name},s6" for file in files]
    (tmp_path / "table.csv").write_text("\n".join(["path,speaker", *rows, ""]))
    ckpt = f"ckpt={trained / 'checkpoints' / 'best.ckpt'}"
    run("predict.py", ckpt, "input=table.csv", "output=all.csv", cwd=tmp_path)
    assert len(read(tmp_path / "all.csv")) == len(files)

    failed = run("predict.py", ckpt, f"input={files[0]}", "output=one.csv", cwd=tmp_path, code=1)
    assert "Give a manifest with a column speaker" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_the_prediction_of_a_file_without_speakers_is_refused(
    trained: Path, challenge: Path, tmp_path: Path
) -> None:
    file = f"input={challenge / 'ser_test_1.json'}"
    failed = run("predict.py", f"ckpt={trained}", file, cwd=tmp_path, code=1)
    assert "normalised by speaker" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["data=challenge", "data.root={challenge}"], "the speakers of these files are unknown"),
        (
            ["data=ravdess", "data.root={recordings}", "waveform_augment=noise_and_speed"],
            "computed in every step",
        ),
    ],
)
def test_where_no_speaker_has_statistics_training_is_refused(
    settings: list[str], words: str, challenge: Path, recordings: Path, tmp_path: Path
) -> None:
    filled = [word.format(challenge=challenge, recordings=recordings) for word in settings]
    failed = run("train.py", *filled, "frontend.normalize=speaker", *TINY, cwd=tmp_path, code=1)
    assert words in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("corpora", [["x", "y", "x", "y", "x", "x"], [None] * 6])
def test_the_frames_of_each_corpus_have_mean_zero_and_deviation_one(
    store: Store, corpora: list[str | None]
) -> None:
    rows = tuple(Utterance(str(index), Path("a.wav"), corpus=name) for index, name in enumerate(corpora))
    scaled = normalize_by_group(store, Manifest(rows, "table.csv"), {"normalize": "corpus"})
    for corpus in {*corpora}:
        own = [index for index, name in enumerate(corpora) if name == corpus]
        found = np.concatenate([frames_of(scaled, index) for index in own])[:, :3]
        np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(found.std(0), 1, atol=1e-5)
