"""Corpus of the course challenge: JSON files of log-mel frames, one file per split."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ser.config.instantiate import build
from ser.corpora.challenge_reader import Labels, read_challenge, read_labels
from ser.data.json_fields import LABEL_NAMES
from ser.data.store import Store, sha256_of
from ser.errors import ConfigError, DataError
from ser.features import Extractor
from ser.splits.base import SplitFacts, Splits

_CHALLENGE_DIM = 26  # of features=challenge, the default; files may have another width
_VALIDATION = "dev.json"


class ChallengeCorpus:
    """Corpus of the course challenge's JSON files; train and validation are labelled.

    Args:
        root: Folder of the files.
        train: File of the training split.
        validation: File of the validation split; `none` to train on dev.json, too, and to keep the last epoch.
        test: File of the test split, scored after training; None for no test split.
        test_labels: File with the test split's labels, if `test` does not contain them.
        feature_dim: Number of values of a frame; None for that of the first frame.
        cache_dir: Folder for parsed files.
    """

    stamps: tuple[str, ...] = ()
    """Warnings that every report must show."""
    holds_frames: ClassVar[bool] = True
    """Whether the data are frames of features, and no recordings."""

    def __init__(
        self,
        root: str,
        *,
        train: str = "train.json",
        validation: str = _VALIDATION,
        test: str | None = None,
        test_labels: str | None = None,
        feature_dim: int | None = None,
        cache_dir: str = ".cache/ser",
    ) -> None:
        self.root = Path(root)
        self.train = train
        self.validation = validation
        self.test = test
        self.test_labels = test_labels
        self.feature_dim = feature_dim
        self.cache_dir = Path(cache_dir)

    def splits(self, features: Mapping[str, Any]) -> Splits:
        """Read the files, which hold features.

        Args:
            features: Spec of an extractor, which must make features of the same width.

        Raises:
            ConfigError: The settings need waveforms, or dev.json is merged into train and used otherwise, too.
            DataError: A file is missing, damaged, of the wrong shape or without labels.
        """
        extractor: Extractor = build(features, slot="features")
        if extractor.is_waveform:
            raise ConfigError(
                "features=waveform and waveform_augment need recordings, but the challenge's files hold frames. "
                "Leave them out, or train on recordings: data=folder, data=manifest or a corpus."
            )
        if features.get("silence"):
            raise ConfigError(
                f"silence={features['silence'].get('mode', 'keep')}: needs recordings, but the challenge's files hold "
                "frames. Leave it out, or train on recordings: data=folder, data=manifest or a corpus."
            )
        if self.validation == "none":
            self._check_merged()
        train = self._read(self.train, width_setting="data.feature_dim")
        feature_dim = self.feature_dim or train.feature_dim
        made = extractor.feature_dim
        if made not in (feature_dim, _CHALLENGE_DIM):
            raise ConfigError(
                f"features: would compute {made} values per frame, but the challenge's files hold frames of "
                f"{feature_dim}, which are used unchanged. Leave features=... out, or train on recordings: "
                "data=folder, data=manifest or a corpus."
            )
        stores = {"train": train}
        if self.validation != "none":
            stores["validation"] = self._read(self.validation, feature_dim=feature_dim)
        else:
            stores["train"] = join_stores(
                train, self._read(_VALIDATION, feature_dim=feature_dim), _VALIDATION
            )
        if self.test is not None:
            stores["test"] = self._read_test(self.test, feature_dim)
        return Splits(stores, SplitFacts(stamps=self.stamps))

    def read_split(self, split: str) -> Store | None:
        """Read the file of one split, whose labels may be missing; None if no file is set for it.

        Args:
            split: Name of the split.

        Raises:
            DataError: The file is missing, damaged or of the wrong shape.
        """
        name = {"train": self.train, "validation": self.validation, "test": self.test}[split]
        if name is None or (split == "validation" and name == "none"):
            return None
        if split == "test":
            return self._read_test(name, self.feature_dim, labels="optional")
        return self._read(name, labels="optional")

    def _check_merged(self) -> None:
        """Check that dev.json, which is merged into train, exists and is used for nothing else."""
        merged = self.root / _VALIDATION
        if not merged.is_file():
            raise DataError(
                f"{merged}: no such file, but data.validation=none trains on it, too. Put it there, or name a "
                "validation file with data.validation=FILE"
            )
        for key, name in {"train": self.train, "test": self.test}.items():
            if name is not None and (self.root / name).resolve() == merged.resolve():
                raise ConfigError(
                    f"data.{key}={name}: data.validation=none adds this file to train. Name another file, or leave "
                    "out data.validation=none."
                )

    def _read_test(self, name: str, feature_dim: int | None, labels: Labels = "required") -> Store:
        if self.test_labels is None:
            return self._read(name, feature_dim=feature_dim, labels=labels)
        store = self._read(name, feature_dim=feature_dim, labels="optional")
        return store.with_labels(read_labels(self.root / self.test_labels, store.ids), LABEL_NAMES)

    def _read(
        self,
        name: str,
        *,
        feature_dim: int | None = None,
        labels: Labels = "required",
        width_setting: str | None = None,
    ) -> Store:
        return read_challenge(
            self.root / name,
            cache_dir=self.cache_dir,
            feature_dim=feature_dim or self.feature_dim,
            labels=labels,
            width_setting=width_setting,
        )


def join_stores(first: Store, second: Store, name: str) -> Store:
    """Return the utterances of two whole files as one store in memory.

    Args:
        first: Store of a file.
        second: Store of another file with features of the same width and labels of the same names.
        name: Name of the second file, which begins the ids of its utterances that the first one has, too.
    """
    known = {*first.ids}
    ids = [f"{name}/{each}" if each in known else each for each in second.ids]
    return replace(
        first,
        ids=[*first.ids, *ids],
        audio=np.concatenate([first.audio, second.audio]),
        offsets=np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]),
        labels=_join(first.labels, second.labels),
        digests=_join(first.digests, second.digests),
        fingerprint=sha256_of(first.fingerprint.encode(), second.fingerprint.encode()),
    )


def _join(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    return None if first is None or second is None else np.concatenate([first, second])
