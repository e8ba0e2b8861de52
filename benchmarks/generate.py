"""Generate data like the course challenge: log-normal lengths, 26 values of 16 digits per frame.

At course size the file has 7,800 utterances, 1.74 million frames and 873 MB.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser.files import write_atomic

if TYPE_CHECKING:
    from ser.data.store import Store

COURSE_UTTERANCES = 7_800
QUICK_UTTERANCES = 240
FEATURE_DIM = 26

_MEAN, _STD, _SHORTEST, _LONGEST = 223, 153, 30, 1707  # frames
_BANK = 4_096  # frames that are written out once; utterances draw from them
_VERSION = 1  # of the files; count on when their content changes


def lengths(utterances: int, *, seed: int = 0) -> np.ndarray:
    """Draw the number of frames of each utterance [N] int64."""
    variance = np.log(1 + (_STD / _MEAN) ** 2)
    drawn = np.random.default_rng(seed).lognormal(np.log(_MEAN) - variance / 2, variance**0.5, utterances)
    return np.clip(drawn, _SHORTEST, _LONGEST).astype(np.int64)


def store(frames: np.ndarray, *, seed: int = 0) -> "Store":
    """Generate random features in memory, as a store.

    Args:
        frames: [N] of each utterance.
        seed: of the generator.
    """
    from ser.data.json_fields import LABEL_NAMES
    from ser.data.store import Store  # imports torch

    generator = np.random.default_rng(seed)
    return Store(
        ids=[str(number) for number in range(len(frames))],
        audio=generator.standard_normal((int(frames.sum()), FEATURE_DIM), dtype=np.float32),
        offsets=np.concatenate([[0], np.cumsum(frames)]),
        labels=generator.integers(0, 2, (len(frames), 2)),
        label_names=LABEL_NAMES,
        layout="object",
        fingerprint=f"generated {len(frames)}",
    )


def challenge_file(folder: Path, utterances: int) -> Path:
    """Write a challenge file into a folder, or reuse it."""
    path = folder / f"challenge-{_VERSION}-{utterances}.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb", buffering=1 << 20) as file:
            file.writelines(_pieces(lengths(utterances)))
        partial.replace(path)
    return path


def challenge_folder(folder: Path) -> Path:
    """Write a folder with a small train.json and dev.json."""
    root = folder / f"small-{_VERSION}"
    for name, utterances in (("train.json", 128), ("dev.json", 64)):
        if not (root / name).exists():
            root.mkdir(parents=True, exist_ok=True)
            write_atomic(root / name, b"".join(_pieces(lengths(utterances))).decode())
    return root


def _pieces(frames: np.ndarray) -> Iterator[bytes]:
    """Yield the file utterance by utterance."""
    generator = np.random.default_rng(1)
    bank = [json.dumps(frame).encode() for frame in generator.normal(8, 4, (_BANK, FEATURE_DIM)).tolist()]
    for number, count in enumerate(frames.tolist()):
        valence, activation = generator.integers(0, 2, 2).tolist()
        drawn = [bank[index] for index in generator.integers(0, _BANK, count).tolist()]
        head = f'{"," if number else "{"}"{number}": {{"valence": {valence}, "activation": {activation}, '
        yield b'%s"features": [%s]}' % (head.encode(), b", ".join(drawn))
    yield b"}"
