"""Read audio files as waveforms: any format of libsndfile, any sample rate, mixed to mono.

A file is decoded, mixed and resampled block by block: hours of 96 kHz stereo need only twice the memory of the
resulting waveform. The length in a header is trusted only for formats in which it must be right; other files are read
to their end.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ser.audio import mpeg
from ser.audio.truncation import refuse_truncated
from ser.errors import DataError, FileAccessError, install_command

AUDIO_SUFFIXES = (
    *(
        ".wav",
        ".flac",
        ".ogg",
        ".mp3",
        ".opus",
        ".oga",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".snd",
        ".caf",
        ".w64",
    ),
    *(".rf64", ".bwf", ".mp2", ".mpga", ".voc", ".sph"),
    *(".m4a", ".m4b", ".aac", ".wma", ".amr", ".ac3", ".ape", ".wv", ".spx", ".mka", ".raw", ".pcm"),
)
"""Audio suffixes, in lower case; formats from .m4a on cannot be read, which reading them reports."""

_BLOCK = 1 << 19  # values decoded at a time: 2 MB
OVERSHOOT_S = 0.5  # annotated ends may lie up to this beyond the end, as in Kaldi's extract-segments
_UNKNOWN_SAMPLES = 1 << 62  # length that libsndfile reports if the header has none, or more
RATES = (
    1_000,
    1_000_000,
)  # Hz; with 1 Hz from a damaged header, resampling would make a file 16,000 times as long
_MOST_HOURS = 24  # of a waveform in memory: 5.5 GB at 16 kHz
# Other encodings seek inexactly, such as Vorbis (libsndfile issue 885), or not at all; decoding up to the position
# never fails. Frames of MP3 hold bits of up to 22 later frames, 1.6 s.
_EXACT_SEEKS = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
_SEEKABLE = {"AIFF", "AU", "CAF", "FLAC", "NIST", "RF64", "W64", "WAV", "WAVEX"}
_MP3_RUN_UP_S = 5
_MP3_LOST_SAMPLES = 6_000  # delay, padding and frames without sound
_SYSTEM_ERROR = 2  # libsndfile's code of an error of the operating system, SF_ERR_SYSTEM
_FETCH_AGAIN = "Copy or download it again, or leave it out."


@dataclass(frozen=True)
class AudioInfo:
    """Sample rate, channels and length of a file.

    Args:
        sample_rate: Sample rate in Hz.
        channels: Number of channels, 1 or more.
        samples: Number of samples of each channel.
    """

    sample_rate: int
    channels: int
    samples: int

    @property
    def duration_s(self) -> float:
        """Return the duration in seconds."""
        return self.samples / self.sample_rate


class _Source(NamedTuple):
    """An open file.

    Args:
        path: Path of the file.
        file: SoundFile at its beginning.
        samples: Number of samples of each channel; an estimate if `is_exact` is false, None if unknown.
        is_exact: Whether the number of samples is exact, so that a file with fewer samples is damaged.
    """

    path: Path
    file: Any
    samples: int | None
    is_exact: bool


def probe(path: Path, *, most_s: float | None = None) -> AudioInfo:
    """Read sample rate, channels and length of a file; it is decoded only if its header has no length.

    Args:
        path: Path of the file.
        most_s: Seconds that are decoded then, and counted as its length; None for the whole file.

    Raises:
        DataError: The file is missing, or is not audio that libsndfile can read.
    """
    with _open_audio(path) as source:
        return _info(source, most_s)


def is_audio(path: Path) -> bool:
    """Return whether the content of a file is audio that can be read."""
    try:
        with _open_audio(path):
            return True
    except DataError:
        _libraries()  # raises if they are missing, which is not a property of the file
        return False


def read_audio(path: Path, sample_rate: int, *, start: float = 0.0, end: float | None = None) -> np.ndarray:
    """Read the waveform [samples] of a file or a segment, float32, mono by the mean of the channels.

    Full scale is -1..1. Values beyond, from files of floats or from resampling, are not clipped.

    Args:
        path: Path of the file; its format is detected by its content.
        sample_rate: Sample rate of the result, in Hz.
        start: Start in seconds; the samples before are decoded only in formats without exact seeking.
        end: End in seconds, or up to 0.5 s later; None for the end of the file.

    Raises:
        DataError: The file is missing, damaged, empty, not audio, or longer than a day; the segment lies outside the
            file; or a sample is not finite.
        FileAccessError: The file cannot be read now.
    """
    with _open_audio(path) as source:
        first, stop = _segment_samples(source, start, end)
        refuse_truncated(path, source.file)
        blocks = _mono_blocks(source, first, stop)
        if source.file.samplerate != sample_rate:
            blocks = _resample(blocks, source.file.samplerate, sample_rate)
        waveform = np.concatenate([*blocks])
    if not waveform.size:
        raise _no_samples_error(path)
    if not np.isfinite(waveform).all():
        raise DataError(f"{path}: has samples that are NaN or infinite. Export it again, or leave it out.")
    return waveform


def decoder_versions() -> str:
    """Return the versions of the libraries that decode and resample, on which waveforms depend.

    Raises:
        DataError: They are not installed.
    """
    soundfile, soxr = _libraries()
    return (
        f"soundfile {soundfile.__version__}, libsndfile {soundfile.__libsndfile_version__}, "
        f"soxr {soxr.__version__}"
    )


def _libraries() -> tuple[ModuleType, ModuleType]:
    """Import soundfile and soxr, only when needed, as training from features needs neither."""
    try:
        import soundfile
        import soxr
    except (ImportError, OSError) as error:  # OSError: soundfile without libsndfile
        raise DataError(
            f"Audio files: the packages that decode and resample them cannot be imported ({error}). "
            f"Run: {install_command('audio')}"
        ) from error
    return soundfile, soxr


@contextmanager
def _open_audio(path: Path) -> Iterator[_Source]:
    """Open a file, and turn all errors into messages to the user."""
    soundfile, _ = _libraries()
    head = _read_head(path)
    try:
        # soundfile cannot encode a name with bytes that are not UTF-8; on Windows, names are text.
        file = _forward_reader()(str(path) if os.name == "nt" else os.fsencode(path))
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a name that ends in .raw
        reason = getattr(error, "error_string", str(error))
        if getattr(error, "code", None) == _SYSTEM_ERROR:
            raise _access_error(path, reason) from error
        raise _no_audio_error(path, head, reason) from error
    try:
        with file:
            _check_sample_rate(path, file)
            if file.format == "MP3" or file.subtype.startswith("MPEG"):
                with _open_mpeg(path, file) as source:
                    yield source
            else:
                is_known = file.frames < _UNKNOWN_SAMPLES
                yield _Source(path, file, file.frames if is_known else None, is_exact=is_known)
    except OSError as error:
        raise _access_error(path, error.strerror or str(error)) from error
    except soundfile.SoundFileError as error:
        if getattr(error, "code", None) == _SYSTEM_ERROR:
            raise _access_error(path, error.error_string) from error
        raise DataError(
            f"{path}: is damaged ({_clean_reason(error.error_string)}). {_FETCH_AGAIN}"
        ) from error


@contextmanager
def _open_mpeg(path: Path, file: Any) -> Iterator[_Source]:
    """Open MPEG frames, alone or in a wav, so that they are read to their end, whatever the header says."""
    length = mpeg.measure_length(path)
    if not length.samples:
        raise _no_audio_error(path, _read_head(path), "no MPEG frames")
    if length.is_declared and file.format == "MP3":
        yield _Source(path, file, file.frames, is_exact=True)
        return
    refuse_truncated(path, file)
    with mpeg.EndlessFile(path, length) as content, _forward_reader()(content) as endless:
        yield _Source(path, endless, length.samples, is_exact=False)


@lru_cache(maxsize=1)
def _forward_reader() -> Any:
    """Create a SoundFile class that never seeks backwards, which some formats cannot do."""
    soundfile, _ = _libraries()
    return type("ForwardFile", (soundfile.SoundFile,), {"seekable": lambda _: False})


def _read_head(path: Path) -> bytes:
    """Read the first bytes of a file.

    Raises:
        DataError: The file is missing, empty, or not a regular file.
        FileAccessError: It is there, but cannot be read now.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe may block, a device never ends
            raise DataError(f"{path}: is a pipe, socket or device, not a file. Leave it out.")
        with path.open("rb") as file:
            head = file.read(60)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file. {_suggest_path(path)}") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder, expected an audio file. Give the path of a file.") from error
    except OSError as error:
        raise _access_error(path, error.strerror or str(error)) from error
    except ValueError as error:  # a NUL byte, or a character that has no bytes
        raise DataError(f"{str(path)!r}: is not a valid path ({error}). Correct it.") from error
    if not head:
        raise DataError(f"{path}: is empty (0 bytes). {_FETCH_AGAIN}")
    return head


