"""From sound to speech: stretches by hand, and streams against whole recordings."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ser.features.vad_smoothing import Smoothing, SmoothingState

SETTINGS = st.builds(Smoothing, st.integers(0, 6), st.integers(0, 9), st.integers(0, 5))
SOUNDS = st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=14).map(
    lambda runs: [sound for sound, count in runs for _ in range(count)]
)


def whole(smoothing: Smoothing, sounds: list[bool]) -> list[bool]:
    sound = torch.tensor([sounds], dtype=torch.bool)
    answers: list[bool] = smoothing(sound, torch.ones_like(sound))[0].tolist()
    return answers


def flags(text: str) -> list[bool]:
    return [letter == "#" for letter in text]


@pytest.mark.parametrize(
    ("smoothing", "sounds", "speech"),
    [
        (Smoothing(0, 0, 0), "#..#.##", "#..#.##"),
        (Smoothing(2, 0, 0), "#..#.##", ".....##"),
        (Smoothing(0, 3, 0), ".##..#...#..", "######...###"),
        (Smoothing(2, 3, 0), "...#....##.", "........###"),
        (Smoothing(0, 9, 2), ".......", "......."),
        (Smoothing(2, 2, 1), "....##..#...##", "...####....###"),
    ],
)
def test_stretches_are_smoothed_as_by_hand(smoothing: Smoothing, sounds: str, speech: str) -> None:
    assert whole(smoothing, flags(sounds)) == flags(speech)


@given(SETTINGS, st.lists(SOUNDS.filter(bool), min_size=1, max_size=3))
def test_padding_never_changes_an_answer(smoothing: Smoothing, batch: list[list[bool]]) -> None:
    size = max(map(len, batch))
    sound = torch.tensor([sounds + [True] * (size - len(sounds)) for sounds in batch])
    real = torch.arange(size) < torch.tensor([len(sounds) for sounds in batch])[:, None]
    together = smoothing(sound, real).tolist()
    for answers, sounds in zip(together, batch, strict=True):
        assert answers == whole(smoothing, sounds) + [False] * (size - len(sounds))


@given(SETTINGS, SOUNDS, st.lists(st.integers(0, 9), min_size=1, max_size=9))
def test_a_stream_gets_the_answers_of_the_whole_in_any_pieces(
    smoothing: Smoothing, sounds: list[bool], sizes: list[int]
) -> None:
    state, answers, rest = smoothing.initial_state(), [], iter(sounds)
    for size in itertools.chain(sizes, [len(sounds)]):
        piece, earlier = [*itertools.islice(rest, size)], tuple(state)
        now, later = smoothing.step(piece, state)
        assert smoothing.step(piece, state) == (now, later)  # nothing is remembered elsewhere
        assert tuple(state) == earlier
        answers += now
        state = later
        assert state.decided == len(answers)
        assert state.received - state.decided <= smoothing.look_ahead
    assert answers + smoothing.finish(state) == (whole(smoothing, sounds) if sounds else [])


@pytest.mark.parametrize(
    ("speech", "silence", "hang_over"),
    [(0, 0, 0), (1, 1, 0), (3, 0, 0), (1, 4, 0), (1, 4, 2), (1, 2, 4), (3, 4, 2), (2, 1, 3), (3, 3, 2)],
)
def test_the_look_ahead_is_needed_and_no_more(speech: int, silence: int, hang_over: int) -> None:
    smoothing = Smoothing(speech, silence, hang_over)
    length = smoothing.look_ahead + speech + 3
    latest = 0
    for sounds in itertools.product([False, True], repeat=length):
        state = smoothing.initial_state()
        for sound in sounds:
            _, state = smoothing.step([sound], state)
            latest = max(latest, state.received - state.decided)
    assert latest == smoothing.look_ahead


@pytest.mark.parametrize("smoothing", [Smoothing(1, 3, 1), Smoothing(2, 3, 2), Smoothing(3, 2, 1)])
def test_a_frame_waits_only_as_long_as_the_future_may_change_it(smoothing: Smoothing) -> None:
    futures = [[*future] for n in range(8) for future in itertools.product([False, True], repeat=n)]
    for sounds in itertools.product([False, True], repeat=6):
        _, state = smoothing.step(sounds, smoothing.initial_state())
        if state.decided < len(sounds):
            possible = {whole(smoothing, [*sounds, *future])[state.decided] for future in futures}
            assert possible == {False, True}


def test_what_is_remembered_does_not_grow() -> None:
    smoothing, state = Smoothing(5, 30, 10), SmoothingState()
    for sounds in [[True] * 50_000, [False] * 50_000, [True, False] * 25_000]:
        answers, state = smoothing.step(sounds, state)
        assert len(answers) >= len(sounds) - smoothing.look_ahead
        assert len(state) == 4
