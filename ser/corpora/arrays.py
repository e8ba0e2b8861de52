"""Read waveforms from .npy files: those of the language identification assignment, and unlabelled ones to predict.

Nothing is copied: a store is a view of the mapped file, in its float16. Values read from a store are float32, and are
not summed before: the sum of 40,000 values overflows float16.
"""

import hashlib
import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser.config.instantiate import build
from ser.corpora.recordings import measure_speech
from ser.data.label_map import LabelCount, warn_about_lookalikes
from ser.data.manifest import Manifest, Utterance
from ser.data.store import Store
from ser.errors import ConfigError, DataError, did_you_mean
from ser.names import is_missing, normalize_name
from ser.splits.assignment import Assignment
from ser.splits.base import SplitFacts, Splits
from ser.splits.leaks import (
    describe_leaks,
    describe_lookalike_speakers,
    find_leaks,
    leak_stamps,
    undeclared_leaks,
)
from ser.splits.rules import Rule

CLASS_NAMES = ("de", "en", "es", "fr", "nl", "pt")
"""Languages of the assignment, in the order of its targets."""

_ROWS = 256  # rows checked at a time: 20 MB of 5 s at 8 kHz
_DIGEST_BYTES = 16
_REASON_LETTERS = 100
_EXPORT = "Export the array again with np.save(path, array)."

_log = logging.getLogger(__name__)


def inputs_name(split: str) -> str:
    """Return the file name of a split's waveforms."""
    return f"inputs_{split}_fp16.npy"


def targets_name(split: str) -> str:
    """Return the file name of a split's class indices."""
    return f"targets_{split}_int8.npy"


