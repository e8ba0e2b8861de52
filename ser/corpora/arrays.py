"""Corpus of the language identification assignment: waveforms and class indices in .npy files."""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser.config.instantiate import build
from ser.corpora.array_files import EXPORT, describe_array, make_store, map_array, map_waveforms
from ser.corpora.recordings import measure_speech
from ser.data.label_map import LabelCount, warn_about_lookalikes
from ser.data.manifest import Manifest, Utterance
from ser.data.store import Store
from ser.errors import ConfigError, DataError, did_you_mean
from ser.names import is_missing, normalize_name
from ser.splits.assignment import Assignment, Validation, use_validation
from ser.splits.base import SplitFacts, Splits
from ser.splits.leak_report import report_leaks, undeclared_leaks
from ser.splits.rules import Rule

CLASS_NAMES = ("de", "en", "es", "fr", "nl", "pt")
"""Languages of the assignment, in the order of its targets."""


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
        validation: `split` for that of the rule, or `none` to train on it, too, and to keep the last epoch.
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
        validation: Validation = "split",
    ) -> None:
        self.validation: Validation = validation
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
        assignment = use_validation(self.split.assign(manifest), self.validation)
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
        found = report_leaks(everything, assignment, digests, declared=self.declared_leaks)
        return Splits(
            stores,
            SplitFacts(
                labels=self._label_counts(everything),
                leaks=found.leaks,
                remarks=found.remarks,
                speech={
                    name: measure_speech(manifests[name], stores[name].lengths / self.sample_rate)
                    for name in stores
                },
                stamps=[*self.stamps, *found.stamps],
            ),
            manifests,
            hold_waveforms=True,
        )

    def _read(self, folder: Path, split: str) -> tuple[Store, Manifest]:
        """Read a file's waveforms with their labels, and build their manifest."""
        inputs = folder / inputs_name(split)
        waveforms = map_waveforms(inputs, ("float16",))
        labels = self._read_labels(folder / targets_name(split), inputs, len(waveforms))
        store = make_store(inputs, waveforms, [f"{split}/{row}" for row in range(len(waveforms))])
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
                f"{path}: no such file, but {inputs.name} is there. Put its class indices there, or remove "
                f"{inputs.name}; waveforms without labels can be predicted, not trained on or scored."
            )
        indices = np.array(map_array(path))
        highest = len(self.class_names) - 1
        if indices.dtype.kind not in "iu" or indices.ndim != 1:
            raise DataError(
                f"{path}: holds {describe_array(indices)}, expected int8 [N], a class index from 0 to {highest} for "
                f"each row of {inputs.name}. {EXPORT}"
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
                f"{folder / targets_name('train')}: has no waveform of the class {', '.join(map(repr, absent))}, so it "
                "cannot be learned. Add some, or name in data.class_names those that are there."
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
        raise DataError(f"{path}: cannot be read as JSON ({error}). Correct or remove it.") from error
    if not isinstance(found, list) or not all(item is None or isinstance(item, str) for item in found):
        raise DataError(f"{path}: expected a list of texts or nulls. Correct or remove it.")
    if len(found) != count:
        raise DataError(
            f"{path}: lists {len(found)}, expected {count}, one for each row of the waveforms. Correct or "
            "remove it."
        )
    if missing := Counter(item for item in found if item is not None and is_missing(item)):
        listed = ", ".join(f"{count} of {word!r}" for word, count in missing.items())
        _log.warning("%s: %s are read as unknown", path, listed)
    return [None if item in missing else item for item in found]