def _access_error(path: Path, reason: str) -> FileAccessError:
    return FileAccessError(
        f"{path}: cannot be read ({_clean_reason(reason).lower()}). Check the path and its permissions."
    )


def _suggest_path(path: Path) -> str:
    """Suggest a similar path in a few steps, because thousands of files may be missing."""
    if not path.parent.is_dir():
        return f"Nor is there the folder {path.parent}: check the path."
    namesakes = [path.with_suffix(suffix) for suffix in AUDIO_SUFFIXES]
    found = next((namesake.name for namesake in namesakes if namesake.is_file()), None)
    return f"Did you mean '{found}'?" if found else "Check the path, or leave it out."


def _no_audio_error(path: Path, head: bytes, reason: str) -> DataError:
    beginning = " ".join(head.decode("ascii", "replace").split())
    if beginning.isprintable() and beginning.isascii():
        return DataError(
            f"{path}: is text, not audio: it begins with {beginning!r}. Put the recording itself there; "
            "`git lfs pull` does if this stands in for it."
        )
    return DataError(
        f"{path}: is not audio that can be read ({_clean_reason(reason)}). If it plays elsewhere, convert it to wav or "
        "flac, for instance with ffmpeg, else leave it out."
    )


def _clean_reason(reason: str) -> str:
    """Shorten a message of libsndfile, to be put in brackets."""
    return reason.removeprefix("Error : ").rstrip(".")


