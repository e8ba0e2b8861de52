"""Rule that splits a corpus as others have, so that results can be compared with theirs.

`ser.splits.protocols` has the protocols. The validation split of EmoBox is a random fifth of train; here it has
speakers of its own where the test split has.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ser.data.manifest import Manifest, first_ten
from ser.errors import ConfigError, DataError, did_you_mean
from ser.splits.assignment import Assignment, field_values, make_assignment
from ser.splits.protocols import PROTOCOLS, Protocol
from ser.splits.rules import RandomRule, RandomSplit, check_shares

_UNUSED = -2  # utterances that the protocol leaves out
_TRAIN = -1  # utterances that are in no test split


@dataclass(frozen=True, kw_only=True)
class Published(RandomRule):
    """Folds of the published protocol of a corpus; validation is drawn from the other folds.

    Args:
        corpus: Name of the corpus in the catalogue; None is refused when utterances are assigned, as the parts of a mix
            have rules of their own.
        protocol: Name of the protocol, such as emobox; None for the first one of the corpus.
        fold: Index of the fold that is the test split, from 0.
        validation: Share of the other folds' utterances for validation.
    """

    corpus: str | None = None
    protocol: str | None = None
    fold: int = 0
    validation: float = 0.2

    def __post_init__(self) -> None:
        check_shares(validation=self.validation)
        if self.corpus is None:
            return
        folds = self.chosen.folds
        if not 0 <= self.fold < folds:
            raise ConfigError(
                f"data.split.fold={self.fold}: {self.corpus} has {folds} published folds, the first is 0. "
                f"Give 0 to {folds - 1}."
            )

    @property
    def chosen(self) -> Protocol:
        """Return the protocol.

        Raises:
            ConfigError: There is none, or none of this name.
        """
        known = PROTOCOLS.get(self.corpus or "")
        if known is None:
            raise ConfigError(
                f"split=published: {self.corpus or 'a corpus of your own'} has no folds that are known here; those of "
                f"{', '.join(sorted(PROTOCOLS))} are. Use folds over speakers: folds=5."
            )
        name = self.protocol or next(iter(known))
        if name not in known:
            raise ConfigError(
                f"data.split.protocol={name}: {self.corpus} has no such protocol, only {', '.join(known)}. "
                f"{did_you_mean(name, known)}"
            )
        return known[name]

    def count_folds(self, manifest: Manifest) -> tuple[int, str]:
        """Return the number of folds, and whether they keep speakers apart.

        Raises:
            DataError: An utterance is in no fold.
        """
        protocol = self.chosen
        shared = any(self._shares_speakers(manifest, fold) for fold in range(protocol.folds))
        apart = "SPEAKERS ARE IN TRAIN AND TEST of each" if shared else "speakers apart"
        return protocol.folds, f"published ({protocol.source}), {apart}"

    def describe(self, manifest: Manifest, assignment: Assignment) -> tuple[list[str], list[str]]:
        """Return a remark on the protocol, and a stamp if its grouping is wrong: its splits share speakers.

        Args:
            manifest: Utterances.
            assignment: Their final splits; there is no validation if it is merged into train.
        """
        protocol = self.chosen
        remark = f"Protocol: fold {self.fold + 1} of {protocol.folds}, as published by {protocol.source}."
        speakers = np.array([utterance.speaker or "" for utterance in manifest])
        of = {name: {*speakers[indices].tolist()} - {""} for name, indices in assignment.items()}
        for first, second in (("train", "test"), ("validation", "test"), ("train", "validation")):
            if of.get(first, set()) & of.get(second, set()):
                return [remark], [
                    f"{protocol.source} groups speakers wrongly: {first} and {second} share some, as {protocol.fault}"
                ]
        return [remark], []

    def assign(self, manifest: Manifest) -> Assignment:
        """Hold out the fold, and draw validation from the others, by speaker where the protocol does."""
        if self.chosen.rule is not None:
            rule: Any = self.chosen.rule
            assignment: Assignment = replace(rule, label=self.label).assign(manifest)
            return assignment
        folds = self._fold_of_each(manifest)
        is_test = folds == self.fold
        if not is_test.any():
            raise DataError(
                f"{manifest.source}: holds nothing that {self.chosen.source} tests on in this fold of {self.corpus}. "
                "Give a complete copy with data.root=FOLDER, or use folds over speakers: folds=5."
            )
        if not self.chosen.random_validation:
            return self._hold_out(manifest, is_test, ("speaker", "group"), self.validation)
        rest = np.flatnonzero(~is_test & (folds != _UNUSED))
        drawn = RandomSplit(validation=self.validation, test=0.0, seed=self.seed, label=self.label)
        names = np.full(len(manifest), "", dtype=object)
        names[is_test] = "test"
        for name, indices in drawn.assign(manifest.select(rest.tolist())).items():
            names[rest[indices]] = name
        return make_assignment(manifest, names, self.label)

    def _shares_speakers(self, manifest: Manifest, fold: int) -> bool:
        """Return whether a speaker of the test split of a fold is in train or validation, too."""
        if self.chosen.rule is not None:
            assignment = self.assign(manifest)
            tested = np.isin(np.arange(len(manifest)), assignment.get("test", ()))
            used = np.isin(np.arange(len(manifest)), np.concatenate([*assignment.values()]))
        else:
            folds = self._fold_of_each(manifest)
            tested, used = folds == fold, folds != _UNUSED
        speakers = np.array([utterance.speaker or "" for utterance in manifest])
        return bool(({*speakers[tested].tolist()} & {*speakers[used & ~tested].tolist()}) - {""})

    def _fold_of_each(self, manifest: Manifest) -> np.ndarray:
        """Return the index of the fold that tests each utterance [N]; -1 for none, -2 for one that is left out.

        Raises:
            DataError: An utterance is in no fold, though the folds test all.
        """
        protocol = self.chosen
        by_speaker = protocol.ids is None
        keys = field_values(manifest, "speaker") if by_speaker else np.array([u.id for u in manifest])
        fold_of = {key: number for number, names in enumerate(protocol.tested) for key in names}
        strangers = sorted({*keys.tolist()} - {*fold_of})
        if strangers and protocol.folds > 1:
            raise DataError(
                f"{manifest.source}: {len(strangers)} {'speakers' if by_speaker else 'utterances'} are in no published "
                f"fold of {self.corpus}:{first_ten(strangers)}\nUse folds over speakers: folds=5."
            )
        trained = protocol.trained
        fold_of |= {key: _TRAIN if trained is None or key in trained else _UNUSED for key in strangers}
        return np.array([fold_of[key] for key in keys.tolist()])
