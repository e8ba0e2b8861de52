"""Folds and seeds as one word each: `folds=5 seeds=3` becomes the settings that a sweep goes through.

The words are rewritten before Hydra sees them, so that any launcher runs the jobs, and a repeated sweep finds them.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ser.config.command_line import App, try_sweep
from ser.errors import ConfigError, shell_word

_RULES = {"loso": "split=leave_one_speaker_out", "published": "split=published"}
"""Value of `folds` -> the rule; a number is that of folds over speakers."""
_FOLDS_ARE_SET = ("split", "data.split.fold", "data.split.folds", "data.split.speaker", "data.split.group")
_SINGLE = {"-c", "--cfg", "-i", "--info", "-h", "--help", "--hydra-help"}


class Folds(NamedTuple):
    """Folds of a corpus.

    Args:
        number: Number of folds.
        source: What they are, and where they were counted.
    """

    number: int
    source: str


CountFolds = Callable[[Mapping[str, Any]], Folds]
"""Function that reads the corpus of a config, and counts the folds that its rule makes of it."""


def expand_repeats(arguments: list[str], app: App, count_folds: CountFolds) -> list[str]:
    """Replace `folds=` and `seeds=` by settings with one value for each fold and seed, as a sweep.

    Where a single config is shown, as by --cfg, it is that of the first fold and seed.

    Args:
        arguments: Words that were typed.
        app: The script.
        count_folds: Counts the folds of the corpus of a config.

    Raises:
        ConfigError: A word has another value, contradicts another word, or the corpus has no such folds.
    """
    folds, seeds = _take(arguments, "folds"), _take(arguments, "seeds")
    typed = [word for word in (folds, seeds) if word]
    if not typed:
        return arguments
    rest = [word for word in arguments if _key(word) not in ("folds", "seeds")]
    _refuse_contradictions(rest, folds=folds, seeds=seeds)
    single = bool({word.partition("=")[0] for word in rest} & _SINGLE)
    added = []
    if seeds:
        values = _read_seeds(seeds)
        added.append(f"seed={','.join(map(str, values[:1] if single else values))}")
    if folds:
        rule = _read_rule(folds)
        count = 1 if single else _count(folds, [*rest, *rule], app, count_folds)
        added += [*rule, f"data.split.fold={','.join(map(str, range(count)))}"]
    sweep = [] if single or {"-m", "--multirun", "hydra.mode=MULTIRUN"} & {*rest} else ["-m"]
    return [*rest, *sweep, *added]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")


def _take(arguments: Iterable[str], key: str) -> str | None:
    """Return the last word with a key, without Hydra's prefix; None if there is none or it is null."""
    words = [word.lstrip("+") for word in arguments if "=" in word and _key(word) == key]
    return words[-1] if words and words[-1] not in (f"{key}=", f"{key}=null") else None


def _refuse_contradictions(rest: Sequence[str], *, folds: str | None, seeds: str | None) -> None:
    """Refuse words that set what `folds` and `seeds` set, or that make no sweep.

    Raises:
        ConfigError: There is one.
    """
    taken = dict.fromkeys(_FOLDS_ARE_SET, folds) | {"seed": seeds}
    for word in rest:
        shown, key = shell_word(word), _key(word)
        if other := taken.get(key):
            raise ConfigError(f"{shown}: {other} sets this, too. Leave it out, or leave out {other}.")
        if key == "resume" and not word.endswith(("=", "=null")):
            raise ConfigError(
                f"{shown}: goes on with one run, and {folds or seeds} makes a sweep. Leave it out; a sweep "
                "that is repeated with its hydra.sweep.dir=FOLDER goes on by itself."
            )
        if key == "hydra/sweeper" and word.partition("=")[2] != "basic":
            raise ConfigError(
                f"{shown}: would search for the best of the folds and seeds that {folds or seeds} makes. "
                f"Leave it out, or leave out {folds or seeds}."
            )


def _read_seeds(word: str) -> list[int]:
    """Return the seeds of `seeds=3` or `seeds=[3,7]`.

    Raises:
        ConfigError: It is neither.
    """
    value = word.partition("=")[2]
    if re.fullmatch(r"[1-9]\d{0,3}", value):
        return [*range(int(value))]
    if re.fullmatch(r"\[ *\d+ *(, *\d+ *)*\]", value):
        seeds = [int(item) for item in value[1:-1].split(",")]
        if len({*seeds}) == len(seeds):
            return seeds
        raise ConfigError(f"{shell_word(word)}: names a seed twice. Name each once.")
    raise ConfigError(
        f"{shell_word(word)}: is no number of seeds. Give a number such as seeds=3, or the seeds as in seeds=[3,7]."
    )


def _read_rule(word: str) -> list[str]:
    """Return the settings of the rule of `folds`.

    Raises:
        ConfigError: There is no such rule.
    """
    value = word.partition("=")[2]
    if re.fullmatch(r"\d{1,4}", value):
        return ["split=speaker_kfold", f"data.split.folds={int(value)}"]
    if value not in _RULES:
        near = difflib.get_close_matches(value, _RULES, n=1)
        remedy = f"Did you mean folds={near[0]}?" if near else "Give folds=5, folds=loso or folds=published."
        raise ConfigError(f"{shell_word(word)}: is no number of folds, and no protocol. {remedy}")
    return [_RULES[value]]


def _count(word: str, arguments: list[str], app: App, count_folds: CountFolds) -> int:
    """Count the folds of the corpus of a command line, and print what they are.

    Raises:
        ConfigError: There are none, or two corpora have different numbers of them.
    """
    found: dict[str, Folds] = {}
    for trial in try_sweep(arguments, app):
        if any("Could not override 'split'" in problem for problem in trial.problems):
            raise ConfigError(
                f"{word}: the data of this command have splits of their own, and no speakers to fold over. "
                "Give recordings, as with data=ravdess data.root=FOLDER."
            )
        if trial.problems:
            continue  # all mistakes are found again, and printed, where the command is read
        data = repr(trial.config["data"])
        if data not in found:
            found[data] = count_folds(trial.config)
            print(f"{word}: {found[data].number} folds: {found[data].source}.")
    counts = {folds.number for folds in found.values()}
    if len(counts) > 1:
        raise ConfigError(
            f"{word}: the corpora of this sweep have {' and '.join(map(str, sorted(counts)))} folds. "
            "Give each corpus a command of its own."
        )
    return max(counts, default=1)
