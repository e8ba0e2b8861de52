"""Folds and splits of published protocols."""

import hashlib
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from ser.catalogue import CORPORA
from ser.corpora.published import read_corpus
from ser.data.manifest import Manifest, Utterance
from ser.errors import ConfigError, DataError
from ser.splits.assignment import use_validation
from ser.splits.leaks import find_leaks
from ser.splits.protocols import PROTOCOLS
from ser.splits.published import Published

EVERY = [(corpus, name) for corpus, known in PROTOCOLS.items() for name in known]


def spoken(*speakers: str) -> Manifest:
    return Manifest(
        tuple(
            Utterance(
                f"{name}{take}",
                Path(f"{name}{take}"),
                speaker=name,
                group=name[:2],
                labels={"emotion": "ab"[take % 2], "serab_speaker": f"{name[:2]}{'FM'[take % 2]}"},
            )
            for name in speakers
            for take in range(10)
        ),
        "table.csv",
    )


SESSIONS = spoken(*(f"0{session}{talker}" for session in range(1, 6) for talker in "FM"))


@pytest.mark.parametrize(("corpus", "name"), EVERY)
def test_folds_by_speaker_test_every_speaker_of_the_corpus_once(corpus: str, name: str) -> None:
    protocol = PROTOCOLS[corpus][name]
    tested = [speaker for fold in protocol.speakers for speaker in fold]
    assert not tested or len({*tested}) == len(tested) == CORPORA[corpus].speakers
    assert protocol.folds >= 1


# SHA-256 of the file names, without suffix, sorted and joined by newlines, of each test split in EmoBox at commit
# 08280f2: computed from its own .jsonl files.
EMOBOX = {
    "ravdess": "10a6035da877 62f5508d0117 cc766f4604d9 d6e5528fbbde 518e2fc95321 5a212e381aa7",
    "emodb": "432d00d7bb1f a3779739545b ccba7e7c94de c86ed5e900cc bdf1c3602390",
    "emovo": "69181ec5195f ceb66566077d 8d309345796c a0d042f83af9 72117672da19 d84ddb58b247",
    "crema_d": "0bd8af9e7c0e",
    "shemo": "da74b89f02d1",
    "tess": "5f8ec1bf0300",
    "turev_db": "9680c2eeef77",
    "aesdd": "7f19efd90ca4",
    "urdu": "835ed34cbab9",
}


def digest(names: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:12]


def ravdess() -> list[str]:
    takes = product(range(1, 25), range(1, 9), (1, 2), (1, 2), (1, 2))
    return [
        f"Actor_{actor:02}/03-01-{code:02}-{level:02}-{text:02}-{take:02}-{actor:02}"
        for actor, code, level, text, take in takes
        if (code, level) != (1, 2)
    ]


def emovo() -> list[str]:
    sentences = ["b1", "b2", "b3", "d1", "d2", *(f"{kind}{n}" for kind in "ln" for n in range(1, 5)), "n5"]
    codes = ["dis", "gio", "neu", "pau", "rab", "sor", "tri"]
    speakers = ("f1", "f2", "f3", "m1", "m2", "m3")
    return [
        f"{speaker}/{code}-{speaker}-{text}" for speaker, code, text in product(speakers, codes, sentences)
    ]


def listed(corpus: str) -> list[str]:
    """Every file that a protocol names, and some that it does not."""
    protocol = PROTOCOLS[corpus]["emobox"]
    names = {name for fold in protocol.tested for name in fold} | (protocol.trained or set())
    extra = {"shemo": ["F01A99"], "crema_d": ["1001_DFA_ANG_XX"], "urdu": ["SM1_F1_A01"]}
    return [*names, *extra.get(corpus, [])]


@pytest.mark.parametrize("corpus", EMOBOX)
def test_test_splits_equal_those_of_emobox_to_the_clip(corpus: str, tmp_path: Path) -> None:
    files = {"ravdess": ravdess, "emovo": emovo}.get(corpus, lambda: listed(corpus))()
    for name in files:
        file = tmp_path / f"{name}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    manifest = read_corpus(corpus, tmp_path)
    found = []
    for fold in range(PROTOCOLS[corpus]["emobox"].folds):
        rule = Published(corpus=corpus, protocol="emobox", fold=fold)
        folds = rule._fold_of_each(manifest)
        found.append(
            digest([manifest.utterances[place].path.stem for place in np.flatnonzero(folds == fold)])
        )
    assert found == EMOBOX[corpus].split()


