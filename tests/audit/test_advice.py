"""Commands for corpora with few speakers: they keep speakers and sessions apart, and work as they are printed."""

from pathlib import Path

import pytest

from ser.audit.advice import advise_few_speakers
from ser.data.manifest import Manifest, Utterance
from ser.splits.folds import LeaveOneSpeakerOut, SpeakerKFold
from ser.splits.leaks import find_leaks
from ser.splits.published import Published
from ser.splits.rules import Rule

SESSIONS = [f"0{session}{talker}" for session in range(1, 6) for talker in "FM"]


def spoken(*speakers: str, per_group: int = 0) -> Manifest:
    """Four utterances of each speaker, with a group for so many of them; 0 for no groups."""
    utterances = (
        Utterance(
            f"{speaker}{take}",
            Path(f"{speaker}{take}.wav"),
            speaker=speaker,
            group=f"g{place // per_group}" if per_group else None,
        )
        for place, speaker in enumerate(speakers)
        for take in range(4)
    )
    return Manifest(tuple(utterances), "table")


def names(count: int) -> list[str]:
    return [f"s{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("speakers", "labels", "advice"),
    [
        (4, 2, ["experiment=few_speakers", "folds=loso", "head.normalize=speaker"]),
        (4, 1, ["experiment=few_speakers", "folds=loso"]),
        (11, 2, None),
        (2, 2, None),
    ],
)
def test_few_speakers_are_normalised_only_with_several_labels(
    speakers: int, labels: int, advice: list[str] | None
) -> None:
    classes = [str(speaker + take % labels) for speaker in range(speakers) for take in range(4)]
    assert advise_few_speakers([spoken(*names(speakers))], classes) == advice


def test_values_and_gaps_change_nothing_but_the_normalisation() -> None:
    whole = [spoken(*names(4))]
    assert advise_few_speakers(whole, [None] * 16) == ["experiment=few_speakers", "folds=loso"]
    one_gap = [None, *["a", "b"] * 7, "a"]
    assert advise_few_speakers(whole, one_gap) == [
        "experiment=few_speakers",
        "folds=loso",
        "head.normalize=speaker",
    ]


@pytest.mark.parametrize(
    ("parts", "folds"),
    [((6, 4), "folds=4"), ((5, 5), "folds=5"), ((3, 7), "folds=3"), ((2, 6), None), ((6, 6), None)],
)
def test_corpora_of_a_mix_get_folds_that_all_of_them_have(parts: tuple[int, int], folds: str | None) -> None:
    own = [
        spoken(*(f"{name}/{one}" for one in range(count))) for name, count in zip("ab", parts, strict=True)
    ]
    found = advise_few_speakers(own, [None] * 4 * sum(parts))
    assert found == (None if folds is None else ["experiment=few_speakers", folds])


@pytest.mark.parametrize(
    ("speakers", "per_group", "published", "folds"),
    [
        (SESSIONS, 2, "iemocap", "published"),
        (SESSIONS[:8], 2, "iemocap", "4"),  # an incomplete copy
        (SESSIONS, 2, None, "5"),
        (SESSIONS[:8], 2, "emodb", "4"),  # whose published folds share speakers
        (SESSIONS[:9], 3, None, "3"),
        (SESSIONS, 1, None, "loso"),
    ],
)
def test_folds_keep_groups_that_join_speakers_apart(
    speakers: list[str], per_group: int, published: str | None, folds: str
) -> None:
    manifest = spoken(*speakers, per_group=per_group)
    found = advise_few_speakers([manifest], [None] * len(manifest), published=published)
    assert found == ["experiment=few_speakers", f"folds={folds}"]
    rule: Rule = (
        LeaveOneSpeakerOut()
        if folds == "loso"
        else Published(corpus="iemocap")
        if folds == "published"
        else SpeakerKFold(folds=int(folds))
    )
    assert find_leaks(manifest, rule.assign(manifest), None) == []


def test_there_is_no_advice_without_all_speakers_or_for_two_sessions() -> None:
    manifest = spoken(*names(4), per_group=2)
    assert advise_few_speakers([manifest], [None] * 16) is None
    unknown = Manifest((*manifest, Utterance("x", Path("x.wav"))), "table")
    assert advise_few_speakers([unknown], [None] * 17) is None
