"""Count the frames of MPEG audio (MP3), because the length in its header is missing or wrong in many files.

libsndfile takes the length from a Xing or Info tag, or estimates it from the size of the file and the first frames,
and stops reading there: it may lose three quarters of a file of variable bit rate without a tag.
"""

import io
import mmap
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_KBPS = {  # by (is MPEG-1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)  # of MPEG-1; half of them in MPEG-2, a quarter in MPEG-2.5
_SAME_STREAM = 0xFFFE0C00  # header bits that are equal in all frames: sync, version, layer and sample rate
_TAGS = (b"Xing", b"Info")
_BEYOND = 1 << 36  # bytes that an `EndlessFile` claims to have
_ID3V1_BYTES = 128
_RESYNC_BYTES = 1 << 20  # maximum distance to the next frame after other data
_SURE_FRAMES = 4  # consecutive valid headers that cannot be chance


class MpegLength(NamedTuple):
    """Length of an MPEG file according to its frames.

    Args:
        samples: Number of samples of each channel, accurate to one frame.
        is_declared: Whether the tag in the first frame contains the length, and it agrees with the frames.
        wrong_tag: Offset in bytes of a tag that contradicts the frames; None if there is none.
        first: Offset in bytes of the first frame.
        stop: Offset in bytes after the last frame.
    """

    samples: int
    is_declared: bool
    wrong_tag: int | None
    first: int = 0
    stop: int = 0


def measure_length(path: Path) -> MpegLength:
    """Count the frames of a file, in 0.2 s per hour of audio, and compare them with its tag."""
    stat = path.stat()
    return _measure(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)  # the segments of a file are read one by one
def _measure(path: Path, _size: int, _changed_ns: int) -> MpegLength:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _compare_with_tag(content)


def _compare_with_tag(content: mmap.mmap) -> MpegLength:
    first = _next_frame(content, _id3v2_bytes(content, 0), None)
    if first is None:
        return MpegLength(0, is_declared=False, wrong_tag=None)
    frames, stop = _count_frames(content, first)
    header = int.from_bytes(content[first : first + 4])
    samples = _samples_per_frame(header)
    tag = first + 4 + _side_info_bytes(header)
    if content[tag : tag + 4] not in _TAGS:
        return MpegLength(frames * samples, is_declared=False, wrong_tag=None, first=first, stop=stop)
    flags, tag_frames, tag_bytes = (int.from_bytes(content[tag + at : tag + at + 4]) for at in (4, 8, 12))
    if not flags & 1:
        return MpegLength((frames - 1) * samples, is_declared=False, wrong_tag=None, first=first, stop=stop)
    is_whole = bool(flags & 2) and first + tag_bytes <= len(content)
    is_cut = tag_frames > frames and not is_whole
    if abs(tag_frames - (frames - 1)) <= 1 or is_cut:  # some encoders count the frame of the tag
        return MpegLength(tag_frames * samples, is_declared=True, wrong_tag=None, first=first, stop=stop)
    return MpegLength(frames * samples, is_declared=False, wrong_tag=tag, first=first, stop=stop)


def _count_frames(content: mmap.mmap, first: int) -> tuple[int, int]:
    """Count the complete frames from the first one on, and find where they end.

    Other data between them, such as tags, is skipped. Frames of another kind that follow directly count, too: another
    recording was appended.
    """
    kind = int.from_bytes(content[first : first + 4]) & _SAME_STREAM
    frames, place, stop = 0, first, first
    while True:
        if size := _frame_bytes(content, place, kind):
            frames += place + size <= len(content)
            place += size
            stop = min(place, len(content))
            continue
        place += _id3v2_bytes(content, place)
        if (other := _kind_of_run(content, place)) is not None:
            kind = other
            continue
        found = _next_frame(content, place, kind)
        if found is None:
            return frames, stop
        place = found


def _kind_of_run(content: mmap.mmap, place: int) -> int | None:
    """Return the common header bits of the run of frames at an offset; None if there are too few to be sure."""
    kind = int.from_bytes(content[place : place + 4]) & _SAME_STREAM
    for _ in range(_SURE_FRAMES):
        size = _frame_bytes(content, place, kind)
        if not size or place + size > len(content):
            return None
        place += size
    return kind


def _next_frame(content: mmap.mmap, place: int, kind: int | None) -> int | None:
    """Find the next frame that is followed by another one or by the end of the file."""
    stop = place + _RESYNC_BYTES
    while (place := content.find(b"\xff", place, stop)) >= 0:
        if size := _frame_bytes(content, place, kind):
            after = place + size
            same = int.from_bytes(content[place : place + 4]) & _SAME_STREAM
            if after >= len(content) or _frame_bytes(content, after, same):
                return place
        place += 1
    return None


def _frame_bytes(content: mmap.mmap, place: int, kind: int | None) -> int:
    """Compute the size of the frame at an offset; 0 if there is no frame, or none of this kind."""
    header = int.from_bytes(content[place : place + 4])
    version, layer = header >> 19 & 3, 4 - (header >> 17 & 3)
    kbps, rate = header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer == 4 or not 0 < kbps < 15 or rate == 3:
        return 0
    if kind is not None and header & _SAME_STREAM != kind:
        return 0
    is_first = version == 3
    bits = 1000 * _KBPS[is_first, layer][kbps - 1]
    hertz = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    padding = header >> 9 & 1
    if layer == 1:
        return 4 * (12 * bits // hertz + padding)
    return (72 if layer == 3 and not is_first else 144) * bits // hertz + padding


def _samples_per_frame(header: int) -> int:
    """Return the number of samples per channel in a frame."""
    layer = 4 - (header >> 17 & 3)
    return 384 if layer == 1 else 576 if layer == 3 and header >> 19 & 3 != 3 else 1152


def _side_info_bytes(header: int) -> int:
    is_first, is_mono = header >> 19 & 3 == 3, header >> 6 & 3 == 3
    return (17 if is_mono else 32) if is_first else (9 if is_mono else 17)


def _id3v2_bytes(content: mmap.mmap, place: int) -> int:
    """Compute the size of the ID3v2 tag at an offset; 0 if there is none."""
    head = content[place : place + 10]
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:]:
        size = size << 7 | byte & 0x7F
    return 10 + size


class EndlessFile(io.RawIOBase):
    """Frames of a file that claims to be very long, so that libsndfile's estimate of the length truncates nothing.

    Args:
        path: Path of the file.
        length: Location of its frames; a tag with a wrong length reads as zeros.
    """

    def __init__(self, path: Path, length: MpegLength) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._first, self._stop = length.first, length.stop
        self._hidden = None if length.wrong_tag is None else length.wrong_tag - length.first
        self._place = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset; the end is far beyond the last frame."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: _BEYOND}[whence]
        return self._place

    def tell(self) -> int:
        """Return the current offset."""
        return self._place

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read bytes into a buffer; the tag that mpg123 looks for at the end reads as zeros."""
        if self._place >= _BEYOND - _ID3V1_BYTES:
            content = bytes(min(len(buffer), max(0, _BEYOND - self._place)))
        else:
            start = min(self._first + self._place, self._stop)
            self._file.seek(start)
            content = self._visible(self._file.read(min(len(buffer), self._stop - start)))
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _visible(self, content: bytes) -> bytes:
        if self._hidden is None:
            return content
        start, stop = (min(max(0, at - self._place), len(content)) for at in (self._hidden, self._hidden + 4))
        return content[:start] + bytes(stop - start) + content[stop:]
