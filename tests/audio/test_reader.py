import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from ser.audio import reader
from ser.audio.reader import AudioInfo, decoder_versions, probe, read_audio
from ser.errors import DataError, FileAccessError

RATE = 16000


def tone(seconds: float = 1.0, *, rate: int = RATE, frequency: float = 440.0) -> np.ndarray:
    """A tone and a little noise, peak about 0.5."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 0.01, len(time))
    return (0.4 * np.sin(2 * np.pi * frequency * time) + noise).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "speech.wav"


def truncate(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def test_a_float_file_is_returned_to_the_bit(path: Path) -> None:
    soundfile.write(path, tone(), RATE, subtype="FLOAT")
    waveform = read_audio(path, RATE)
    assert waveform.dtype == np.float32
    np.testing.assert_array_equal(waveform, tone())


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_16", 2**-15),
        ("a.wav", "PCM_24", 2**-23),
        ("a.wav", "PCM_U8", 2**-7),
        ("a.flac", "PCM_16", 2**-15),
        ("a.flac", "PCM_24", 2**-23),
        ("a.ogg", "VORBIS", 0.1),
        ("a.mp3", "MPEG_LAYER_III", 0.1),
    ],
)
def test_each_format_gives_the_samples_between_minus_one_and_one(
    tmp_path: Path, name: str, subtype: str, tolerance: float
) -> None:
    soundfile.write(tmp_path / name, tone(), RATE, subtype=subtype)
    waveform = read_audio(tmp_path / name, RATE)
    assert len(waveform) == RATE
    np.testing.assert_allclose(waveform, tone(), atol=tolerance)


def test_the_format_is_told_by_the_content_and_not_by_the_name(path: Path) -> None:
    soundfile.write(path.with_suffix(".flac"), tone(), RATE)
    path.with_suffix(".flac").rename(path)
    assert len(read_audio(path, RATE)) == RATE


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_any_rate_is_resampled_as_in_one_piece(path: Path, rate: int) -> None:
    long = tone(12.0, rate=rate)  # several blocks at 44.1 kHz and above
    soundfile.write(path, long, rate, subtype="FLOAT")
    waveform = read_audio(path, RATE)
    whole = soxr.resample(long, rate, RATE, quality="HQ")
    np.testing.assert_allclose(waveform, whole, atol=1e-6)  # blocks are other sums than the whole
    middle = waveform[RATE : 11 * RATE]
    np.testing.assert_allclose(middle, tone(12.0)[RATE : 11 * RATE], atol=0.1)


def test_stereo_at_96_khz_and_24_bit_becomes_the_mean_at_16_khz(path: Path) -> None:
    left = tone(rate=96000)
    soundfile.write(path, np.stack([left, 0.5 * left], axis=1), 96000, subtype="PCM_24")
    expected = soxr.resample(0.75 * left, 96000, RATE, quality="HQ")
    np.testing.assert_allclose(read_audio(path, RATE), expected, atol=1e-6)


def test_equal_channels_are_mixed_to_themselves(path: Path) -> None:
    soundfile.write(path, np.stack([tone()] * 2, axis=1), RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(path, RATE), tone())


def test_floats_beyond_full_scale_are_kept(path: Path) -> None:
    soundfile.write(path, 4 * tone(), RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(path, RATE), 4 * tone())


def test_silence_is_no_error(path: Path) -> None:
    soundfile.write(path, np.zeros(100), RATE)
    assert not read_audio(path, RATE).any()


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_a_segment_is_that_part_of_the_whole(path: Path, suffix: str) -> None:
    path = path.with_suffix(suffix)
    soundfile.write(path, tone(5.0), RATE)
    whole = read_audio(path, RATE)
    for start in np.arange(0, 4.9, 0.1).tolist():  # at 4.6 s libsndfile 1.2.2 seeks to a wrong place in ogg
        segment = read_audio(path, RATE, start=start, end=start + 0.25)
        expected = whole[round(start * RATE) : round((start + 0.25) * RATE)]
        np.testing.assert_allclose(segment, expected, atol=1e-6)
    np.testing.assert_allclose(read_audio(path, RATE, start=4.5), whole[round(4.5 * RATE) :], atol=1e-6)


def test_an_end_a_little_beyond_the_file_is_the_end_of_the_file(path: Path) -> None:
    soundfile.write(path, tone(), RATE)
    assert len(read_audio(path, RATE, start=0.5, end=1.4)) == RATE // 2


def test_a_segment_decodes_only_what_it_needs(path: Path) -> None:
    soundfile.write(path, tone(60.0), RATE)
    tracemalloc.start()
    read_audio(path, RATE, start=50.0, end=50.1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000  # the whole file is 3.8 MB


def test_a_long_recording_needs_little_more_memory_than_its_waveform(path: Path) -> None:
    minute = tone(20.0, rate=48000)
    soundfile.write(path, np.tile(minute, 6)[:, None].repeat(2, axis=1), 48000)
    tracemalloc.start()
    waveform = read_audio(path, RATE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(waveform) == 120 * RATE
    assert peak < 3 * waveform.nbytes  # decoded at once, it takes 6 times as much before anything is mixed


def test_probe_tells_rate_channels_and_duration(path: Path) -> None:
    soundfile.write(path, np.zeros((22050, 2)), 44100)
    assert probe(path) == AudioInfo(sample_rate=44100, channels=2, samples=22050)
    assert probe(path).duration_s == 0.5


def test_the_versions_of_the_decoders_are_named() -> None:
    assert f"libsndfile {soundfile.__libsndfile_version__}" in decoder_versions()
    assert f"soxr {soxr.__version__}" in decoder_versions()


@pytest.mark.parametrize("package", ["soundfile", "soxr"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(path, tone(), RATE)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=rf'{package}.*pip install "soundfile>=.*" "soxr>='):
        read_audio(path, RATE)


def test_importing_the_module_imports_neither_package() -> None:
    code = "import sys, ser.audio.reader; sys.exit(bool({'soundfile', 'soxr'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_file_is_said_with_the_one_that_may_be_meant(path: Path) -> None:
    with pytest.raises(DataError, match=r"speech\.wav: no such file\. Check the path"):
        read_audio(path, RATE)
    soundfile.write(path.with_suffix(".flac"), tone(), RATE)
    with pytest.raises(DataError, match=r"no such file\. Did you mean 'speech\.flac'\?"):
        probe(path)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file\. Nor is there the folder .*/nowhere: check"):
        read_audio(tmp_path / "nowhere" / "a.wav", RATE)


def test_a_folder_is_no_audio_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder, expected an audio file"):
        read_audio(tmp_path, RATE)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_an_unreadable_file_is_said(path: Path) -> None:
    soundfile.write(path, tone(), RATE)
    path.chmod(0)
    with pytest.raises(DataError, match=r"cannot be read \(permission denied\)\. Check .* permissions"):
        read_audio(path, RATE)


def test_a_path_through_a_file_is_said(path: Path) -> None:
    path.touch()
    with pytest.raises(DataError, match=r"cannot be read \(not a directory\)"):
        read_audio(path / "a.wav", RATE)


def test_an_empty_file_is_said(path: Path) -> None:
    path.touch()
    with pytest.raises(DataError, match=r"speech\.wav: is empty \(0 bytes\)\. Copy or download it again"):
        read_audio(path, RATE)


def test_a_text_file_is_told_by_its_beginning(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(DataError, match=r"is text, not audio: it begins with 'version .*`git lfs pull`"):
        read_audio(path, RATE)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.m4a", b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(range(256))),
        ("a.wav", bytes(range(256)) * 8),
        ("a.raw", bytes(4000)),
        ("a.wav", b"RIFF\x24\0\0\0WAVE"),
    ],
)
def test_what_is_no_known_format_is_to_be_converted(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: is not audio that can be read \(.*convert it to wav"):
        read_audio(tmp_path / name, RATE)


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_wav_file_that_was_cut_is_refused(path: Path, share: float) -> None:
    soundfile.write(path, tone(), RATE)
    truncate(path, share)
    with pytest.raises(DataError, match=r"is cut off, \d+ of 32000 bytes of samples are there"):
        read_audio(path, RATE)


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_flac_file_that_was_cut_is_refused(path: Path, share: float) -> None:
    path = path.with_suffix(".flac")
    soundfile.write(path, tone(), RATE)
    truncate(path, share)
    with pytest.raises(DataError, match=r"speech\.flac: is damaged \(flac decoder lost sync\)\. Copy"):
        read_audio(path, RATE)


@pytest.mark.parametrize("share", [0.5, 0.999])
def test_an_ogg_file_that_was_cut_is_refused(path: Path, share: float) -> None:
    path = path.with_suffix(".ogg")
    soundfile.write(path, tone(5.0), RATE)
    truncate(path, share)
    with pytest.raises(DataError, match=r"speech\.ogg: is cut off, its end is missing"):
        read_audio(path, RATE)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_an_mp3_file_that_was_cut_is_refused(path: Path, share: float) -> None:
    path = path.with_suffix(".mp3")
    soundfile.write(path, tone(5.0), RATE)
    truncate(path, share)
    with pytest.raises(DataError, match=r"is damaged or cut off, \d+ of 80000 samples can be decoded"):
        read_audio(path, RATE)


@pytest.mark.parametrize("suffix", [".flac", ".ogg"])
def test_a_stretch_of_garbage_is_noticed(path: Path, suffix: str) -> None:
    path = path.with_suffix(suffix)
    soundfile.write(path, tone(5.0), RATE)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = np.random.default_rng(0).bytes(300)
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        read_audio(path, RATE)


@pytest.mark.parametrize("claimed", [0x7FFFF000, 0xFFFFFFFF])
def test_a_wav_file_from_a_pipe_does_not_know_its_length_and_is_read(path: Path, claimed: int) -> None:
    soundfile.write(path, tone(), RATE)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", claimed)
    content[4:8] = struct.pack("<I", min(claimed + 36, 0xFFFFFFFF))
    path.write_bytes(content)
    assert len(read_audio(path, RATE)) == RATE


@pytest.mark.parametrize("suffix", [".wav", ".ogg"])
def test_a_file_without_samples_is_refused(path: Path, suffix: str) -> None:
    path = path.with_suffix(suffix)
    soundfile.write(path, np.zeros(0), RATE)
    with pytest.raises(DataError, match=r"has 0 samples\. Record or export it again"):
        read_audio(path, RATE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [RATE, 48000])
def test_samples_that_are_no_numbers_are_refused(path: Path, value: float, rate: int) -> None:
    stereo = np.stack([tone(rate=rate), tone(rate=rate)], axis=1)
    stereo[100] = value, -value
    soundfile.write(path, stereo, rate, subtype="FLOAT")
    with pytest.raises(DataError, match=r"speech\.wav: has samples that are NaN or infinite"):
        read_audio(path, RATE)


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (1.0, None, r"starts at 1\.0 s, outside the file, which is 1\.000 s long"),
        (-0.1, None, r"starts at -0\.1 s, outside"),
        (float("nan"), None, "starts at nan s"),
        (0.0, 1.6, r"ends at 1\.6 s, beyond the file, which is 1\.000 s long\. Correct the segment"),
        (0.5, 0.5, r"from 0\.5 s to 0\.5 s holds no sample"),
        (0.5, 0.2, r"from 0\.5 s to 0\.2 s holds no sample"),
    ],
)
def test_a_segment_outside_the_file_is_refused(
    path: Path, start: float, end: float | None, words: str
) -> None:
    soundfile.write(path, tone(), RATE)
    with pytest.raises(DataError, match=rf"speech\.wav: .*{words}"):
        read_audio(path, RATE, start=start, end=end)


@pytest.mark.shared
def test_real_speech_has_the_duration_its_manifest_says(shared: Path) -> None:
    path = shared / "data/ravdess/Actor_01/03-01-01-01-01-01-01.flac"
    assert probe(path) == AudioInfo(sample_rate=16000, channels=1, samples=52853)
    assert round(len(read_audio(path, 16000)) / 16000, 4) == 3.3033
    assert 0.01 < np.abs(read_audio(path, 16000)).max() < 1


def test_the_module_names_no_library_outside_functions() -> None:
    assert not {"soundfile", "soxr"} & vars(reader).keys()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_utf8_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    (tmp_path / "a.wav").rename(path)
    assert len(read_audio(path, RATE)) == RATE


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), soundfile.LibsndfileError(2)])
def test_an_error_of_the_disk_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100), 16_000)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(reader, "refuse_truncated", fail)
    with pytest.raises(FileAccessError, match=r"a\.wav: cannot be read \(.*error\)\. Check"):
        read_audio(path, 16_000)
