"""Detect files of which libsndfile reads only a part without an error: truncated or chained recordings.

The log of libsndfile repeats the length in the header, which is compared with the actual length.
"""

import re
from pathlib import Path
from typing import Any

from ser.errors import DataError

_CLAIMED_BYTES = re.compile(
    r"^ *(data|SSND|BODY|Data Size|Data length|riff|Riff size) *:? *(\d+) \(?should be (\d+)\)?", re.MULTILINE
)  # in wav, CAF, AIFF, SVX, AU, WVE; for W64 and RF64 the size of the whole file
_CLAIMED_SAMPLES = re.compile(  # AIFF, AVR, MPC2K, SVX; the last matrix of MAT5; RF64
    r"^ *(?:(?:Frames|OneShotHiSamples) *: |Rows : \d+ +Cols : |\*\*\* .* 'ds64' chunk of )(\d+)",
    re.MULTILINE,
)
_SIGNS = re.compile(
    r"^\*\*\* .*truncated|^Seems to be a truncated file|Junk after the last page|lacks an end-of-stream bit"
    r"|without an End-Of-Stream flag",
    re.MULTILINE,
)  # AIFF, MAT4, PAF; VOC; Ogg
_NIST_SAMPLES = re.compile(rb"^sample_count -i (\d+)", re.MULTILINE)
_UNKNOWN_BYTES = 0x7FFFF000  # files that were written to a pipe have this length in the header, or more
_SDS_SAMPLES = {"PCM_S8": 60, "PCM_16": 40, "PCM_24": 30}  # samples in a packet of 127 bytes
_FETCH_AGAIN = "Copy or download it again, or leave it out."


def refuse_truncated(path: Path, file: Any) -> None:
    """Refuse a file whose header claims more than it contains, or that contains more than is read.

    Args:
        path: Path of the file.
        file: Open SoundFile of the same file.

    Raises:
        DataError: The file is truncated, or is a chain of recordings.
    """
    log: str = file.extra_info
    for what, claimed, present in _CLAIMED_BYTES.findall(log):
        is_64_bit = what.lower().startswith("riff")
        if int(present) < int(claimed) < (_UNKNOWN_BYTES << 31 if is_64_bit else _UNKNOWN_BYTES):
            of = "" if is_64_bit else " of samples"
            raise DataError(f"{path}: is cut off, {present} of {claimed} bytes{of} are there. {_FETCH_AGAIN}")
    if file.format == "CAF" and (missing := _missing_caf_bytes(path)) > 0:
        raise DataError(f"{path}: is cut off, its last {missing} bytes are missing. {_FETCH_AGAIN}")
    claims = [int(claimed) for claimed in _CLAIMED_SAMPLES.findall(log)][-1:]
    if file.format == "NIST":
        with path.open("rb") as header:
            claims = [int(claimed) for claimed in _NIST_SAMPLES.findall(header.read(1024))]
    for claimed in claims:
        if file.frames < claimed < _UNKNOWN_BYTES:
            raise DataError(
                f"{path}: is cut off, {file.frames} of {claimed} samples are there. {_FETCH_AGAIN}"
            )
    if file.format == "OGG" and (links := _count_ogg_streams(path)) > 1:
        raise DataError(
            f"{path}: holds {links} recordings one after another, of which only the first can be read. Convert it to "
            "wav or flac, for instance with ffmpeg, or leave it out."
        )
    packets = -(-file.frames // _SDS_SAMPLES.get(file.subtype, 1))
    is_cut_sds = file.format == "SDS" and path.stat().st_size < 21 + 127 * packets
    if is_cut_sds or _SIGNS.search(log):
        raise DataError(f"{path}: is cut off, its end is missing. {_FETCH_AGAIN}")


def _missing_caf_bytes(path: Path) -> int:
    """Compute how far the chunks of a CAF file reach beyond its end; its log does not show a few missing bytes."""
    place, size = 8, path.stat().st_size
    with path.open("rb") as file:
        while place < size:
            file.seek(place)
            head = file.read(12)
            length = int.from_bytes(head[4:], signed=True)
            if len(head) < 12 or length < 0:  # -1 if the file was written to a pipe
                return 0
            place += 12 + length
    return place - size


def _count_ogg_streams(path: Path) -> int:
    """Count the recordings of an Ogg file, each of which begins with pages of first packets."""
    links, place, is_beginning = 0, 0, False
    with path.open("rb") as file:
        while (head := file.read(27))[:4] == b"OggS":
            was_beginning, is_beginning = is_beginning, bool(head[5] & 2)
            links += is_beginning and not was_beginning
            place += 27 + head[26] + sum(file.read(head[26]))
            file.seek(place)
    return links
