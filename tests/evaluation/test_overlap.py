"""What a corpus shares with the training of a model."""

from pathlib import Path
from typing import Any

import numpy as np

from ser.data.store import Store
from ser.evaluation.corpus import LabelledCorpus
from ser.evaluation.overlap import find_overlap
from ser.evaluation.trained_on import TrainedOn
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
    assert found.speakers == found.same == ["a"]
    assert "It is not known on which utterances every model was trained" in found.remarks[0]


def test_utterances_of_a_mix_belong_to_their_corpora() -> None:
    mix: dict[str, Any] = {"readers": {"r": RAVDESS, "e": {"corpus": "emodb"}}}
    run = run_of(mix, train=KnownUtterances({"r/a1", "e/b1"}, {"r/a", "e/b"}))
    found = find_overlap(corpus_of("a1", "b1"), RAVDESS, [run])
    assert (found.trained.tolist(), found.speakers) == ([True, False], ["a"])
    single = run_of(RAVDESS, train=KnownUtterances({"a1"}))
    assert find_overlap(corpus_of("r/a1", "e/a1"), mix, [single]).trained.tolist() == [True, False]


def test_speakers_of_one_name_in_two_tables_may_be_the_same_people() -> None:
    run = run_of({"path": "train.csv"}, train=KnownUtterances({"x"}, {"a", "b", "z"}))
    found = find_overlap(corpus_of("a1", "a2", "b1", "c1"), {"path": "holdout.csv"}, [run])
    assert (found.speakers, found.same) == (["a", "b"], [])
    assert found.stamps == [
        "2 of the 3 speakers have the names of speakers of the training (a, b): a LEAK if they are the same people."
    ]


def test_numbers_of_speakers_in_two_published_corpora_are_different_people() -> None:
    run = run_of(RAVDESS, train=KnownUtterances({"x"}, {"a", "b"}))
    assert find_overlap(corpus_of("a1", "b1"), {"corpus": "emodb"}, [run]).stamps == []
    mix: dict[str, Any] = {"readers": {"r": RAVDESS, "own": {"path": "own.csv"}}}
    run = run_of(mix, train=KnownUtterances({"r/x", "own/y"}, {"r/a", "own/b"}))
    assert find_overlap(corpus_of("a1", "b1"), {"corpus": "emodb"}, [run]).speakers == ["b"]


def test_speakers_of_a_corpus_without_a_place_are_compared_too() -> None:
    run = run_of({}, train=KnownUtterances({"x"}, {"a"}))
    assert "names of speakers of the training (a)" in find_overlap(corpus_of("a1", "b1"), {}, [run]).stamps[0]


def test_utterances_of_the_run_that_init_named_count_as_trained_on() -> None:
    before = {"ravdess": KnownUtterances({"a1"}, {"a"}), "": KnownUtterances({"c1"}, {"c"}, {"01" * 16})}
    run = TrainedOn(
        Path("run"), {"corpus": "emodb"}, {"train": KnownUtterances({"x"})}, before=before, init="OLD"
    )
    found = find_overlap(corpus_of("a1", "b1", "c1"), RAVDESS, [run])
    assert found.trained.tolist() == [True, True, False]
    assert found.speakers == ["a", "c"]
    assert found.remarks == []


def test_a_start_of_unknown_training_is_named() -> None:
    run = TrainedOn(Path("run"), RAVDESS, {"train": KnownUtterances({"x"})}, init="OLD")
    (remark,) = find_overlap(corpus_of("a1"), RAVDESS, [run]).remarks
    assert "on which utterances OLD was trained" in remark
