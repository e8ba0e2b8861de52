"""Audio files as waveforms: wav, flac, ogg, mp3 and what else libsndfile knows, at any rate, mixed to mono.

A file is decoded, mixed and resampled block by block: hours of 96 kHz stereo need twice the memory of the
waveform that comes out, and no more.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ser.data.manifest import AUDIO_SUFFIXES
from ser.errors import DataError

_BLOCK = 1 << 18  # samples decoded at a time: 2 MB in stereo
_OVERSHOOT_S = 0.5  # annotated ends may lie so far beyond the file, as in Kaldi's extract-segments
_MISSING_BYTES = re.compile(r"(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)")  # wav, aiff, au
_HALF_A_PAGE = "Junk after the last page"  # ogg
_UNKNOWN_LENGTH = 0x7FFFF000  # what wav files that were written to a pipe claim, or more
_FETCH_AGAIN = "Copy or download it again, or leave it out."


@dataclass(frozen=True)
class AudioInfo:
    """What a file says of itself.

    Args:
        sample_rate: in Hz.
        channels: 1 or more.
        samples: of each channel.
    """

    sample_rate: int
    channels: int
    samples: int

    @property
    def duration_s(self) -> float:
        """Of the whole file, in seconds."""
        return self.samples / self.sample_rate


def probe(path: Path) -> AudioInfo:
    """Rate, channels and length of a file, of which only the header is read.

    Raises:
        DataError: it is missing, or no audio that libsndfile knows.
    """
    with _opened(path) as file:
        return _info(file)


def read_audio(path: Path, sample_rate: int, *, start: float = 0.0, end: float | None = None) -> np.ndarray:
    """The waveform [samples] of a file or of a segment of it, float32, mono by the mean of the channels.

    Full scale is -1..1. What lies beyond it in a file of floats, or overshoots in resampling, is not clipped.

    Args:
        path: of the file; its format is told by its content.
        sample_rate: of the result, in Hz.
        start: in seconds; what lies before is not decoded, save in Vorbis.
        end: in seconds; None, or up to 0.5 s too late, for the end of the file.

    Raises:
        DataError: the file is missing, damaged, empty or no audio, the segment lies outside, or a sample is no
            finite number.
    """
    with _opened(path) as file:
        first, stop = _span(path, _info(file), start, end)
        _refuse_cut(path, file)
        blocks = _mono_blocks(path, file, first, stop)
        if file.samplerate != sample_rate:
            blocks = _resampled(blocks, file.samplerate, sample_rate)
        waveform = np.concatenate([*blocks])
    if not np.isfinite(waveform).all():
        raise DataError(f"{path}: has samples that are NaN or infinite. Export it again, or leave it out.")
    return waveform


def decoder_versions() -> str:
    """The libraries that decode and resample: what they make of a file may change with them.

    Raises:
        DataError: they are not installed.
    """
    soundfile, soxr = _libraries()
    return (
        f"soundfile {soundfile.__version__}, libsndfile {soundfile.__libsndfile_version__}, "
        f"soxr {soxr.__version__}"
    )


def _libraries() -> tuple[ModuleType, ModuleType]:
    """Import soundfile and soxr, here because training from features needs neither."""
    try:
        import soundfile
        import soxr
    except (ImportError, OSError) as error:  # OSError: soundfile is there, but libsndfile is not
        raise DataError(
            f"Audio files: the packages that decode and resample them cannot be imported ({error}). "
            'Run `pip install "ser[audio]"`.'
        ) from error
    return soundfile, soxr


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open SoundFile; whatever goes wrong with it becomes a message to the user."""
    soundfile, _ = _libraries()
    head = _head(path)
    try:
        # A name may be bytes that are no UTF-8, which soundfile cannot encode; on Windows, names are text.
        file = soundfile.SoundFile(str(path) if os.name == "nt" else os.fsencode(path))
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a name that ends in .raw
        raise _no_audio(path, head, getattr(error, "error_string", str(error))) from error
    try:
        with file:
            yield file
    except soundfile.SoundFileError as error:
        raise DataError(f"{path}: is damaged ({_words(error.error_string)}). {_FETCH_AGAIN}") from error