class ArrayCorpus:
    """Corpus of the assignment: inputs_train_fp16.npy [N, samples], targets_train_int8.npy [N], and the same for test.

    Optional files beside them, speakers_train.json and texts_train.json, and the same for test, list speakers and
    texts as N strings or nulls. Without inputs_test_fp16.npy there is no test split.

    Args:
        root: Folder of the files, or of a folder `dataset` that holds them.
        split: Rule that splits the training file into train and validation.
        sample_rate: Sample rate of the waveforms, in Hz; the files do not contain it.
        class_names: Class names by class index; numbers are read as text.
        field: Name of the label field in predictions.
        declared_leaks: Kinds of leaks that are known and accepted, with which results are not stamped.
    """

    stamps: tuple[str, ...] = ()
    """Warnings that every report must show."""

    def __init__(
        self,
        root: str,
        *,
        split: Rule,
        sample_rate: int = 8000,
        class_names: Sequence[str | float] = CLASS_NAMES,
        field: str = "language",
        declared_leaks: Sequence[str] | None = None,
    ) -> None:
        self.root = Path(root)
        self.split = split
        self.sample_rate = sample_rate
        self.class_names = tuple(normalize_name(str(name)) for name in class_names)
        self.field = normalize_name(field)
        self.declared_leaks = tuple(declared_leaks or ())
        undeclared_leaks([], self.declared_leaks)  # refuse unknown kinds early

    def splits(self, features: Mapping[str, Any]) -> Splits:
        """Map the files, check every waveform once, split, and look for leaks.

        Args:
            features: Spec of an extractor; only its sample rate is used.

        Raises:
            ConfigError: The features have another sample rate, or the rule makes a test split although there is a
                test file.
            DataError: A file is missing, damaged or not as described above, or train lacks a class.
        """
        self._check_sample_rate(features)
        folder = _find_folder(self.root)
        store, manifest = self._read(folder, "train")
        self._refuse_absent_classes(folder, store)
        assignment = self.split.assign(manifest)
        stores = {name: store.select(indices) for name, indices in assignment.items()}
        manifests = {name: manifest.select(indices.tolist()) for name, indices in assignment.items()}
        if (folder / inputs_name("test")).exists():
            self._refuse_second_test(assignment)
            stores["test"], manifests["test"] = self._read(folder, "test")
        return self._checked(stores, manifests)

    def _checked(self, stores: Mapping[str, Store], manifests: Mapping[str, Manifest]) -> Splits:
        """Build the splits with facts about them and their leaks."""
        everything = Manifest(tuple(u for manifest in manifests.values() for u in manifest), str(self.root))
        digests = np.concatenate([store.digests for store in stores.values() if store.digests is not None])
        ends = np.cumsum([len(store) for store in stores.values()])
        assignment: Assignment = {
            name: np.arange(end - len(stores[name]), end) for name, end in zip(stores, ends, strict=True)
        }
        warn_about_lookalikes(everything, self.field)
        leaks = find_leaks(everything, assignment, digests)
        doubts = (
            [] if "speaker" in self.declared_leaks else describe_lookalike_speakers(everything, assignment)
        )
        return Splits(
            stores,
            SplitFacts(
                labels=self._label_counts(everything),
                leaks=leaks,
                remarks=[
                    *describe_leaks(leaks, self.declared_leaks),
                    *doubts,
                    *_unknown_speakers(everything),
                ],
                speech={
                    name: measure_speech(manifests[name], stores[name], 1 / self.sample_rate)
                    for name in stores
                },
                stamps=[*self.stamps, *leak_stamps(leaks, self.declared_leaks), *doubts],
            ),
            manifests,
            hold_waveforms=True,
        )

    def _read(self, folder: Path, split: str) -> tuple[Store, Manifest]:
        """Read a file's waveforms with their labels, and build their manifest."""
        inputs = folder / inputs_name(split)
        waveforms = _map_waveforms(inputs, ("float16",))
        labels = self._read_labels(folder / targets_name(split), inputs, len(waveforms))
        store = _store(inputs, waveforms, [f"{split}/{row}" for row in range(len(waveforms))])
        speakers, texts = (
            _read_list(folder / f"{name}_{split}.json", len(waveforms)) for name in ("speakers", "texts")
        )
        samples = waveforms.shape[1]
        utterances = (
            Utterance(
                name,
                inputs,
                # the row's own time in the file, so that no two utterances overlap
                start=row * samples / self.sample_rate,
                end=(row + 1) * samples / self.sample_rate,
                speaker=speakers[row],
                labels={self.field: str(labels[row])},
                text=texts[row],
            )
            for row, name in enumerate(map(str, store.ids))
        )
        return store.with_labels(labels[:, None], (self.field,)), Manifest(tuple(utterances), str(inputs))

    def _read_labels(self, path: Path, inputs: Path, count: int) -> np.ndarray:
        """Read the class names [N] of a split.

        Raises:
            DataError: The file is missing, or does not hold a class index for each waveform.
        """
        if not path.exists():
            raise DataError(
                f"{path}: no such file, but {inputs.name} is there. Put its class indices there, or take {inputs.name} "
                "away; waveforms without labels can be predicted, not trained on or scored."
            )
        indices = np.array(_map(path))
        highest = len(self.class_names) - 1
        if indices.dtype.kind not in "iu" or indices.ndim != 1:
            raise DataError(
                f"{path}: holds {_shown(indices)}, expected int8 [N], a class index from 0 to {highest} for each row "
                f"of {inputs.name}. {_EXPORT}"
            )
        if len(indices) != count:
            raise DataError(
                f"{path}: holds {len(indices)} class indices for the {count} waveforms of {inputs.name}. "
                "Export both files from the same data."
            )
        if len(wrong := np.flatnonzero((indices < 0) | (indices > highest))):
            raise DataError(
                f"{path}: row {wrong[0]} holds {indices[wrong[0]]}, expected 0 to {highest} for the {highest + 1} "
                f"classes {', '.join(self.class_names)}; {len(wrong)} rows are wrong. Correct them, or name all "
                "classes in data.class_names."
            )
        names: np.ndarray = np.array(self.class_names)[indices]
        return names

    def _check_sample_rate(self, features: Mapping[str, Any]) -> None:
        found = build(features, slot="features").sample_rate
        if found != self.sample_rate:
            raise ConfigError(
                f"features.sample_rate={found}: the arrays hold waveforms of {self.sample_rate} Hz "
                f"(data.sample_rate). Set features.sample_rate={self.sample_rate}."
            )

    def _refuse_absent_classes(self, folder: Path, store: Store) -> None:
        assert store.labels is not None
        present = {*store.labels[:, 0].tolist()}
        absent = [name for name in self.class_names if name not in present]
        if absent:
            raise DataError(
                f"{folder / targets_name('train')}: has no waveform of the class {', '.join(map(repr, absent))}, which "
                "thus cannot be learnt. Add some, or name in data.class_names those that are there."
            )

    def _refuse_second_test(self, assignment: Assignment) -> None:
        if "test" in assignment:
            remedy = "data.split.test=0" if hasattr(self.split, "test") else "split=random or split=speaker"
            raise ConfigError(
                f"data.split: makes a test split of {inputs_name('train')}, but {inputs_name('test')} is the test "
                f"split. Set {remedy}."
            )

    def _label_counts(self, manifest: Manifest) -> list[LabelCount]:
        counts = Counter(str(utterance.labels[self.field]) for utterance in manifest)
        return [LabelCount(name, name, counts[name]) for name in self.class_names]


