"""Folds of published protocols, so that results can be compared with those of others.

EmoBox: Ma et al., "EmoBox: Multilingual Multi-corpus Speech Emotion Recognition Toolkit and Benchmark", Interspeech
2024; folds from the files data/<corpus>/fold_<k> of https://github.com/emo-box/EmoBox at commit 08280f2. Its folds of
IEMOCAP are the five sessions, as in most work on that corpus. Its validation split is a random fifth of train; here it
has speakers of its own where the test split has. EmoBox has one random split, not folds, for AESDD, CREMA-D, ShEMO,
TESS, TurEV-DB and URDU; SERAB has one split for each corpus: split=serab.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ser.data.manifest import Manifest, first_ten
from ser.errors import ConfigError, DataError
from ser.splits.assignment import Assignment, field_values, make_assignment
from ser.splits.rules import RandomRule, RandomSplit, check_shares


@dataclass(frozen=True)
class Protocol:
    """Folds of a corpus: the speakers of each test split, or a file of ids.

    Args:
        source: Name of the protocol.
        speakers: Speakers of the test split of each fold; none where folds do not keep speakers apart.
        ids: File with a line for each fold: the ids of its test split.
    """

    source: str
    speakers: Sequence[Sequence[str]] = ()
    ids: str = ""

    @cached_property
    def tested(self) -> list[set[str]]:
        """Return the speakers, or else the ids, of the test split of each fold."""
        if self.speakers:
            return [{*names} for names in self.speakers]
        text = (Path(__file__).parent / self.ids).read_text(encoding="utf-8")
        return [{*line.split()} for line in text.splitlines()]


def _protocol(source: str, *folds: str) -> Protocol:
    return Protocol(source, tuple(tuple(names.split()) for names in folds))


PROTOCOLS: Mapping[str, Protocol] = {
    "cafe": _protocol("EmoBox", "01 07 08 10", "02 04 09 12", "03 05 06 11"),
    "emodb": Protocol("EmoBox", ids="emobox_emodb.txt"),
    "emovo": _protocol("EmoBox", "f2", "m3", "m2", "f3", "f1", "m1"),
    "iemocap": _protocol("sessions", "01F 01M", "02F 02M", "03F 03M", "04F 04M", "05F 05M"),
    "ravdess": _protocol(
        "EmoBox",
        *("01 11 20 21", "04 10 12 14", "08 09 19 23", "03 05 07 24", "02 15 16 18", "06 13 17 22"),
    ),
    "savee": _protocol("EmoBox", "JE", "KL", "DC", "JK"),
    "subesco": _protocol(
        "EmoBox",
        *("F_03 M_03 M_08 M_09", "F_01 F_04 F_10 M_07", "F_06 F_08 M_05 M_06"),
        *("F_05 F_07 F_09 M_04", "F_02 M_01 M_02 M_10"),
    ),
}
"""Corpus of the catalogue -> its folds."""


@dataclass(frozen=True, kw_only=True)
class Published(RandomRule):
    """Folds of the published protocol of a corpus; validation is drawn from the other folds.

    Args:
        corpus: Name of the corpus in the catalogue; None is refused when utterances are assigned, as the parts of a mix
            have rules of their own.
        fold: Index of the fold that is the test split, from 0.
        validation: Share of the other folds' utterances for validation.
    """

    corpus: str | None = None
    fold: int = 0
    validation: float = 0.2

    def __post_init__(self) -> None:
        check_shares(validation=self.validation)
        if self.corpus is None:
            return
        folds = len(self.protocol.tested)
        if not 0 <= self.fold < folds:
            raise ConfigError(
                f"data.split.fold={self.fold}: {self.corpus} has {folds} published folds, the first is 0. "
                f"Give 0 to {folds - 1}."
            )

    @property
    def protocol(self) -> Protocol:
        """Return the folds.

        Raises:
            ConfigError: There are none.
        """
        if self.corpus is None or self.corpus not in PROTOCOLS:
            raise ConfigError(
                f"split=published: {self.corpus or 'a corpus of your own'} has no folds that are known here; those of "
                f"{', '.join(sorted(PROTOCOLS))} are. Use folds over speakers: folds=5."
            )
        return PROTOCOLS[self.corpus]

    def count_folds(self, manifest: Manifest) -> tuple[int, str]:
        """Return the number of folds, and whether they keep speakers apart.

        Raises:
            DataError: An utterance is in no fold.
        """
        self._fold_of_each(manifest)
        apart = "speakers apart" if self.protocol.speakers else "SPEAKERS ARE IN TRAIN AND TEST of each"
        return len(self.protocol.tested), f"published ({self.protocol.source}), {apart}"

    def assign(self, manifest: Manifest) -> Assignment:
        """Hold out the fold, and draw validation from the others, by speaker where the protocol does."""
        is_test = self._fold_of_each(manifest) == self.fold
        if self.protocol.speakers:
            return self._hold_out(manifest, is_test, ("speaker", "group"), self.validation)
        rest = np.flatnonzero(~is_test)
        rule = RandomSplit(validation=self.validation, test=0.0, seed=self.seed, label=self.label)
        names = np.full(len(manifest), "test", dtype=object)
        for name, indices in rule.assign(manifest.select(rest.tolist())).items():
            names[rest[indices]] = name
        return make_assignment(manifest, names, self.label)

    def _fold_of_each(self, manifest: Manifest) -> np.ndarray:
        """Return the index of the fold that tests each utterance [N].

        Raises:
            DataError: An utterance is in no fold.
        """
        by_speaker = bool(self.protocol.speakers)
        keys = field_values(manifest, "speaker") if by_speaker else np.array([u.id for u in manifest])
        fold_of = {key: number for number, names in enumerate(self.protocol.tested) for key in names}
        if strangers := sorted({*keys.tolist()} - {*fold_of}):
            raise DataError(
                f"{manifest.source}: {len(strangers)} {'speakers' if by_speaker else 'utterances'} are in no published "
                f"fold of {self.corpus}:{first_ten(strangers)}\nUse folds over speakers: folds=5."
            )
        return np.array([fold_of[key] for key in keys.tolist()])