def _check_sample_rate(path: Path, file: Any) -> None:
    lowest, highest = RATES
    if not lowest <= file.samplerate <= highest:
        raise DataError(
            f"{path}: claims a sample rate of {file.samplerate} Hz, expected {lowest} to {highest} Hz. {_FETCH_AGAIN}"
        )


def _info(source: _Source, most_s: float | None = None) -> AudioInfo:
    samples = _count_samples(source, most_s) if source.samples is None else source.samples
    return AudioInfo(source.file.samplerate, source.file.channels, samples)


def _count_samples(source: _Source, most_s: float | None) -> int:
    state = source.path.stat()
    most = None if most_s is None else round(most_s * source.file.samplerate)
    return _decoded_samples(source.path, state.st_size, state.st_mtime_ns, most)


@lru_cache(maxsize=4096)
def _decoded_samples(path: Path, _size: int, _changed_ns: int, most: int | None) -> int:
    """Count the samples of a file by decoding it, up to `most`."""
    with _open_audio(path) as source:
        return sum(map(len, _mono_blocks(source, 0, most)))


def _segment_samples(source: _Source, start: float, end: float | None) -> tuple[int, int | None]:
    """Return the first sample of a segment and the one after its last; None for the end of the file.

    Raises:
        DataError: The segment lies outside the file, or is longer than a day.
    """
    if (start, end) == (0.0, None) and not source.is_exact:
        return 0, None
    path, info = source.path, _info(source)
    if not info.samples:
        raise _no_samples_error(path)
    duration = f"which is {info.duration_s:.3f} s long. Correct the segment, or give the file it is of."
    if not 0 <= start < info.duration_s:
        raise DataError(f"{path}: a segment starts at {start} s, outside the file, {duration}")
    if end is None:
        end = info.duration_s
    if end > info.duration_s + OVERSHOOT_S:
        raise DataError(f"{path}: a segment ends at {end} s, beyond the file, {duration}")
    first, stop = (min(round(time * info.sample_rate), info.samples) for time in (start, end))
    if first >= stop:
        raise DataError(f"{path}: the segment from {start} s to {end} s holds no sample. Correct its times.")
    if stop - first > _max_samples(source):
        raise _too_long_error(path)
    return first, stop


