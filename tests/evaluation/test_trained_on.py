"""What a corpus shares with the training of a model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ser.data.store import Store
from ser.errors import DataError
from ser.evaluation.corpus import LabelledCorpus
from ser.evaluation.trained_on import TrainedOn, find_overlap, read_trained_on
from ser.splits.utterances_file import KnownUtterances

RAVDESS = {"corpus": "ravdess", "root": "here"}


def corpus_of(*ids: str, names: bool = True) -> LabelledCorpus:
    digests = np.array([[place] * 16 for place in range(len(ids))], np.uint8)
    audio, offsets = np.zeros((len(ids), 1), np.float32), np.arange(len(ids) + 1)
    store = Store([*ids], audio, offsets, None, (), "object", "", digests=digests)
    return LabelledCorpus("here", store, [name[0] for name in ids], names=names)


def run_of(data: dict[str, Any], **known: KnownUtterances) -> TrainedOn:
    return TrainedOn(Path("run"), data, known)


def test_equal_features_are_found_in_any_corpus() -> None:
    known = KnownUtterances({"other"}, {"a"}, {"01" * 16})
    found = find_overlap(corpus_of("a1", "b1", "c1"), {"root": "there"}, [run_of(RAVDESS, train=known)])
    assert found.trained.tolist() == [False, True, False]
    assert found.speakers == ["a"]
    assert "trained on 1 of the 3 utterances, the first is 'b1'" in found.stamps[0]
    assert found.stamps[1].startswith("LEAK: 1 of the 3 speakers")


def test_equal_ids_count_in_the_same_corpus_only() -> None:
    run = run_of(RAVDESS, train=KnownUtterances({"a1"}), validation=KnownUtterances({"a1", "b1"}))
    same = find_overlap(corpus_of("a1", "b1"), {"corpus": "ravdess", "root": "elsewhere"}, [run])
    assert (same.trained.tolist(), same.chosen.tolist()) == ([True, False], [False, True])
    other = find_overlap(corpus_of("a1", "b1"), {"corpus": "emodb", "root": "here"}, [run])
    assert not other.trained.any()
    assert other.stamps == []


def test_ids_of_feature_files_do_not_tell_utterances_apart() -> None:
    run = run_of({"root": "here"}, train=KnownUtterances({"a1"}))
    assert not find_overlap(corpus_of("a1", names=False), {"root": "here"}, [run]).trained.any()


def test_the_runs_of_an_ensemble_are_joined() -> None:
    runs = [run_of(RAVDESS, train=KnownUtterances({name})) for name in ("a1", "c1")]
    assert find_overlap(corpus_of("a1", "b1", "c1"), RAVDESS, runs).trained.tolist() == [True, False, True]


def test_a_run_of_an_older_version_tells_its_speakers_alone() -> None:
    run = TrainedOn(Path("run"), RAVDESS, {}, {"train": ["a"]})
    found = find_overlap(corpus_of("a1", "b1"), RAVDESS, [run])
    assert found.speakers == ["a"]
    assert "It is not known on which utterances every model was trained" in found.remarks[0]


def test_utterances_of_a_mix_belong_to_their_corpora() -> None:
    mix: dict[str, Any] = {"readers": {"r": RAVDESS, "e": {"corpus": "emodb"}}}
    run = run_of(mix, train=KnownUtterances({"r/a1", "e/b1"}, {"r/a", "e/b"}))
    found = find_overlap(corpus_of("a1", "b1"), RAVDESS, [run])
    assert (found.trained.tolist(), found.speakers) == ([True, False], ["a"])
    single = run_of(RAVDESS, train=KnownUtterances({"a1"}))
    assert find_overlap(corpus_of("r/a1", "e/a1"), mix, [single]).trained.tolist() == [True, False]


def test_a_checkpoint_outside_a_run_tells_nothing(tmp_path: Path) -> None:
    assert read_trained_on(tmp_path / "best.ckpt") is None


def test_the_folder_of_a_run_tells_its_data(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {**RAVDESS, "label_map": {"a": "b"}}}))
    found = read_trained_on(tmp_path / "checkpoints" / "best.ckpt")
    assert found is not None
    assert found.label_map == {"a": "b"}
    (tmp_path / "splits.json").write_text("{")
    with pytest.raises(DataError, match="json: is damaged"):
        read_trained_on(tmp_path / "checkpoints" / "best.ckpt")
