"""Rules that keep texts apart."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser.data.manifest import Manifest, Utterance
from ser.errors import ConfigError, DataError
from ser.splits.assignment import describe_left_out, unassigned
from ser.splits.leaks import find_leaks
from ser.splits.texts import SpeakerTextDisjoint, TextDisjoint


def spoken(speakers: int, texts: int) -> Manifest:
    """Every speaker says every text with both emotions."""
    return Manifest(
        tuple(
            Utterance(
                f"{speaker}-{text}-{emotion}",
                Path(f"{speaker}-{text}-{emotion}.wav"),
                speaker=str(speaker),
                text=f"Text {text}",
                labels={"emotion": emotion},
            )
            for speaker in range(speakers)
            for text in range(texts)
            for emotion in ("joy", "anger")
        ),
        "table.csv",
    )


@given(speakers=st.integers(3, 12), texts=st.integers(2, 12), seed=st.integers(0, 99))
def test_train_and_test_share_neither_speakers_nor_texts(speakers: int, texts: int, seed: int) -> None:
    manifest = spoken(speakers, texts)
    assignment = SpeakerTextDisjoint(seed=seed, label="emotion").assign(manifest)
    leaks = {(leak.kind, leak.splits) for leak in find_leaks(manifest, assignment, None)}
    assert leaks <= {("text", ("train", "validation"))}
    left = unassigned(manifest, assignment)
    assert len(left) + sum(map(len, assignment.values())) == len(manifest)
    used = {manifest.utterances[index].id for indices in assignment.values() for index in indices}
    assert not used & {*left}


def test_only_what_crosses_speakers_and_texts_is_left_out() -> None:
    manifest = spoken(10, 10)
    assignment = SpeakerTextDisjoint(label="emotion").assign(manifest)
    tested = [manifest.utterances[index] for index in assignment["test"]]
    speakers, texts = {u.speaker for u in tested}, {u.text for u in tested}
    assert (len(speakers), len(texts)) == (2, 3)
    crossing = [u.id for u in manifest if (u.speaker in speakers) != (u.text in texts)]
    assert unassigned(manifest, assignment) == crossing
    (line,) = describe_left_out(crossing, len(manifest))
    assert line.startswith(f"Splits: {len(crossing)} of 200 utterances fit in none and are left out")


def test_no_text_is_in_two_splits_though_case_differs() -> None:
    manifest = spoken(4, 9)
    shouted = [replace(u, text=u.text.upper()) if u.speaker == "0" else u for u in manifest if u.text]
    manifest = Manifest(tuple(shouted), manifest.source)
    assignment = TextDisjoint(label="emotion").assign(manifest)
    assert {leak.kind for leak in find_leaks(manifest, assignment, None)} == {"speaker"}
    assert unassigned(manifest, assignment) == []


def test_an_utterance_without_text_is_named() -> None:
    manifest = spoken(3, 3)
    manifest = Manifest((replace(manifest.utterances[0], text=" "), *manifest.utterances[1:]), "table.csv")
    with pytest.raises(DataError, match=r"1 of 18 utterances have no text:\n  0-0-joy\n.*split=speaker"):
        TextDisjoint().assign(manifest)


def test_too_few_texts_are_refused() -> None:
    with pytest.raises(DataError, match="2 sets of utterances that share no text, too few for 3 splits"):
        TextDisjoint(label="emotion").assign(spoken(3, 2))


def test_speakers_and_texts_apart_need_a_test_split() -> None:
    with pytest.raises(ConfigError, match="leaves no test split"):
        SpeakerTextDisjoint(test=0.0)
