import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ser.batch import Padded
from ser.data import feature_store
from ser.data.feature_store import ExtractedFeatures, read_features
from ser.data.manifest import Manifest, Utterance
from ser.errors import DataError
from tests.conftest import REPOSITORY

RATE = 16000
FRAME = 160


class FrameEnergies(torch.nn.Module):
    """Mean, and mean square, of every 10 ms."""

    sample_rate = RATE
    feature_dim = 2
    frame_shift_s = FRAME / RATE
    min_samples = FRAME
    device = torch.device("cpu")
    stores_half = False

    def __init__(self, *, offset: float = 0.0) -> None:
        super().__init__()
        self.offset = offset

    def num_frames(self, samples: torch.Tensor) -> torch.Tensor:
        return samples // FRAME

    def with_speech(self, waveforms: Padded) -> tuple[Padded, None]:
        return self(waveforms), None

    def forward(self, waveforms: Padded) -> Padded:
        frames = waveforms.values[..., 0].unfold(1, FRAME, FRAME)
        features = torch.stack([frames.mean(-1) + self.offset, frames.square().mean(-1)], dim=-1)
        return Padded(features, self.num_frames(waveforms.lengths))


def expected(waveform: np.ndarray) -> np.ndarray:
    frames = waveform[: len(waveform) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    return np.stack([frames.mean(1), np.square(frames).mean(1)], axis=1)


def noise(number: int) -> np.ndarray:
    """A waveform whose length depends on its number."""
    return np.random.default_rng(number).uniform(-0.5, 0.5, RATE // 4 + 100 * number).astype(np.float32)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Six recordings, each of another length."""
    for number in range(6):
        soundfile.write(tmp_path / f"{number}.wav", noise(number), RATE, subtype="FLOAT")
    utterances = [Utterance(f"u{number}", tmp_path / f"{number}.wav") for number in range(6)]
    return Manifest(tuple(utterances), "corpus.csv")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def four_threads() -> Iterator[None]:
    """Torch may use four threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def read(manifest: Manifest, cache: Path, **changed: object) -> ExtractedFeatures:
    arguments = {"cache_dir": cache, "settings": "energies", **changed}
    return read_features(manifest, FrameEnergies(), **arguments)


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("audio was read")

    monkeypatch.setattr(feature_store, "read_audio", fail)
    monkeypatch.setattr(feature_store, "probe", fail)


def spoil(manifest: Manifest) -> None:
    """Make an empty file of the second recording and remove the fifth."""
    manifest.utterances[1].path.write_bytes(b"")
    manifest.utterances[4].path.unlink()


def test_every_utterance_gets_its_own_features_in_the_order_of_the_manifest(
    manifest: Manifest, cache: Path
) -> None:
    result = read(manifest, cache)
    assert result.store.ids == [f"u{number}" for number in range(6)]
    assert (result.kept.tolist(), result.skipped, result.store.labels) == ([0, 1, 2, 3, 4, 5], [], None)
    for number in range(6):
        (features,) = result.store.select(np.array([number])).chunks(1000)
        np.testing.assert_allclose(features, expected(noise(number)), atol=1e-6)


@pytest.mark.usefixtures("four_threads")
def test_the_order_holds_however_long_each_utterance_takes(manifest: Manifest, cache: Path) -> None:
    plain = read(manifest, cache)

    class Late(FrameEnergies):
        def forward(self, waveforms: Padded) -> Padded:
            time.sleep(0.05 if int(waveforms.lengths) in (len(noise(0)), len(noise(3))) else 0)
            return super().forward(waveforms)

    late = read_features(manifest, Late(), cache_dir=cache / "late", settings="energies")
    assert late.store.fingerprint == plain.store.fingerprint


@pytest.mark.usefixtures("four_threads")
def test_no_more_than_a_few_utterances_are_read_ahead(manifest: Manifest) -> None:
    started: list[int] = []

    class Counting(FrameEnergies):
        def forward(self, waveforms: Padded) -> Padded:
            started.append(threading.get_ident())
            return super().forward(waveforms)

    many = Manifest(
        tuple(replace(manifest.utterances[0], id=str(number)) for number in range(50)), manifest.source
    )
    results = feature_store._FeatureReader(Counting()).read(many.utterances)
    next(results)
    time.sleep(0.2)
    assert len(started) <= 10
    assert len([*results]) == 49
    assert 1 <= len(set(started)) <= 4


@pytest.mark.usefixtures("four_threads")
def test_the_threads_of_torch_are_as_before_afterwards(manifest: Manifest, cache: Path) -> None:
    during: list[int] = []

    class Watching(FrameEnergies):
        def forward(self, waveforms: Padded) -> Padded:
            during.append(torch.get_num_threads())
            return super().forward(waveforms)

    read_features(manifest, Watching(), cache_dir=cache, settings="energies")
    assert set(during) == {1}
    assert torch.get_num_threads() == 4


def test_segments_of_one_file_are_utterances(manifest: Manifest, cache: Path) -> None:
    path = manifest.utterances[5].path
    spans = [(0.0, 0.1), (0.1, 0.2), (0.15, None)]
    segments = [Utterance(f"s{start}", path, start, end) for start, end in spans]
    result = read(Manifest(tuple(segments), "segments.csv"), cache)
    assert result.store.lengths.tolist() == [10, 10, (len(noise(5)) - 2400) // FRAME]
    np.testing.assert_allclose(result.store.audio[10:20], expected(noise(5)[1600:3200]), atol=1e-6)


def test_a_second_start_opens_no_audio(
    manifest: Manifest, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read(manifest, cache)
    forbid_reading(monkeypatch)
    second = read(manifest, cache)
    assert second.store.fingerprint == first.store.fingerprint
    np.testing.assert_array_equal(second.kept, first.kept)


def test_a_relative_path_is_the_same_recording(
    manifest: Manifest, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(manifest, cache)
    forbid_reading(monkeypatch)
    monkeypatch.chdir(manifest.utterances[0].path.parent)
    relative = [replace(utterance, path=Path(utterance.path.name)) for utterance in manifest]
    assert len(read(Manifest(tuple(relative), manifest.source), cache).store) == 6


@pytest.mark.parametrize("change", ["a file", "a segment", "an id", "the settings", "one fewer"])
def test_what_changes_the_result_is_read_anew(manifest: Manifest, cache: Path, change: str) -> None:
    before = read(manifest, cache).store
    utterances = [*manifest]
    settings = "energies"
    if change == "a file":
        soundfile.write(utterances[2].path, noise(9), RATE)
    elif change == "a segment":
        utterances[2] = replace(utterances[2], end=0.1)
    elif change == "an id":
        utterances[2] = replace(utterances[2], id="other")
    elif change == "one fewer":
        del utterances[2]
    else:
        settings = "energies, offset 1"
    extractor = FrameEnergies(offset=float("offset" in settings))
    changed = Manifest(tuple(utterances), manifest.source)
    after = read_features(changed, extractor, cache_dir=cache, settings=settings).store
    assert after.fingerprint != before.fingerprint


def test_labels_speakers_and_splits_may_change_without_reading_anything(
    manifest: Manifest, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(manifest, cache)
    forbid_reading(monkeypatch)
    labelled = [replace(u, labels={"emotion": "joy"}, speaker="s", split="train") for u in manifest]
    assert len(read(Manifest(tuple(labelled), "other.csv"), cache).store) == 6


def test_two_settings_are_cached_side_by_side(
    manifest: Manifest, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(manifest, cache, settings="one")
    read(manifest.select([0, 1]), cache, settings="two")
    forbid_reading(monkeypatch)
    assert len(read(manifest, cache, settings="one").store) == 6
    assert len(read(manifest.select([0, 1]), cache, settings="two").store) == 2


def test_a_damaged_cache_is_rebuilt(
    manifest: Manifest, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fingerprint = read(manifest, cache).store.fingerprint
    (features,) = cache.glob("*/audio.f32")
    features.write_bytes(b"")
    assert read(manifest, cache).store.fingerprint == fingerprint
    assert "damaged" in caplog.text
    assert "read again" in caplog.text


def test_all_bad_recordings_are_found_and_named_in_one_error(manifest: Manifest, cache: Path) -> None:
    spoil(manifest)
    with pytest.raises(DataError) as caught:
        read(manifest, cache)
    first, *reasons, last = str(caught.value).splitlines()
    assert first == "corpus.csv: 2 of 6 recordings cannot be used:"
    assert reasons[0].startswith("  utterance 'u1': ")
    assert "1.wav: is empty (0 bytes)" in reasons[0]
    assert "4.wav: no such file" in reasons[1]
    assert (
        last == "Fix or remove these, or set data.on_error=skip, or give the folder that paths in a manifest "
        "are relative to with data.root=FOLDER."
    )


def test_ten_bad_recordings_are_listed_and_the_others_counted(
    manifest: Manifest, tmp_path: Path, cache: Path
) -> None:
    missing = [Utterance(f"m{number}", tmp_path / f"m{number}.wav") for number in range(13)]
    with pytest.raises(DataError, match=r"13 of 19 recordings cannot be used") as caught:
        read(Manifest((*manifest, *missing), "corpus.csv"), cache)
    assert str(caught.value).count("no such file") == 10
    assert "... and 3 more" in str(caught.value)


def test_bad_recordings_are_skipped_on_demand_with_one_warning(
    manifest: Manifest, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(manifest)
    result = read(manifest, cache, on_error="skip")
    assert result.kept.tolist() == [0, 2, 3, 5]
    assert result.store.ids == ["u0", "u2", "u3", "u5"]
    assert [name for name, _ in result.skipped] == ["u1", "u4"]
    assert "is empty" in result.skipped[0][1]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "corpus.csv: 2 of 6 recordings are skipped" in record.message
    assert "1.wav: is empty" in record.message


def test_a_second_start_skips_the_same_without_opening_them(
    manifest: Manifest, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(manifest)
    first = read(manifest, cache, on_error="skip")
    forbid_reading(monkeypatch)
    caplog.clear()
    second = read(manifest, cache, on_error="skip")
    assert second.skipped == first.skipped
    assert second.kept.tolist() == first.kept.tolist()
    assert "2 of 6 recordings are skipped" in caplog.text


def test_what_was_skipped_before_is_an_error_again_where_it_is_asked_for(
    manifest: Manifest, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(manifest)
    read(manifest, cache, on_error="skip")
    forbid_reading(monkeypatch)
    with pytest.raises(DataError, match="2 of 6 recordings cannot be used"):
        read(manifest, cache)


def test_a_mended_recording_is_read(manifest: Manifest, cache: Path) -> None:
    spoil(manifest)
    with pytest.raises(DataError, match="2 of 6"):
        read(manifest, cache)
    for number in (1, 4):
        soundfile.write(manifest.utterances[number].path, noise(number), RATE)
    assert read(manifest, cache).skipped == []


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_manifest_without_one_good_recording_is_an_error(
    manifest: Manifest, cache: Path, on_error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(manifest)
    for _ in range(2):
        with pytest.raises(DataError, match="2 of 2 recordings cannot be used"):
            read(manifest.select([1, 4]), cache, on_error=on_error)
        forbid_reading(monkeypatch)


def test_too_short_an_utterance_says_how_long_it_has_to_be(
    manifest: Manifest, cache: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "0.wav", np.zeros(40), RATE)
    words = r"0\.wav: 2\.5 ms \(40 samples at 16000 Hz\) are too short, .* needs 10\.0 ms \(160 samples"
    with pytest.raises(DataError, match=words):
        read(manifest, cache)


def test_features_that_are_no_numbers_are_named(manifest: Manifest, cache: Path) -> None:
    with pytest.raises(DataError, match=r"utterance 'u0': .*0\.wav: its features are not finite"):
        read_features(manifest, FrameEnergies(offset=float("nan")), cache_dir=cache, settings="nan")


def test_silence_is_kept_and_said_at_every_start(
    manifest: Manifest, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (2, 3):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(RATE), RATE)
    for _ in range(2):
        caplog.clear()
        assert len(read(manifest, cache).store) == 6
        assert caplog.messages == ["corpus.csv: digital silence in 2 of 6 recordings, first 'u2'"]


def test_resampling_and_mixing_are_said_once_with_the_numbers_of_files(
    manifest: Manifest, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(tmp_path / "0.wav", np.zeros((8000, 2)) + 0.1, RATE)
    soundfile.write(tmp_path / "1.wav", np.zeros((8000, 2)) + 0.1, 48000)
    soundfile.write(tmp_path / "2.wav", np.zeros(8000) + 0.1, 8000)
    again = replace(manifest.utterances[1], id="again", end=0.1)  # one file, two utterances
    with caplog.at_level(logging.INFO):
        read(Manifest((*manifest, again), "corpus.csv"), cache)
    assert caplog.messages == ["corpus.csv: of 6 files, resampled to 16000 Hz: 2, mixed down to mono: 2"]


def test_two_processes_that_race_get_the_same(manifest: Manifest, cache: Path) -> None:
    code = (
        "import pathlib, sys\n"
        "from ser.data.manifest import Manifest, Utterance\n"
        "from ser.data.feature_store import read_features\n"
        "from tests.data.test_feature_store import FrameEnergies\n"
        "cache, *paths = map(pathlib.Path, sys.argv[1:])\n"
        "manifest = Manifest(tuple(Utterance(path.stem, path) for path in paths), 'corpus.csv')\n"
        "result = read_features(manifest, FrameEnergies(), cache_dir=cache, settings='energies')\n"
        "print(result.store.fingerprint, len(result.store))\n"
    )
    command = [sys.executable, "-c", code, cache, *(utterance.path for utterance in manifest)]
    root = REPOSITORY
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(2)]
    outputs = {racer.communicate(timeout=60)[0] for racer in racers}
    assert len(outputs) == 1
    assert outputs.pop().endswith(" 6\n")
    assert sorted(entry.suffix for entry in cache.iterdir()) == ["", ".json"]


def test_missing_packages_are_said_before_anything_is_read(
    manifest: Manifest, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(DataError, match=r'^Audio files: .*pip install "soundfile>='):
        read(manifest, cache, on_error="skip")


@pytest.mark.shared
def test_real_corpora_are_read_whole_and_started_from_the_cache(
    shared: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted((shared / "data/ravdess/Actor_01").glob("*.flac"))
    manifest = Manifest(tuple(Utterance(path.stem, path) for path in paths), "ravdess")
    result = read(manifest, cache)
    assert len(result.store) == 60
    assert 190 < result.store.lengths.sum() * FRAME / RATE < 260  # seconds of the first actor
    forbid_reading(monkeypatch)
    assert read(manifest, cache).store.fingerprint == result.store.fingerprint


def test_a_note_of_many_files_stays_small(manifest: Manifest, cache: Path) -> None:
    read(Manifest(tuple(replace(manifest.utterances[0], id=str(i)) for i in range(100)), "many"), cache)
    assert sum(note.stat().st_size for note in cache.glob("*.json")) < 100 * 64


def test_a_watched_reading_of_many_shows_a_bar_on_stderr_and_reads_the_same(
    manifest: Manifest, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    many = Manifest(tuple(replace(manifest.utterances[0], id=str(i)) for i in range(300)), "[b]corpus.csv")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert len(read(many, cache).store) == 300
    captured = capfd.readouterr()
    assert not captured.out
    assert "Reading [b]corpus.csv" in captured.err


def test_missing_recordings_are_said_to_lie_perhaps_below_another_root(cache: Path) -> None:
    table = Manifest((Utterance("a", Path("nowhere/a.wav")),), "table.csv")
    with pytest.raises(DataError, match=r"no such file.*\n.*relative to with data\.root=FOLDER\.$"):
        read(table, cache)


def test_features_of_other_code_are_computed_again(
    manifest: Manifest, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(manifest, cache)
    monkeypatch.setattr(feature_store, "read_audio", None)
    read(manifest, cache)  # from the cache
    monkeypatch.setattr(feature_store, "digest_of_code", lambda *_: "of other code")
    with pytest.raises(TypeError, match="not callable"):
        read(manifest, cache)
