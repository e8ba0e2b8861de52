"""Rules that split a manifest into train, validation and test.

The assignment depends on names and a seed, never on the order of the rows. Rules are settings in `data.split`;
`ser.splits.leaks` finds what two splits share nevertheless.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import numpy as np

from ser.data.manifest import Manifest, speaker_remedy
from ser.errors import ConfigError, DataError, counted
from ser.splits.assignment import (
    AT_RANDOM,
    SPLITS,
    Assignment,
    check_field,
    class_of_each,
    field_values,
    make_assignment,
)
from ser.splits.stratify import best_draw, blocks_of

_log = logging.getLogger(__name__)


@runtime_checkable
class Rule(Protocol):
    """Rule that assigns utterances to splits."""

    def assign(self, manifest: Manifest) -> Assignment:
        """Assign utterances to splits, each to at most one.

        Raises:
            SerError: The manifest lacks what the rule needs.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Serab:
    """Split of the SERAB benchmark: speakers in alphabetical order, shuffled by RandomState(0), then cut.

    Args:
        train: Share of the speakers for training.
        validation: Share of the speakers for validation; the rest are the test split.
        key: Field that stands for the speaker: `speaker`, `group`, or a label field such as `serab_speaker`, by which
            the benchmark split IEMOCAP and ShEMO, and which is not the actual speaker.
        label: Label field of which train must contain every class; None for no such check.

    Source: Scheidwasser-Clow et al., "SERAB: a multi-lingual benchmark for speech emotion recognition", ICASSP 2022.
    """

    train: float = 0.6
    validation: float = 0.2
    key: str = "speaker"
    label: str | None = None

    def __post_init__(self) -> None:
        check_shares(train=self.train, validation=self.validation)

    def assign(self, manifest: Manifest) -> Assignment:
        """Assign speakers as published: shares count speakers, not utterances, and groups are ignored."""
        if self.key not in ("speaker", "group"):
            check_field(manifest, "key", self.key)
        owners = field_values(manifest, self.key)
        speakers = sorted({*owners.tolist()})  # as text: '1', '10', '2'
        np.random.RandomState(0).shuffle(speakers)
        cuts = int(self.train * len(speakers)), int((self.train + self.validation) * len(speakers))
        split_of = dict.fromkeys(speakers, "test")
        split_of |= dict.fromkeys(speakers[: cuts[1]], "validation")
        split_of |= dict.fromkeys(speakers[: cuts[0]], "train")
        names = np.array([split_of[owner] for owner in owners])
        remedy = f"{len(speakers)} speakers are too few for its shares: use split=speaker data.split.test=0."
        return make_assignment(manifest, names, self.label, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class RandomRule:
    """Base class of rules that draw splits at random.

    Args:
        seed: Seed of the draw.
        label: Label field whose classes are balanced, and of which train must contain every class; None for neither.
    """

    seed: int = 0
    label: str | None = None

    def _stratify(self, manifest: Manifest, fields: Sequence[str], shares: Sequence[float]) -> np.ndarray:
        """Assign utterances to P parts with about these shares [P] of all utterances and of each class: [N].

        Raises:
            DataError: There are fewer sets of utterances that must stay together than parts.
        """
        blocks = blocks_of(manifest, fields)
        number = len(np.unique(blocks))
        if number < len(shares):
            raise DataError(
                f"{manifest.source}: has {counted(number, 'set')} of utterances that share no "
                f"{' and no '.join(fields)}, too few for {len(shares)} splits or folds. "
                f"{self._suggest_fewer_parts(number)}{AT_RANDOM[0].upper()}{AT_RANDOM[1:]}."
            )
        names, classes = np.unique(class_of_each(manifest, self.label), return_inverse=True)
        counts = np.bincount(blocks * len(names) + classes, minlength=number * len(names))
        parts: np.ndarray = best_draw(counts.reshape(number, -1), np.array(shares), self.seed)[blocks]
        return parts

    def _suggest_fewer_parts(self, blocks: int) -> str:
        """Return a sentence that suggests settings for so few sets of utterances; empty if there are none."""
        return ""

    def _hold_out(
        self, manifest: Manifest, is_test: np.ndarray, fields: Sequence[str], validation: float
    ) -> Assignment:
        """Use the utterances of a mask [N] as test split, and a share of the others as validation split."""
        rest = np.flatnonzero(~is_test)
        parts = self._stratify(manifest.select(rest.tolist()), fields, [1 - validation, validation])
        names = np.full(len(manifest), "test", dtype=object)  # a text dtype would truncate longer names
        names[rest] = np.array(SPLITS)[parts]
        return make_assignment(manifest, names, self.label)


@dataclass(frozen=True, kw_only=True)
class RuleWithShares(RandomRule):
    """Base class of rules that split by shares.

    Args:
        validation: Share of the utterances for validation.
        test: Share of the utterances for test; 0 for no test split. The rest is train.
    """

    validation: float = 0.2
    test: float = 0.2

    def __post_init__(self) -> None:
        check_shares(validation=self.validation, test=self.test)

    def _suggest_fewer_parts(self, blocks: int) -> str:
        return "Do without a test split: data.split.test=0. " if blocks > 1 and self.test else ""


class SpeakerDisjoint(RuleWithShares):
    """Random split by speaker, the best balanced of many draws; no speaker and no group is in two splits."""

    _required: ClassVar[str] = "speaker"

    def assign(self, manifest: Manifest) -> Assignment:
        """Assign speakers at random; those who share a group stay together."""
        field_values(manifest, self._required)
        shares = [1 - self.validation - self.test, self.validation, self.test]
        parts = self._stratify(manifest, ("speaker", "group"), shares if self.test else shares[:2])
        return make_assignment(manifest, np.array(SPLITS)[parts], self.label)


class GroupDisjoint(SpeakerDisjoint):
    """Random split by group, such as a video; known speakers are not in two splits either."""

    _required = "group"


class RandomSplit(RuleWithShares):
    """Random split of the utterances of each class, without regard to speakers: scores are too good."""

    def assign(self, manifest: Manifest) -> Assignment:
        """Assign utterances at random; train gets at least one of each class."""
        by_id = sorted(range(len(manifest)), key=lambda index: manifest.utterances[index].id)
        order = np.random.default_rng(self.seed).permutation(by_id)
        classes = class_of_each(manifest, self.label)[order]
        names = np.full(len(manifest), "train", dtype=object)
        for name in np.unique(classes):
            members = order[classes == name]
            held_out = min(round(len(members) * (self.validation + self.test)), len(members) - 1)
            tested = min(round(len(members) * self.test), held_out)
            names[members[:held_out]] = "validation"
            names[members[:tested]] = "test"
        remedy = "Add recordings: some class needs two." if self.label else "Add recordings."
        return make_assignment(manifest, names, self.label, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class Predefined(RandomRule):
    """Splits named by the manifest's column `split`; a missing validation split is drawn from train.

    It is drawn by speaker or group if these are known for all utterances and there are at least two, else at random
    within each class.

    Args:
        validation: Share of train that is drawn.
    """

    validation: float = 0.2

    def __post_init__(self) -> None:
        check_shares(validation=self.validation)

    def assign(self, manifest: Manifest) -> Assignment:
        """Assign utterances as the column says."""
        names = field_values(manifest, "split").astype(object)
        if "train" in names and "validation" not in names:
            train = np.flatnonzero(names == "train")
            names[train[self._draw(manifest.select(train.tolist()))]] = "validation"
        remedy = "Name the 'split' of some utterances 'train'."
        return make_assignment(manifest, names, self.label, remedy=remedy)

    def _draw(self, manifest: Manifest) -> np.ndarray:
        """Draw the indices [n] of validation utterances from those of train."""
        fields = [
            name for name in ("speaker", "group") if all(getattr(u, name) is not None for u in manifest)
        ]
        if fields and len(np.unique(blocks_of(manifest, ("speaker", "group")))) > 1:
            parts = self._stratify(manifest, ("speaker", "group"), [1 - self.validation, self.validation])
            drawn, how = np.flatnonzero(parts), f"by {fields[0]}"
        else:
            rule = RandomSplit(validation=self.validation, test=0.0, seed=self.seed, label=self.label)
            drawn, how = (
                rule.assign(manifest)["validation"],
                "at random, so that its scores come out too good",
            )
        message = (
            "%s: names no validation split: %d of %d utterances of train are drawn for it, %s; with "
            "data.validation=none, they stay in train"
        )
        _log.warning(message, manifest.source, len(drawn), len(manifest), how)
        return drawn


@dataclass(frozen=True, kw_only=True)
class WindowSplit(RuleWithShares):
    """Windows of the same recordings in train and validation: validation scores are too good, and are stamped.

    Recordings are first cut into windows. The test split is that of `Default`, so that both kinds of scores can be
    compared.

    Args:
        window_frames: Number of frames of a window.
    """

    window_frames: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window_frames < 1:
            raise ConfigError(
                f"data.split.window_frames={self.window_frames}: a window has frames. Give 1 or more."
            )

    def assign(self, manifest: Manifest) -> Assignment:
        """Assign windows outside the test split to train and validation at random, class by class."""
        apart = Default(validation=self.validation, test=self.test, seed=self.seed, label=self.label)
        tested = apart.assign(manifest).get("test", np.zeros(0, dtype=np.int64))
        rest = np.setdiff1d(np.arange(len(manifest)), tested)
        at_random = RandomSplit(validation=self.validation, test=0.0, seed=self.seed, label=self.label)
        parts = at_random.assign(manifest.select(rest.tolist()))
        splits = {name: rest[indices] for name, indices in parts.items()}
        return splits | {"test": tested} if len(tested) else splits


@dataclass(frozen=True, kw_only=True)
class Default(RuleWithShares):
    """Use the manifest's own splits if it has any, else split by speaker, else by group; never at random.

    Args:
        unknown_trains: Whether all utterances are train where neither is known, as in a pre-training, which scores
            none; else that is an error.
    """

    unknown_trains: bool = False

    def assign(self, manifest: Manifest) -> Assignment:
        """Choose the rule, log it, and apply it.

        Raises:
            DataError: Neither splits nor all speakers nor all groups are known.
        """
        rule, why = self._choose(manifest)
        _log.info("%s: %s", manifest.source, why)
        return rule.assign(manifest)

    def _choose(self, manifest: Manifest) -> tuple[Rule, str]:
        # If only some utterances have a split, Predefined raises an error; ignoring these splits would be worse.
        if any(utterance.split is not None for utterance in manifest):
            rule = Predefined(validation=self.validation, seed=self.seed, label=self.label)
            return rule, "its column 'split' says who is in which split"
        if all(utterance.speaker is not None for utterance in manifest):
            return SpeakerDisjoint(**self._shares), "split by speaker: no speaker is in two splits"
        if all(utterance.group is not None for utterance in manifest):
            return GroupDisjoint(**self._shares), "split by group, as not all speakers are known"
        if self.unknown_trains:
            return Everything(), "all are train, as neither splits nor all speakers nor all groups are known"
        remedy = speaker_remedy(manifest, "'speaker', 'group' or 'split'")
        raise DataError(
            f"{manifest.source}: names neither splits nor all speakers nor all groups, so it is unknown what to "
            f"keep apart. {remedy}, or {AT_RANDOM}."
        )

    @property
    def _shares(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "unknown_trains"}


class Everything:
    """Every utterance is train, where nothing is scored."""

    def assign(self, manifest: Manifest) -> Assignment:
        """Assign every utterance to train."""
        return {"train": np.arange(len(manifest))}


def for_pretraining(rule: Rule, *, has_labels: bool) -> Rule:
    """Return a rule for recordings of which nothing needs to be known.

    Args:
        rule: Rule of the config.
        has_labels: Whether every recording has a label; else no classes are balanced.
    """
    settings: Any = rule if has_labels else without_label(rule)
    return cast(Rule, replace(settings, unknown_trains=True)) if hasattr(rule, "unknown_trains") else settings


def without_label(rule: Rule) -> Rule:
    """Return a rule that balances no classes, for labels that are values."""
    settings: Any = rule
    return cast(Rule, replace(settings, label=None)) if hasattr(rule, "label") else rule


def check_shares(**shares: float) -> None:
    """Refuse shares that are not above 0 (`test` may be 0) or whose sum is not below 1."""
    positive = all(share > 0 or (option == "test" and share == 0) for option, share in shares.items())
    if not (positive and sum(shares.values()) < 1):
        given = ", ".join(f"data.split.{option}={share}" for option, share in shares.items())
        raise ConfigError(
            f"{given}: expected shares above 0 whose sum is below 1; only test may be 0. Correct them."
        )