def _max_samples(source: _Source) -> int:
    return _MOST_HOURS * 3600 * int(source.file.samplerate)


def _too_long_error(path: Path) -> DataError:
    return DataError(
        f"{path}: is longer than {_MOST_HOURS} hours, which do not fit into memory. Cut it into shorter files, or list "
        "segments of it in a manifest."
    )


def _no_samples_error(path: Path) -> DataError:
    return DataError(f"{path}: has 0 samples. Record or export it again, or leave it out.")


def _mono_blocks(source: _Source, first: int, stop: int | None) -> Iterator[np.ndarray]:
    """Yield the samples first..stop of an open file in blocks [n]; None for its end."""
    path, file = source.path, source.file
    mix = np.full(file.channels, 1 / file.channels, dtype=np.float32)
    rows = max(1, _BLOCK // file.channels)
    _skip_to(file, first, rows)
    place, last = first, first + _max_samples(source) if stop is None else stop
    while place < last:
        size = min(rows, last - place)
        block = file.read(size, dtype="float32", always_2d=True)
        place += len(block)
        with np.errstate(over="ignore", invalid="ignore"):  # `read_audio` checks for NaN and infinity
            yield block @ mix  # 0.3 ms for 20 s of stereo at 48 kHz; block.mean(axis=1) takes 14 ms
        if len(block) < size and source.is_exact:
            raise DataError(
                f"{path}: is damaged or cut off, {place} of {source.samples} samples can be decoded. {_FETCH_AGAIN}"
            )
        if len(block) < size:
            _refuse_short_mpeg(source, place)
            return
    if stop is None:
        raise _too_long_error(path)


def _refuse_short_mpeg(source: _Source, place: int) -> None:
    """Refuse a file with further frames after the last sample that could be decoded."""
    if source.file.format == "MP3" and source.samples and place < source.samples - _MP3_LOST_SAMPLES:
        raise DataError(
            f"{source.path}: {place} of about {source.samples} samples can be decoded: it is damaged, or holds "
            "recordings of different kinds one after another. Convert it to wav or flac, for instance with ffmpeg, or "
            "leave it out."
        )


def _skip_to(file: Any, first: int, rows: int) -> None:
    """Move from the beginning of an open file to a sample."""
    reached = 0
    if file.format == "MP3":
        reached = max(0, first - _MP3_RUN_UP_S * file.samplerate)
    elif file.subtype in _EXACT_SEEKS and file.format in _SEEKABLE and file.frames < _UNKNOWN_SAMPLES:
        reached = first
    if reached:
        file.seek(reached)
    for start in range(reached, first, rows):
        file.read(min(rows, first - start), dtype="float32")


def resample(waveform: np.ndarray, source: int, target: int) -> np.ndarray:
    """Resample a waveform [samples] float32, as `read_audio` does.

    Args:
        waveform: Waveform [samples] float32.
        source: Its rate in Hz.
        target: Rate of the result in Hz.
    """
    return waveform if source == target else np.concatenate([*_resample([waveform], source, target)])


def _resample(blocks: Iterable[np.ndarray], source: int, target: int) -> Iterator[np.ndarray]:
    """Resample blocks to another rate in Hz, with bit-identical results to resampling in one piece."""
    _, soxr = _libraries()
    stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, dtype=np.float32), last=True)