def test_what_emobox_leaves_out_of_shemo_is_in_no_split(tmp_path: Path) -> None:
    for name in listed("shemo"):
        (tmp_path / f"{name}.wav").touch()
    manifest = read_corpus("shemo", tmp_path)
    assignment = Published(corpus="shemo", protocol="emobox", label="emotion").assign(manifest)
    assert (len(assignment["test"]), sum(map(len, assignment.values()))) == (707, 2838)  # as in its table
    used = {manifest.utterances[place].id for part in assignment.values() for place in part.tolist()}
    assert {utterance.id for utterance in manifest} - used == {"F01A99"}


def test_the_time_of_published_folds_does_not_grow_with_the_square_of_utterances() -> None:
    rule = Published(corpus="crema_d")
    manifest = Manifest(tuple(Utterance(f"{n}", Path(f"{n}")) for n in range(40_000)), "table.csv")
    began = time.process_time()
    assert len(rule._fold_of_each(manifest)) == 40_000
    assert time.process_time() - began < 5


def test_a_session_of_iemocap_is_the_test_split() -> None:
    rule = Published(corpus="iemocap", fold=3, label="emotion")
    assignment = rule.assign(SESSIONS)
    assert {SESSIONS.utterances[index].group for index in assignment["test"]} == {"04"}
    assert find_leaks(SESSIONS, assignment, None) == []
    assert rule.count_folds(SESSIONS) == (5, "published (sessions), speakers apart")
    assert rule.describe(SESSIONS, assignment)[1] == []


def test_superb_shares_speakers_with_validation_and_says_so() -> None:
    rule = Published(corpus="iemocap", protocol="superb", fold=3, label="emotion")
    assignment = rule.assign(SESSIONS)
    assert {SESSIONS.utterances[index].group for index in assignment["test"]} == {"04"}
    leaks = {leak.splits for leak in find_leaks(SESSIONS, assignment, None) if leak.kind == "speaker"}
    assert leaks == {("train", "validation")}
    stamps = rule.describe(SESSIONS, assignment)[1]
    assert stamps == [
        "SUPERB groups speakers wrongly: train and validation share some, as it draws validation from train at random"
    ]
    assert rule.describe(SESSIONS, use_validation(assignment, "none"))[1] == []


def test_serab_splits_iemocap_by_what_is_no_speaker_and_says_so() -> None:
    rule = Published(corpus="iemocap", protocol="serab", label="emotion")
    assignment = rule.assign(SESSIONS)
    owners = [
        {str(SESSIONS.utterances[index].labels["serab_speaker"]) for index in part}
        for part in assignment.values()
    ]
    assert sum(map(len, owners)) == len(set().union(*owners)) == 10
    assert (
        "splits by the wearer of the markers, not by the talker" in rule.describe(SESSIONS, assignment)[1][0]
    )
    assert "SPEAKERS ARE IN TRAIN AND TEST" in rule.count_folds(SESSIONS)[1]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["ravdess", "emodb"])
def test_published_folds_of_real_corpora_leave_nothing_out(name: str, shared: Path) -> None:
    manifest = read_corpus(name, shared / "data" / name)
    folds, what = Published(corpus=name).count_folds(manifest)
    tested = []
    for fold in range(folds):
        rule = Published(corpus=name, fold=fold, label="emotion")
        assignment = rule.assign(manifest)
        tested.append(assignment["test"])
        kinds = {leak.kind for leak in find_leaks(manifest, assignment, None)}
        assert ("speaker" in kinds) == ("SPEAKERS ARE IN TRAIN AND TEST" in what) == (name == "emodb")
        assert bool(rule.describe(manifest, assignment)[1]) == (name == "emodb")
    assert np.array_equal(np.sort(np.concatenate(tested)), np.arange(len(manifest)))


def test_a_corpus_without_published_folds_is_refused_with_those_that_have() -> None:
    with pytest.raises(
        ConfigError, match=r"nemo has no folds that are known here; those of aesdd, cafe, .*folds=5"
    ):
        Published(corpus="nemo")
    with pytest.raises(ConfigError, match="a corpus of your own has no folds"):
        Published().assign(Manifest((), "mine"))


def test_a_fold_or_protocol_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.split\.fold=5: iemocap has 5 published folds"):
        Published(corpus="iemocap", fold=5)
    with pytest.raises(ConfigError, match=r"protocol=supreb: iemocap has no such .*Did you mean 'superb'\?"):
        Published(corpus="iemocap", protocol="supreb")


def test_a_copy_without_any_tested_utterance_is_refused() -> None:
    with pytest.raises(DataError, match="holds nothing that EmoBox tests on in this fold of tess"):
        Published(corpus="tess").assign(SESSIONS)


def test_an_unknown_speaker_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 speakers are in no published fold of iemocap:\n  09X\n"):
        Published(corpus="iemocap").assign(spoken("09X"))
