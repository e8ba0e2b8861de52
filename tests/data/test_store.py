from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ser.data.store import Store
from ser.data.store_io import DamagedStoreError, discard_store, new_store, open_store

IDS = ["a", "é", "", "7", "b"]
LENGTHS = [30, 1, 700, 64, 5]
FRAMES = [np.random.default_rng(length).normal(size=(length, 26)).astype(np.float32) for length in LENGTHS]
LABELS = np.array([[0, 1], [1, 1], [0, 0], [1, 0], [0, 1]])


def write(parent: Path, *, frames: list[np.ndarray] = FRAMES, labels: np.ndarray | None = LABELS) -> Store:
    with new_store(parent) as writer:
        for utterance in frames:
            writer.append(utterance)
        return writer.commit(
            IDS[: len(frames)], labels, label_names=("valence", "activation"), layout="records"
        )


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write(tmp_path_factory.mktemp("store"))


def folder_of(store: Store, parent: Path) -> Path:
    return parent / store.fingerprint


def test_what_was_written_is_what_is_opened(tmp_path: Path) -> None:
    store = open_store(folder_of(write(tmp_path), tmp_path))
    assert store.ids == IDS
    assert (store.label_names, store.layout, store.feature_dim) == (("valence", "activation"), "records", 26)
    assert store.lengths.tolist() == LENGTHS
    assert len(store) == 5
    assert store.labels is not None
    assert store.labels.dtype == np.int64
    np.testing.assert_array_equal(store.labels, LABELS)
    np.testing.assert_array_equal(store.audio, np.concatenate(FRAMES))


def test_integer_ids_stay_integers_and_labels_may_be_absent(tmp_path: Path) -> None:
    with new_store(tmp_path) as writer:
        writer.append(FRAMES[0])
        store = writer.commit([2**70], None, label_names=("valence",), layout="object")
    assert store.ids == [2**70]
    assert store.labels is None


def test_the_audio_is_mapped_and_cannot_be_written_to(tmp_path: Path) -> None:
    store = write(tmp_path)
    assert type(store.audio) is np.ndarray  # a memmap is slow to slice
    assert not store.audio.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        store.audio[0] = 0


