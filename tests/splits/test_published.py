"""Folds of published protocols."""

from pathlib import Path

import numpy as np
import pytest

from ser.corpora.catalogue import CORPORA
from ser.corpora.published import read_corpus
from ser.data.manifest import Manifest, Utterance
from ser.errors import ConfigError, DataError
from ser.splits.leaks import find_leaks
from ser.splits.published import PROTOCOLS, Published


def spoken(*speakers: str) -> Manifest:
    return Manifest(
        tuple(
            Utterance(
                f"{name}{take}",
                Path(f"{name}{take}"),
                speaker=name,
                group=name[:2],
                labels={"emotion": "ab"[take]},
            )
            for name in speakers
            for take in range(2)
        ),
        "table.csv",
    )


@pytest.mark.parametrize("name", [name for name, protocol in PROTOCOLS.items() if protocol.speakers])
def test_folds_by_speaker_test_every_speaker_of_the_corpus_once(name: str) -> None:
    tested = [speaker for fold in PROTOCOLS[name].speakers for speaker in fold]
    assert len({*tested}) == len(tested) == CORPORA[name].speakers


def test_folds_of_emodb_test_every_utterance_once_and_share_speakers() -> None:
    folds = PROTOCOLS["emodb"].tested
    assert len(set().union(*folds)) == sum(map(len, folds)) == CORPORA["emodb"].utterances
    assert all({name[:2] for name in fold} == {name[:2] for name in folds[0]} for fold in folds)


def test_a_session_of_iemocap_is_the_test_split() -> None:
    manifest = spoken(*(f"0{session}{talker}" for session in range(1, 6) for talker in "FM"))
    rule = Published(corpus="iemocap", fold=3, label="emotion")
    assignment = rule.assign(manifest)
    assert {manifest.utterances[index].group for index in assignment["test"]} == {"04"}
    assert find_leaks(manifest, assignment, None) == []
    assert rule.count_folds(manifest) == (5, "published (sessions), speakers apart")


@pytest.mark.shared
@pytest.mark.parametrize("name", ["ravdess", "emodb"])
def test_published_folds_of_real_corpora_leave_nothing_out(name: str, shared: Path) -> None:
    manifest = read_corpus(name, shared / "data" / name)
    folds, what = Published(corpus=name).count_folds(manifest)
    tested = []
    for fold in range(folds):
        assignment = Published(corpus=name, fold=fold, label="emotion").assign(manifest)
        tested.append(assignment["test"])
        kinds = {leak.kind for leak in find_leaks(manifest, assignment, None)}
        assert ("speaker" in kinds) == ("SPEAKERS ARE IN TRAIN AND TEST" in what) == (name == "emodb")
    assert np.array_equal(np.sort(np.concatenate(tested)), np.arange(len(manifest)))


def test_a_corpus_without_published_folds_is_refused_with_those_that_have() -> None:
    with pytest.raises(
        ConfigError, match=r"crema_d has no folds that are known here; those of cafe, emodb, .*folds=5"
    ):
        Published(corpus="crema_d")
    with pytest.raises(ConfigError, match="a corpus of your own has no folds"):
        Published().assign(Manifest((), "mine"))


def test_a_fold_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.split\.fold=5: iemocap has 5 published folds"):
        Published(corpus="iemocap", fold=5)


def test_a_stranger_to_the_protocol_is_named() -> None:
    with pytest.raises(DataError, match=r"1 speakers are in no published fold of savee:\n  XX"):
        Published(corpus="savee").assign(spoken("DC", "JE", "XX"))
