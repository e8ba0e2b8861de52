"""Files whose header tells a wrong length, or none: all of them is read, and what was cut off is refused."""

import os
import socket
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ser.audio import mpeg
from ser.audio.reader import is_audio, probe, read_audio
from ser.errors import DataError

soundfile = pytest.importorskip("soundfile")

RATE = 16_000
UNKNOWN = {"IRCAM", "PAF", "PVF", "XI", "RAW", "SD2"}  # formats whose headers say nothing of a length


def loud_then_quiet(seconds: float) -> np.ndarray:
    """Noise, then a tone: the first frames of an MP3 of variable rate are the largest."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(0).normal(0, 0.2, len(time))
    return np.where(time < seconds / 4, noise, 0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def write_mp3(path: Path, seconds: float, *, mode: str, tagged: bool) -> None:
    """An MP3 file, with the tag that tells its length or without."""
    settings = {"bitrate_mode": mode, "compression_level": 0.5}
    soundfile.write(path, loud_then_quiet(seconds), RATE, format="MP3", **settings)
    content = path.read_bytes()
    tag = max(content.find(b"Xing"), content.find(b"Info"))
    first = content.rfind(b"\xff\xf3", 0, tag)
    second = content.find(content[first : first + 2], tag)
    if not tagged:
        path.write_bytes(content[second:])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "speech.mp3"


@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
def test_an_mp3_without_a_length_is_read_to_its_end(path: Path, mode: str) -> None:
    write_mp3(path, 12.0, mode=mode, tagged=False)
    assert len(read_audio(path, RATE)) / RATE == pytest.approx(12.0, abs=0.15)
    assert probe(path).duration_s == pytest.approx(12.0, abs=0.15)


def test_libsndfile_still_believes_estimates_of_mp3(path: Path) -> None:
    write_mp3(path, 12.0, mode="VARIABLE", tagged=False)
    assert soundfile.info(path).duration < 11.0  # if this fails, ser.audio.mpeg is no longer needed


@pytest.mark.parametrize("tagged", [True, False])
def test_a_segment_of_an_mp3_is_that_part_of_the_whole(path: Path, tagged: bool) -> None:
    write_mp3(path, 12.0, mode="VARIABLE", tagged=tagged)
    whole = read_audio(path, RATE)
    for start in (0.0, 1.0, 6.5, 11.0, 11.7):
        segment = read_audio(path, RATE, start=start, end=start + 0.3)
        expected = whole[round(start * RATE) : round((start + 0.3) * RATE)]
        np.testing.assert_allclose(segment, expected, atol=1e-6)


@pytest.mark.parametrize("told", [50, 10_000])
def test_an_mp3_whose_tag_tells_a_wrong_length_is_read_to_its_end(path: Path, told: int) -> None:
    write_mp3(path, 6.0, mode="VARIABLE", tagged=True)
    content = bytearray(path.read_bytes())
    tag = max(content.find(b"Xing"), content.find(b"Info"))
    content[tag + 8 : tag + 12] = struct.pack(">I", told)
    path.write_bytes(content)
    assert len(read_audio(path, RATE)) / RATE == pytest.approx(6.0, abs=0.25)
    assert probe(path).duration_s == pytest.approx(6.0, abs=0.25)


def test_two_mp3_files_in_one_are_read_both(path: Path) -> None:
    write_mp3(path, 3.0, mode="CONSTANT", tagged=True)
    path.write_bytes(path.read_bytes() * 2)
    assert len(read_audio(path, RATE)) / RATE == pytest.approx(6.0, abs=0.4)


def test_mpeg_frames_in_a_wav_are_read_to_their_end(path: Path) -> None:
    write_mp3(path, 12.0, mode="VARIABLE", tagged=False)
    frames = path.read_bytes()
    kind = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 8_000, 1, 0, 12, 1, 2, 576, 1, 1393)
    chunks = b"WAVEfmt " + struct.pack("<I", len(kind)) + kind + b"data" + struct.pack("<I", len(frames))
    wav = path.with_suffix(".wav")
    wav.write_bytes(b"RIFF" + struct.pack("<I", len(chunks) + len(frames)) + chunks + frames)
    assert len(read_audio(wav, RATE)) / RATE == pytest.approx(12.0, abs=0.15)
    assert probe(wav).duration_s == pytest.approx(12.0, abs=0.15)
    wav.write_bytes(wav.read_bytes()[: len(frames) // 2])
    with pytest.raises(DataError, match="cut off"):
        read_audio(wav, RATE)


@pytest.mark.parametrize(("rate", "channels"), [(RATE, 2), (44_100, 1)])
def test_two_mp3_files_of_different_kinds_in_one_are_refused(path: Path, rate: int, channels: int) -> None:
    write_mp3(path, 3.0, mode="CONSTANT", tagged=False)
    first = path.read_bytes()
    noise = np.random.default_rng(0).normal(0, 0.1, (3 * rate, channels))
    soundfile.write(path, noise, rate, format="MP3")
    path.write_bytes(first + path.read_bytes())
    with pytest.raises(DataError, match=r"recordings of different kinds .* leave it out\.$"):
        read_audio(path, RATE)


def test_zeros_around_the_frames_of_an_mp3_are_passed_over(path: Path) -> None:
    write_mp3(path, 3.0, mode="VARIABLE", tagged=False)
    path.write_bytes(bytes(5_000) + path.read_bytes() + bytes(50_000))
    assert len(read_audio(path, RATE)) / RATE == pytest.approx(3.0, abs=0.15)


@pytest.mark.parametrize("seconds", [1.0, 7.3])
def test_frames_are_counted_as_the_tag_counts_them(path: Path, seconds: float) -> None:
    write_mp3(path, seconds, mode="VARIABLE", tagged=True)
    tagged = mpeg.measure_length(path)
    write_mp3(path, seconds, mode="VARIABLE", tagged=False)
    assert (tagged.is_declared, tagged.wrong_tag) == (True, None)
    assert mpeg.measure_length(path).samples == pytest.approx(tagged.samples, abs=576)


def test_an_hour_of_mp3_is_measured(path: Path) -> None:
    write_mp3(path, 20.0, mode="CONSTANT", tagged=False)
    path.write_bytes(path.read_bytes() * 180)
    assert mpeg.measure_length(path).samples / RATE == pytest.approx(3600, rel=0.02)


def all_formats() -> list[tuple[str, str]]:
    """What libsndfile can write; RAW has no header to know it by."""
    return [
        (name, kind)
        for name in sorted(soundfile.available_formats())
        for kind in sorted(soundfile.available_subtypes(name))
        if name != "RAW" and soundfile.check_format(name, kind)
    ]


def write_as(folder: Path, name: str, kind: str) -> Path:
    """Three seconds, or a skipped test where the library refuses."""
    path = folder / f"speech.{name.lower()}"
    try:
        soundfile.write(path, loud_then_quiet(3.0), RATE, format=name, subtype=kind)
    except soundfile.SoundFileError as error:
        pytest.skip(f"libsndfile does not write it: {error}")
    return path


@pytest.mark.parametrize(("name", "kind"), all_formats())
def test_each_format_is_read_whole_and_in_segments(tmp_path: Path, name: str, kind: str) -> None:
    path = write_as(tmp_path, name, kind)
    info = probe(path)
    whole = read_audio(path, info.sample_rate)
    assert len(whole) == pytest.approx(3 * RATE, abs=1100)  # some fill their last block
    first, stop = info.samples // 3, info.samples // 2
    segment = read_audio(path, info.sample_rate, start=first / info.sample_rate, end=stop / info.sample_rate)
    np.testing.assert_allclose(segment, whole[first:stop], atol=1e-6)


@pytest.mark.parametrize("kind", ["PCM_16", "ULAW", "ALAC_16"])
def test_a_caf_file_that_lacks_a_few_bytes_is_refused(tmp_path: Path, kind: str) -> None:
    path = write_as(tmp_path, "CAF", kind)
    content = path.read_bytes()
    assert len(read_audio(path, RATE)) == 3 * RATE
    path.write_bytes(content[:-2])  # the last one may be a pad
    with pytest.raises(DataError, match=r"cut off, its last [12] bytes are missing\. Copy"):
        read_audio(path, RATE)


@pytest.mark.parametrize(("name", "kind"), [pair for pair in all_formats() if pair[0] not in UNKNOWN])
def test_each_format_that_was_cut_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    path = write_as(tmp_path, name, kind)
    content = path.read_bytes()
    for share in (0.98, 0.7, 0.4):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(DataError, match=r"cut off|damaged|not audio that can be read|has 0 samples"):
            read_audio(path, RATE)


@pytest.mark.parametrize("kind", ["PCM_U8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("name", ["RF64", "W64", "WAV", "AIFF", "CAF"])
def test_files_of_odd_length_are_not_cut(tmp_path: Path, name: str, kind: str) -> None:
    if not soundfile.check_format(name, kind):
        pytest.skip("no such format")
    for samples in range(1001, 1009):
        soundfile.write(tmp_path / "a", np.zeros(samples), RATE, format=name, subtype=kind)
        assert len(read_audio(tmp_path / "a", RATE)) - samples in (
            0,
            1,
        )  # libsndfile fills AIFF up to even bytes


def test_a_flac_without_a_length_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, loud_then_quiet(3.0), RATE)
    content = bytearray(path.read_bytes())
    place = 4 + 4 + 13  # of the low 36 bits that hold the number of samples, in the first block of metadata
    content[place] &= 0xF0
    content[place + 1 : place + 5] = bytes(4)
    path.write_bytes(content)
    assert soundfile.info(path).frames > 1 << 60
    assert len(read_audio(path, RATE)) == 3 * RATE
    assert probe(path).samples == 3 * RATE
    assert len(read_audio(path, RATE, start=2.5)) == RATE // 2


@pytest.mark.parametrize("kind", ["VORBIS", "OPUS"])
def test_a_chain_of_ogg_recordings_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.ogg"
    soundfile.write(path, loud_then_quiet(1.0), RATE, format="OGG", subtype=kind)
    assert len(read_audio(path, RATE)) == RATE
    path.write_bytes(path.read_bytes() * 3)
    with pytest.raises(DataError, match=r"holds 3 recordings one after another.*Convert it to wav"):
        read_audio(path, RATE)


@pytest.mark.parametrize("rate", [1, 100, 999, 2_000_000])
def test_a_rate_that_cannot_be_is_refused(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(200_000), RATE)
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(content)
    tracemalloc.start()
    for open_file in (probe, lambda file: read_audio(file, RATE)):
        with pytest.raises(DataError, match=f"a.wav: claims a sample rate of {rate} Hz, expected 1000 to"):
            open_file(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_waveform_of_more_than_a_day_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100), 1_000, subtype="PCM_U8")
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    samples = 25 * 3600 * 1_000
    content[place : place + 4] = struct.pack("<I", samples)
    path.write_bytes(content)
    with path.open("r+b") as file:
        file.truncate(place + 4 + samples)  # a hole: it takes no room on the disk
    with pytest.raises(DataError, match="is longer than 24 hours"):
        read_audio(path, RATE)
    assert len(read_audio(path, 1_000, start=80_000, end=80_001)) == 1_000


def test_a_pipe_a_socket_and_a_device_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "b.wav"))
        for path in (tmp_path / "a.wav", tmp_path / "b.wav", Path("/dev/zero")):
            with pytest.raises(DataError, match=f"{path.name}: is a pipe, socket or device, not a file"):
                read_audio(path, RATE)


@pytest.mark.parametrize("name", ["a\0b.wav", "a\ud800.wav"])
def test_a_path_that_no_file_can_have_is_said(name: str) -> None:
    with pytest.raises(DataError, match="is not a valid path"):
        read_audio(Path(name), RATE)


@pytest.mark.parametrize(
    "content",
    [
        "Hello, this is text.".encode("utf-16"),
        b"\xff" * 5000,
        b"\xff\xfb\x90\x64" + bytes(3000),
        b"ID3\3\0\0\0\0\0\n" + bytes(range(256)) * 10,
        b"\x89PNG\r\n\x1a\n" + bytes(1000),
    ],
)
def test_what_is_no_audio_is_told_from_audio(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert not is_audio(tmp_path / "a")
    soundfile.write(tmp_path / "b", np.zeros(100), RATE, format="FLAC")
    assert is_audio(tmp_path / "b")