def read_clips(path: str | Path, sample_rate: int) -> Store:
    """Read the unlabelled waveforms of an array to predict; their ids are "0" to "N-1".

    Args:
        path: A .npy file of float16 or float32, [N, samples], or [samples] of a single waveform.
        sample_rate: Assumed sample rate in Hz, which is logged; the file does not contain it.

    Raises:
        DataError: The file is missing, damaged or of another kind, or a value is not finite.
    """
    path = Path(path)
    waveforms = _map_waveforms(path, ("float16", "float32"), single=True)
    count, samples = waveforms.shape
    _log.info("%s: %d waveforms, at %d Hz %.2f s each", path, count, sample_rate, samples / sample_rate)
    return _store(path, waveforms, [str(row) for row in range(count)])


def _find_folder(root: Path) -> Path:
    """Find the folder of the four files."""
    for folder in (root, root / "dataset"):
        if (folder / inputs_name("train")).exists():
            return folder
    wanted = ", ".join(name(split) for split in ("train", "test") for name in (inputs_name, targets_name))
    if not root.is_dir():
        problem = "no such folder"
    else:
        found = [path.name for path in (*root.glob("*.npy"), *root.glob("dataset/*.npy"))]
        problem = f"holds no {inputs_name('train')}"
        if found:
            problem += f", but {', '.join(sorted(found)[:4])}"
            nearest = did_you_mean(inputs_name("train"), found)
            problem += f". {nearest}" if nearest.startswith("Did") else ""
    raise DataError(
        f"{root}: {problem.rstrip('?.')}. Put the four files {wanted} there or in {root / 'dataset'}, or give their "
        "folder with data.root=DIR."
    )


def _map(path: Path) -> np.ndarray:
    """Map the array of a .npy file."""
    if path.exists() and not path.is_file() and not path.is_dir():  # opening a pipe would block
        raise DataError(f"{path}: is no regular file. Give the path of a .npy file.")
    try:
        _refuse_odd_header(path)
        return np.lib.format.open_memmap(path, mode="r").view(np.ndarray)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file. Check the path.") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: cannot be read ({reason}). Check the path and its permissions.") from error
    except Exception as error:  # numpy evaluates the header as Python: it may raise anything
        reason = str(error).partition("\n")[0].rstrip(".")[:_REASON_LETTERS] or type(error).__name__
        raise DataError(
            f"{path}: is no .npy file of numbers, or is cut off ({reason}). Copy or download it again, or export it "
            "with np.save(path, array)."
        ) from error