def _head(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        DataError: it is missing, unreadable or empty.
    """
    try:
        with path.open("rb") as file:
            head = file.read(60)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file. {_whereabouts(path)}") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder, expected an audio file. Give the path of a file.") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: cannot be read ({reason}). Check the path and its permissions.") from error
    if not head:
        raise DataError(f"{path}: is empty (0 bytes). {_FETCH_AGAIN}")
    return head


def _whereabouts(path: Path) -> str:
    """A hint found in a few steps: thousands of files may be missing, among thousands of others."""
    if not path.parent.is_dir():
        return f"Nor is there the folder {path.parent}: check the path."
    namesakes = [path.with_suffix(suffix) for suffix in AUDIO_SUFFIXES]
    found = next((namesake.name for namesake in namesakes if namesake.is_file()), None)
    return f"Did you mean '{found}'?" if found else "Check the path, or leave it out."


def _no_audio(path: Path, head: bytes, reason: str) -> DataError:
    beginning = " ".join(head.decode("ascii", "replace").split())
    if beginning.isprintable() and beginning.isascii():
        return DataError(
            f"{path}: is text, not audio: it begins with {beginning!r}. Put the recording itself there; "
            "`git lfs pull` does if this stands in for it."
        )
    return DataError(
        f"{path}: is no audio that can be read ({_words(reason)}). If it plays elsewhere, convert it to wav or "
        "flac, for instance with ffmpeg, else leave it out."
    )


def _words(reason: str) -> str:
    """What libsndfile says, to be put in brackets."""
    return reason.removeprefix("Error : ").rstrip(".")


def _info(file: Any) -> AudioInfo:
    return AudioInfo(file.samplerate, file.channels, file.frames)


def _span(path: Path, info: AudioInfo, start: float, end: float | None) -> tuple[int, int]:
    """The first sample of a segment and the one after its last."""
    if not info.samples:
        raise DataError(f"{path}: has 0 samples. Record or export it again, or leave it out.")
    duration = f"which is {info.duration_s:.3f} s long. Correct the segment, or give the file it is of."
    if not 0 <= start < info.duration_s:
        raise DataError(f"{path}: a segment starts at {start} s, outside the file, {duration}")
    if end is None:
        end = info.duration_s
    if end > info.duration_s + _OVERSHOOT_S:
        raise DataError(f"{path}: a segment ends at {end} s, beyond the file, {duration}")
    first, stop = (min(round(time * info.sample_rate), info.samples) for time in (start, end))
    if first >= stop:
        raise DataError(f"{path}: the segment from {start} s to {end} s holds no sample. Correct its times.")
    return first, stop


def _refuse_cut(path: Path, file: Any) -> None:
    """Look in libsndfile's log for signs that the file goes on elsewhere: it reads what is left silently."""
    log: str = file.extra_info
    for claim in _MISSING_BYTES.finditer(log):
        claimed, present = int(claim[1]), int(claim[2])
        if present < claimed < _UNKNOWN_LENGTH:
            raise DataError(
                f"{path}: is cut off, {present} of {claimed} bytes of samples are there. {_FETCH_AGAIN}"
            )
    if _HALF_A_PAGE in log:
        raise DataError(f"{path}: is cut off, its last page is not whole. {_FETCH_AGAIN}")


def _mono_blocks(path: Path, file: Any, first: int, stop: int) -> Iterator[np.ndarray]:
    """The samples first..stop of an open file, [n] at a time."""
    mix = np.full(file.channels, 1 / file.channels, dtype=np.float32)
    _skip_to(file, first)
    for start in range(first, stop, _BLOCK):
        size = min(_BLOCK, stop - start)
        block = file.read(size, dtype="float32", always_2d=True)
        if len(block) < size:
            raise DataError(
                f"{path}: is damaged or cut off, {start + len(block)} of {file.frames} samples can be decoded. "
                f"{_FETCH_AGAIN}"
            )
        with np.errstate(over="ignore", invalid="ignore"):  # NaN and infinity are found at the end
            yield block @ mix  # for 20 s of stereo at 48 kHz 0.3 ms, where block.mean(axis=1) takes 14 ms


def _skip_to(file: Any, first: int) -> None:
    """Go from the beginning of an open file to a sample."""
    if file.subtype != "VORBIS":
        file.seek(first)
        return
    # Seeking in Vorbis may end 128 samples off (libsndfile issue 885), decoding the way there never does.
    for start in range(0, first, _BLOCK):
        file.read(min(_BLOCK, first - start), dtype="float32")


def _resampled(blocks: Iterable[np.ndarray], source: int, target: int) -> Iterator[np.ndarray]:
    """The same waveform at another rate in Hz, to the bit what resampling it in one piece gives."""
    _, soxr = _libraries()
    stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, dtype=np.float32), last=True)
