"""Rules of cross-validation: every run tests on another fold, speaker or group."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ser.data.manifest import Manifest
from ser.errors import ConfigError, DataError, counted, did_you_mean
from ser.names import normalize_name
from ser.splits.assignment import AT_RANDOM, Assignment, field_values, make_assignment
from ser.splits.published import Published
from ser.splits.rules import RandomRule, Rule, check_shares
from ser.splits.stratify import blocks_of


@dataclass(frozen=True, kw_only=True)
class SpeakerKFold(RandomRule):
    """Speakers in folds of similar size: one fold is the test split, another one validation, the others train.

    Args:
        folds: Number of folds.
        fold: Index of the fold that is the test split, from 0.
        validation: Share of the other folds' utterances for validation; None for the next fold.
    """

    folds: int = 5
    fold: int = 0
    validation: float | None = None

    def __post_init__(self) -> None:
        least = 3 if self.validation is None else 2
        if self.folds < least:
            raise ConfigError(
                f"data.split.folds={self.folds}: leaves no fold to train on. Give {least} or more."
            )
        _check_fold(self.fold, self.folds)
        if self.validation is not None:
            check_shares(validation=self.validation)

    def _suggest_fewer_parts(self, blocks: int) -> str:
        least = 3 if self.validation is None else 2
        return f"Make as many folds: data.split.folds={blocks}. " if least <= blocks < self.folds else ""

    def count_folds(self, manifest: Manifest) -> tuple[int, str]:
        """Return the number of folds, and what they are.

        Raises:
            SerError: There are fewer speakers than folds, or some are unknown.
        """
        speakers = len({*field_values(manifest, "speaker").tolist()})
        blocks = len(np.unique(blocks_of(manifest, ("speaker", "group"))))
        _check_blocks(manifest, blocks)
        if blocks < self.folds:
            apart = f", of whom {blocks} sets share no group" * (blocks < speakers)
            raise ConfigError(
                f"folds={self.folds}: {manifest.source} has only {speakers} speakers{apart}. Make as many folds: "
                f"folds={blocks}."
            )
        return (
            self.folds,
            f"about {speakers / self.folds:.3g} of {speakers} speakers are the test split of each",
        )

    def assign(self, manifest: Manifest) -> Assignment:
        """Assign speakers to folds; those who share a group stay together, and each is tested in one fold."""
        field_values(manifest, "speaker")
        fields = ("speaker", "group")
        folds = self._stratify(manifest, fields, [1 / self.folds] * self.folds)
        if self.validation is not None:
            return self._hold_out(manifest, folds == self.fold, fields, self.validation)
        splits = np.roll(["test", "validation", *["train"] * (self.folds - 2)], self.fold)
        return make_assignment(manifest, splits[folds], self.label)


@dataclass(frozen=True, kw_only=True)
class _LeaveOneOut(RandomRule):
    """Base class of rules that test on one speaker or one group.

    Args:
        fold: Index of the speaker or group in alphabetical order, from 0, if none is named.
        validation: Share of the other utterances for validation; at least one speaker or group.
    """

    fold: int = 0
    validation: float = 0.2

    def __post_init__(self) -> None:
        check_shares(validation=self.validation)

    def _leave_out(self, manifest: Manifest, fields: Sequence[str], chosen: str | int | None) -> Assignment:
        owners = field_values(manifest, fields[0])
        known = sorted({*owners.tolist()})
        if chosen is None:
            _check_fold(self.fold, len(known))
            chosen = known[self.fold]
        chosen = normalize_name(str(chosen))
        if chosen not in known:
            raise ConfigError(
                f"data.split.{fields[0]}={chosen}: {manifest.source} has no such {fields[0]}. "
                f"{did_you_mean(chosen, known)}"
            )
        return self._hold_out(manifest, owners == chosen, fields, self.validation)


@dataclass(frozen=True, kw_only=True)
class LeaveOneSpeakerOut(_LeaveOneOut):
    """Leave-one-speaker-out: one speaker is the test split, others validation, the rest train.

    Args:
        speaker: Speaker to test on; None for the one with index `fold`.
    """

    speaker: str | int | None = None

    def count_folds(self, manifest: Manifest) -> tuple[int, str]:
        """Return the number of folds, and what they are.

        Raises:
            SerError: There are too few speakers, or some are unknown.
        """
        speakers = len({*field_values(manifest, "speaker").tolist()})
        _check_blocks(manifest, len(np.unique(blocks_of(manifest, ("speaker", "group")))))
        return speakers, f"one of {speakers} speakers is the test split of each"

    def assign(self, manifest: Manifest) -> Assignment:
        """Hold out the speaker, and draw validation from the others; those who share a group stay together."""
        return self._leave_out(manifest, ("speaker", "group"), self.speaker)


@dataclass(frozen=True, kw_only=True)
class LeaveOneGroupOut(_LeaveOneOut):
    """Leave-one-group-out: one group, such as a session, is the test split, others validation, the rest train.

    A speaker may be in several groups; then the leak check reports it.

    Args:
        group: Group to test on; None for the one with index `fold`.
    """

    group: str | int | None = None

    def assign(self, manifest: Manifest) -> Assignment:
        """Hold out the group, and draw validation from the others."""
        return self._leave_out(manifest, ("group",), self.group)


def cross_validation(manifest: Manifest, rule: Rule) -> list[str]:
    """Return the settings of a sweep that tests every speaker once.

    The list is empty if the rule is such a fold already, or if speakers are unknown or too few.
    """
    return fold_settings(suitable_folds(manifest, rule))


def suitable_folds(manifest: Manifest, rule: Rule | None = None) -> int:
    """Return how many folds over speakers suit a corpus: 5, or as many as it has sets of speakers to keep apart.

    It is 0 if the rule is such a fold already, or if speakers are unknown or too few.
    """
    folds = 0 if isinstance(rule, SpeakerKFold | _LeaveOneOut | Published) else min(5, count_blocks(manifest))
    return folds if folds >= 3 else 0


def fold_settings(folds: int) -> list[str]:
    """Return the settings of a sweep of so many folds over speakers; none for 0."""
    number = [f"data.split.folds={folds}"] * (folds != SpeakerKFold.folds)
    fold = f"data.split.fold={','.join(map(str, range(folds)))}"
    return ["split=speaker_kfold", *number, fold] if folds else []


def count_blocks(manifest: Manifest) -> int:
    """Count the sets of utterances that share no speaker and no group; 0 if some speakers are unknown."""
    if any(utterance.speaker is None for utterance in manifest):
        return 0
    return len(np.unique(blocks_of(manifest, ("speaker", "group"))))


def _check_fold(fold: int, folds: int) -> None:
    if not 0 <= fold < folds:
        raise ConfigError(
            f"data.split.fold={fold}: there are {folds}, the first is 0. Give 0 to {folds - 1}."
        )


def _check_blocks(manifest: Manifest, blocks: int) -> None:
    """Refuse speakers who cannot be train, validation and test.

    Args:
        manifest: Utterances.
        blocks: Number of sets of utterances that share no speaker and no group.

    Raises:
        DataError: There are fewer than three sets.
    """
    if blocks < 3:
        raise DataError(
            f"{manifest.source}: has {counted(blocks, 'speaker')} that can be kept apart, too few for train, "
            f"validation and test. Leave out folds, and {AT_RANDOM}."
        )