def test_only_the_finished_store_is_left(tmp_path: Path) -> None:
    store = write(tmp_path)
    assert list(tmp_path.iterdir()) == [folder_of(store, tmp_path)]


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupted() -> None:
        with new_store(tmp_path / "cache") as writer:
            writer.append(FRAMES[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list((tmp_path / "cache").iterdir())


def test_equal_content_is_stored_once_and_any_difference_apart(tmp_path: Path) -> None:
    first = write(tmp_path)
    assert write(tmp_path).fingerprint == first.fingerprint
    others = [write(tmp_path, labels=1 - LABELS), write(tmp_path, labels=None)]
    moved = [np.concatenate(FRAMES)[:40], np.concatenate(FRAMES)[40:], *FRAMES[:0]]
    others += [write(tmp_path, frames=moved, labels=None), write(tmp_path, frames=FRAMES[:2], labels=None)]
    fingerprints = {first.fingerprint} | {store.fingerprint for store in others}
    assert len(fingerprints) == 5
    assert {path.name for path in tmp_path.iterdir()} == fingerprints


def test_a_damaged_store_in_the_way_is_replaced(tmp_path: Path) -> None:
    folder = folder_of(write(tmp_path), tmp_path)
    (folder / "audio.f32").write_bytes(b"")
    np.testing.assert_array_equal(write(tmp_path).audio, np.concatenate(FRAMES))
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["index", "offsets.npy", "digests.npy", "labels.npy", "audio.f32"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "longer", "first bit", "last bit"])
def test_any_damage_is_noticed(tmp_path: Path, name: str, damage: str) -> None:
    folder = folder_of(write(tmp_path), tmp_path)
    content = (folder / name).read_bytes()
    changed = {
        "missing": b"",
        "empty": b"",
        "cut": content[:-104],
        "longer": content + bytes(104),
        "first bit": bytes([content[0] ^ 1]) + content[1:],
        "last bit": content[:-1] + bytes([content[-1] ^ 1]),
    }[damage]
    (folder / name).write_bytes(changed)
    if damage == "missing":
        (folder / name).unlink()
    with pytest.raises(DamagedStoreError, match=rf"{folder}.*damaged.*Delete this folder"):
        open_store(folder)


def test_a_bit_in_the_middle_of_a_long_audio_file_may_pass_but_a_hole_does_not(tmp_path: Path) -> None:
    frames = [np.ones((100_000, 26), dtype=np.float32)]
    folder = folder_of(write(tmp_path, frames=frames, labels=None), tmp_path)
    with (folder / "audio.f32").open(
        "r+b"
    ) as file:  # what is left of a file whose end never reached the disk
        file.seek(5_000_000)
        file.write(bytes(1_000_000))
    with pytest.raises(DamagedStoreError, match=r"audio\.f32 is not as it was written"):
        open_store(folder)


def test_another_version_of_the_format_is_not_read(tmp_path: Path) -> None:
    folder = folder_of(write(tmp_path), tmp_path)
    index = (folder / "index").read_bytes()
    (folder / "index").write_bytes(index.replace(b"ser-store 2 ", b"ser-store 1 ", 1))
    with pytest.raises(DamagedStoreError, match="another version"):
        open_store(folder)


def test_discarding_twice_is_no_error_and_leaves_nothing(tmp_path: Path) -> None:
    folder = folder_of(write(tmp_path), tmp_path)
    discard_store(folder)
    discard_store(folder)
    assert not list(tmp_path.iterdir())


def test_gather_returns_whole_utterances_padded_with_zeros(tmp_path: Path) -> None:
    store = write(tmp_path)
    indices = np.array([3, 0, 1])
    batch = store.gather(indices, np.zeros(3, dtype=np.int64), store.lengths[indices])
    assert (batch.shape, batch.dtype) == ((3, 64, 26), torch.float32)
    for row, index in zip(batch, indices.tolist(), strict=True):
        assert torch.equal(row[: LENGTHS[index]], torch.from_numpy(FRAMES[index]))
        assert not row[LENGTHS[index] :].any()


def test_gather_returns_stretches_from_where_they_start(tmp_path: Path) -> None:
    store = write(tmp_path)
    batch = store.gather(np.array([2, 3]), np.array([650, 4]), np.array([50, 7]))
    assert torch.equal(batch[0], torch.from_numpy(FRAMES[2][650:]))
    assert torch.equal(batch[1, :7], torch.from_numpy(FRAMES[3][4:11]))
    assert not batch[1, 7:].any()


def test_a_batch_is_a_copy(tmp_path: Path) -> None:
    store = write(tmp_path)
    batch = store.gather(np.array([0]), np.array([0]), np.array([30]))
    batch.zero_()
    np.testing.assert_array_equal(store.audio[:30], FRAMES[0])


def test_lengths_follow_the_offsets_of_a_changed_store(tmp_path: Path) -> None:
    store = write(tmp_path)
    assert replace(store, offsets=np.array([0, 800])).lengths.tolist() == [800]


def test_a_selection_holds_its_utterances_in_its_order_and_copies_no_audio(tmp_path: Path) -> None:
    store = write(tmp_path)
    few = store.select(np.array([3, 0]))
    assert few.audio is store.audio
    assert (few.ids, few.lengths.tolist(), len(few)) == (["7", "a"], [64, 30], 2)
    np.testing.assert_array_equal(few.labels, LABELS[[3, 0]])
    np.testing.assert_array_equal(few.digests, store.digests[[3, 0]])
    batch = few.gather(np.array([1, 0]), np.array([2, 0]), np.array([28, 64]))
    assert torch.equal(batch[0, :28], torch.from_numpy(FRAMES[0][2:]))
    assert torch.equal(batch[1], torch.from_numpy(FRAMES[3]))


def test_a_selection_of_a_selection_counts_within_it(tmp_path: Path) -> None:
    few = write(tmp_path).select(np.array([4, 2, 0])).select(np.array([2, 1]))
    assert few.ids == ["a", ""]
    np.testing.assert_array_equal(np.concatenate([*few.chunks(1000)]), np.concatenate([FRAMES[0], FRAMES[2]]))


def test_an_empty_selection_has_no_frames(tmp_path: Path) -> None:
    none = write(tmp_path).select(np.arange(0))
    assert (len(none), none.lengths.tolist(), [*none.chunks(10)]) == (0, [], [])


def test_a_selection_has_a_fingerprint_of_its_own(tmp_path: Path) -> None:
    store = write(tmp_path)
    selections = [np.array([0, 1]), np.array([1, 0]), np.array([0]), np.arange(0)]
    fingerprints = {store.select(indices).fingerprint for indices in selections} | {store.fingerprint}
    assert len(fingerprints) == 5
    assert store.select(np.array([1, 0])).fingerprint in fingerprints


def test_labels_can_be_changed_and_show_in_the_fingerprint(tmp_path: Path) -> None:
    store = write(tmp_path, labels=None).select(np.array([1, 2]))
    labelled = store.with_labels(np.array([[3], [4]]), ["emotion"])
    assert (labelled.label_names, labelled.labels.tolist()) == (("emotion",), [[3], [4]])
    assert (labelled.ids, labelled.audio is store.audio) == (store.ids, True)
    others = [
        store,
        store.with_labels(np.array([[4], [3]]), ["emotion"]),
        store.with_labels(np.array([[3], [4]]), ["e"]),
    ]
    assert labelled.fingerprint not in {other.fingerprint for other in others}


def test_digests_are_equal_where_the_features_are(tmp_path: Path) -> None:
    frames = [FRAMES[0], FRAMES[1], FRAMES[0].copy(), FRAMES[0] + np.float32(1e-6)]
    digests = open_store(folder_of(write(tmp_path, frames=frames, labels=None), tmp_path)).digests
    assert (digests.shape, digests.dtype) == ((4, 16), np.uint8)
    assert (digests[0] == digests[2]).all()
    assert len(np.unique(digests, axis=0)) == 3


@given(
    indices=st.lists(st.integers(0, len(LENGTHS) - 1), max_size=8),
    frames=st.integers(1, 900),
)
def test_chunks_are_all_frames_of_the_selection_in_pieces_of_one_size(
    stored: Store, indices: list[int], frames: int
) -> None:
    expected = np.concatenate([np.empty((0, 26), np.float32), *(FRAMES[index] for index in indices)])
    chunks = [*stored.select(np.array(indices, dtype=np.int64)).chunks(frames)]
    assert all(len(chunk) == frames for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= frames for chunk in chunks)
    np.testing.assert_array_equal(np.concatenate([expected[:0], *chunks]), expected)


def test_chunks_are_copies(tmp_path: Path) -> None:
    store = write(tmp_path)
    next(store.chunks(30))[:] = 0
    np.testing.assert_array_equal(store.audio[:30], FRAMES[0])


SPEECH = [np.arange(length) % 3 == 0 for length in LENGTHS]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with new_store(tmp_path_factory.mktemp("spoken")) as writer:
        for frames, speech in zip(FRAMES, SPEECH, strict=True):
            writer.append(frames, speech)
        return writer.commit(IDS, LABELS, label_names=("valence", "activation"), layout="object")


def test_speech_flags_come_with_their_frames(spoken: Store, stored: Store) -> None:
    chosen = spoken.select(np.array([3, 0]))
    flags = chosen.gather_speech(np.array([0, 1]), np.array([4, 0]), np.array([20, 30]))
    assert flags is not None
    np.testing.assert_array_equal(flags[0].numpy(), [*SPEECH[3][4:24], *[False] * 10])
    np.testing.assert_array_equal(flags[1].numpy(), SPEECH[0])
    assert chosen.spoken.tolist() == [22, 10]
    assert stored.gather_speech(np.array([0]), np.array([0]), np.array([5])) is None
    assert stored.spoken.tolist() == LENGTHS


@given(frames=st.integers(1, 800), order=st.permutations(range(5)), count=st.integers(1, 5))
def test_sequences_hold_every_frame_once_in_order_and_of_one_utterance(spoken, frames, order, count):
    chosen = spoken.select(np.array(order[:count]))
    cut = chosen.cut(frames)
    assert cut.lengths.max() <= frames
    at = 0
    for index in order[:count]:
        pieces = -(-LENGTHS[index] // frames)
        for piece in range(pieces):
            values = cut.gather(np.array([at]), np.array([0]), cut.lengths[[at]])[0].numpy()
            np.testing.assert_array_equal(values, FRAMES[index][piece * frames : (piece + 1) * frames])
            np.testing.assert_array_equal(cut.labels[at], LABELS[index])
            assert cut.ids[at] in (f"{IDS[index]}#{piece}", IDS[index])
            at += 1
    assert at == len(cut)


def test_cutting_what_is_short_enough_changes_nothing(spoken: Store) -> None:
    assert spoken.cut(700) is spoken
    assert spoken.cut(699).fingerprint != spoken.fingerprint


def test_flags_follow_when_a_store_is_cut(spoken: Store) -> None:
    cut = spoken.cut(10)
    assert cut.spoken.sum() == spoken.spoken.sum()
    place = cut.ids.index("7#2")
    flags = cut.gather_speech(np.array([place]), np.array([0]), np.array([10]))
    assert flags is not None
    np.testing.assert_array_equal(flags[0].numpy(), SPEECH[3][20:30])


def test_half_precision_is_stored_and_read_as_float32(tmp_path: Path) -> None:
    halves = [frames.astype(np.float16) for frames in FRAMES]
    with new_store(tmp_path) as writer:
        for frames in halves:
            writer.append(frames)
        store = writer.commit([*map(str, range(len(halves)))], None, label_names=(), layout="object")
    assert store.audio.dtype == np.float16
    lengths = store.lengths[:2]
    batch = store.gather(np.array([0, 1]), np.zeros(2, dtype=np.int64), lengths)
    assert batch.dtype == torch.float32
    np.testing.assert_array_equal(batch[0, : lengths[0]].numpy(), halves[0].astype(np.float32))