def _refuse_odd_header(path: Path) -> None:
    """Refuse shapes and types that numpy does not check, as some of them end the process.

    Raises:
        ValueError: The file does not hold numbers, or fewer than its header says.
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise ValueError(f"version {version[0]}.{version[1]} of the format")
        shape, _, dtype = readers[version](file)
        if dtype.kind not in "fiu" or dtype.shape or any(type(size) is not int or size < 0 for size in shape):
            raise ValueError(f"{dtype} {shape}")
        needed, found = math.prod(shape) * dtype.itemsize, path.stat().st_size - file.tell()
    if needed > found:
        raise ValueError(f"{found} of {needed} bytes are there")


def _map_waveforms(path: Path, dtypes: Sequence[str], *, single: bool = False) -> np.ndarray:
    """Map the waveforms [N, samples] of a file, or its `single` waveform."""
    array = _map(path)
    if single and array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or not array.size or array.dtype.name not in dtypes or not array.dtype.isnative:
        expected = " or ".join(dtypes) + " [N, samples]" + " or [samples]" * single
        is_integer = array.dtype.kind == "i"  # full scale of integers is not 1
        values = f"(array / {np.iinfo(array.dtype).max + 1})" if is_integer else "array"
        raise DataError(
            f"{path}: holds {_shown(array)}, expected {expected}, none of them 0. Export the array again with "
            f"np.save(path, {values}.astype(np.{dtypes[0]}))."
        )
    if not array.flags.c_contiguous:
        raise DataError(
            f"{path}: is stored column by column, so that no waveform is contiguous. Export the array again with "
            "np.save(path, np.ascontiguousarray(array))."
        )
    return array


def _shown(array: np.ndarray) -> str:
    return f"{array.dtype} [{', '.join(map(str, array.shape))}]"


def _store(path: Path, waveforms: np.ndarray, ids: list[str]) -> Store:
    """Build a store that views waveforms [N, samples], after checking every row once.

    Raises:
        DataError: A value is not finite.
    """
    digests, is_silent, is_finite = _scan(waveforms)
    if not is_finite.all():
        raise DataError(
            f"{path}: NaN or infinity in {_rows(~is_finite)}. float16 ends at 65504: scale waveforms to -1..1, and "
            "export the file again or leave these rows out."
        )
    if is_silent.any():
        _log.warning("%s: digital silence in %s", path, _rows(is_silent))
    header = json.dumps([waveforms.dtype.name, waveforms.shape]).encode()
    return Store(
        ids=[*ids],
        audio=waveforms.reshape(-1, 1),
        offsets=np.arange(len(waveforms) + 1, dtype=np.int64) * waveforms.shape[1],
        labels=None,
        label_names=(),
        layout="object",
        fingerprint=hashlib.sha256(header + digests.tobytes()).hexdigest(),
        digests=digests,
    )


def _scan(waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the digest of each row [N, 16], and whether each row is silent and whether it is finite, [N] bool."""
    # Without the sign, bit patterns have the order of magnitudes, from zero to infinity to NaN. Comparing them is
    # 20 times faster than comparing float16.
    bits = waveforms.view(f"u{waveforms.itemsize}")
    infinity = np.array(np.inf, waveforms.dtype).view(bits.dtype)
    magnitude = np.iinfo(bits.dtype).max >> 1
    peaks = np.empty(len(bits), bits.dtype)
    digests = []
    for start in range(0, len(bits), _ROWS):
        block = bits[start : start + _ROWS]
        peaks[start : start + _ROWS] = (block & bits.dtype.type(magnitude)).max(axis=1)
        digests += [hashlib.sha256(row.data).digest()[:_DIGEST_BYTES] for row in block]
    return (
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST_BYTES),
        peaks == 0,
        peaks < infinity,
    )


def _rows(mask: np.ndarray) -> str:
    """Format how many rows of a mask [N] are true, and the first of them."""
    found = np.flatnonzero(mask)
    listed = ", ".join(map(str, found[:5])) + ", ..." * (len(found) > 5)
    return f"{len(found)} of {len(mask)} rows: {listed}"


def _read_list(path: Path, count: int) -> list[str | None]:
    """Read N strings or nulls; placeholders such as nan become null, and a missing file gives nulls only.

    Raises:
        DataError: The file holds anything else.
    """
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return [None] * count
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}). Correct it, or take it away.") from error
    if not isinstance(found, list) or not all(item is None or isinstance(item, str) for item in found):
        raise DataError(f"{path}: expected a list of texts or nulls. Correct it, or take it away.")
    if len(found) != count:
        raise DataError(
            f"{path}: lists {len(found)}, expected {count}, one for each row of the waveforms. Correct it, or take it "
            "away."
        )
    if missing := Counter(item for item in found if item is not None and is_missing(item)):
        listed = ", ".join(f"{count} of {word!r}" for word, count in missing.items())
        _log.warning("%s: %s are read as unknown", path, listed)
    return [None if item in missing else item for item in found]


def _unknown_speakers(manifest: Manifest) -> list[str]:
    unknown = sum(utterance.speaker is None for utterance in manifest)
    if not unknown:
        return []
    return [
        f"The speakers of {unknown} utterances are unknown, so it cannot be checked whether splits share them."
    ]
