"""Split each corpus of a mix by its own rule, and join the splits."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ser.data.manifest import Manifest, Utterance
from ser.errors import ConfigError, setting
from ser.mix.remedies import replace_settings, settings_of
from ser.splits.assignment import SPLITS, Assignment
from ser.splits.folds import count_blocks, fold_settings, suitable_folds
from ser.splits.rules import Rule


@dataclass(frozen=True)
class WithinCorpora:
    """Rule that splits each corpus by itself.

    Args:
        rules: Rule of each corpus, by its name.
        sources: Manifest of each corpus without utterances, for messages.
    """

    rules: Mapping[str, Rule]
    sources: Mapping[str, Manifest]

    @property
    def window_frames(self) -> int | None:
        """Return the length of the windows into which utterances are cut; None keeps them whole."""
        return getattr(next(iter(self.rules.values())), "window_frames", None)

    def assign(self, manifest: Manifest) -> Assignment:
        """Assign the utterances of each corpus as its rule does."""
        parts: dict[str, list[np.ndarray]] = {}
        for name, indices, own in self._corpora(manifest):
            with replace_settings(settings_of(name)):
                for split, chosen in self.rules[name].assign(own).items():
                    parts.setdefault(split, []).append(indices[chosen])
        return {split: np.sort(np.concatenate(parts[split])) for split in SPLITS if split in parts}

    def change(self, convert: Callable[[Rule], Rule]) -> "WithinCorpora":
        """Convert the rule of each corpus."""
        return replace(self, rules={name: convert(rule) for name, rule in self.rules.items()})

    def count_folds(self, manifest: Manifest) -> tuple[int, str]:
        """Return the number of folds, which must be that of every corpus, and what they are.

        Raises:
            ConfigError: Corpora have different numbers of folds.
        """
        rules: Mapping[str, Any] = self.rules
        corpora = {name: own for name, _, own in self._corpora(manifest)}
        found: dict[str, tuple[int, str]] = {}
        for name in sorted(
            corpora, key=lambda name: count_blocks(corpora[name])
        ):  # errors name the fewest folds
            with replace_settings(settings_of(name)):
                found[name] = rules[name].count_folds(corpora[name])
        counts = {name: found[name][0] for name in corpora}
        if len({*counts.values()}) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise ConfigError(
                f"folds: the corpora have different numbers of folds ({listed}). {suggest_same(corpora)}"
            )
        each = "; ".join(f"{name}, {found[name][1]}" for name in corpora)
        return min(counts.values()), f"each corpus is split by itself: {each}"

    def describe(self, manifest: Manifest, assignment: Assignment) -> tuple[list[str], list[str]]:
        """Return the remarks and the stamps of each corpus's rule, with the name of the corpus in front."""
        remarks, stamps = [], []
        rules: Mapping[str, Any] = self.rules
        for name, indices, own in self._corpora(manifest):
            if hasattr(rules[name], "describe"):
                parts = {
                    split: np.flatnonzero(np.isin(indices, chosen)) for split, chosen in assignment.items()
                }
                described = rules[name].describe(own, parts)
                remarks += [f"{name}: {line}" for line in described[0]]
                stamps += [f"{name}: {line}" for line in described[1]]
        return remarks, stamps

    def suggest_folds(self, manifest: Manifest) -> list[str]:
        """Return the settings of a sweep that tests every speaker once, with as many folds as suit all corpora."""
        found = [suitable_folds(own, self.rules[name]) for name, _, own in self._corpora(manifest)]
        return fold_settings(min(found))

    def _corpora(self, manifest: Manifest) -> Iterator[tuple[str, np.ndarray, Manifest]]:
        """Yield the name of each corpus, the indices [n] of its utterances, and these with their own ids and speakers.

        Published folds name them so, and a mix splits a corpus as a training on it alone does.
        """
        names = np.array([utterance.corpus for utterance in manifest])
        for name in self.rules:
            indices = np.flatnonzero(names == name)
            if len(indices):
                own = tuple(_without_corpus(each) for each in manifest.select(indices.tolist()))
                yield name, indices, replace(self.sources[name], utterances=own)


def suggest_same(corpora: Mapping[str, Manifest]) -> str:
    """Suggest the number of folds over speakers that all corpora can have, else the corpora that can have some."""
    folds = {name: suitable_folds(own) for name, own in corpora.items()}
    if min(folds.values()):
        return f"Use folds={min(folds.values())}."
    rest = [name for name, number in folds.items() if number]
    few = ", ".join(name for name, number in folds.items() if not number)
    keep = f"leave {few} out with {setting('data.corpora', rest)}" if rest else "give other corpora"
    return f"Too few speakers are known of {few}: {keep}."


PREFIXED = ("speaker", "group", "text")
"""Columns that begin with the name of the corpus in a mix, as ids do."""


def _without_corpus(utterance: Utterance) -> Utterance:
    prefix = f"{utterance.corpus}/"
    own: dict[str, Any] = {
        key: value if value is None else value.removeprefix(prefix)
        for key in PREFIXED
        for value in [getattr(utterance, key)]
    }
    return replace(utterance, id=str(utterance.id).removeprefix(prefix), **own)
