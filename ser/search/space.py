"""Spaces of a search in Hydra's grammar: intervals, ranges and choices, as Optuna's distributions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from ser.errors import ConfigError
from ser.runs.sweep_tables import REPEATS


@dataclass(frozen=True)
class Space:
    """What a search varies.

    Args:
        fixed: Settings that all trials share, as Hydra takes them.
        dimensions: Distribution of each setting that is drawn, by its key as Hydra takes it.
    """

    fixed: tuple[str, ...]
    dimensions: Mapping[str, Any]

    def draw(self, trial: Any) -> list[str]:
        """Draw the settings of a trial, as Hydra takes them; those that it has already stay."""
        drawn = [f"{key}={_draw(trial, key.lstrip('+'), kind)}" for key, kind in self.dimensions.items()]
        return [*self.fixed, *drawn]

    def describe(self) -> dict[str, Any]:
        """Return the space as text, to compare it with that of an earlier call."""
        return {"fixed": [*self.fixed], **{key: repr(kind) for key, kind in self.dimensions.items()}}


def _draw(trial: Any, name: str, kind: Any) -> str:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(kind, CategoricalDistribution):
        return str(trial.suggest_categorical(name, kind.choices))
    if isinstance(kind, IntDistribution):
        return str(trial.suggest_int(name, kind.low, kind.high, step=kind.step, log=kind.log))
    value = float(
        f"{trial.suggest_float(name, kind.low, kind.high, log=kind.log):.4g}"
    )  # enough, and readable
    return repr(min(max(value, kind.low), kind.high))


def read_space(overrides: Sequence[Override]) -> Space:
    """Part the words of a command line into fixed settings and those that are drawn.

    Raises:
        ConfigError: Nothing is drawn, or a setting of repetitions, or a range or interval is empty.
    """
    fixed, dimensions = [], {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            is_bare = override.is_delete() and "=" not in str(override.input_line)
            fixed.append(key if is_bare else f"{key}={override.get_value_element_as_str()}")
            continue
        if override.key_or_group in REPEATS:
            raise ConfigError(
                f"{override.input_line}: repetitions of an experiment are not searched, as the luckiest would win. "
                f"Give {override.key_or_group} one value."
            )
        dimensions[key] = _distribution(override)
    if not dimensions:
        raise ConfigError(
            "hydra/sweeper=optuna: nothing is searched. Choose search=cnn, or give a setting several values, "
            "such as model=cnn,lstm."
        )
    return Space(tuple(fixed), dimensions)


def _distribution(override: Override) -> Any:
    """Return the distribution of a setting.

    Raises:
        ConfigError: It is empty.
    """
    from optuna import distributions

    kind = override.value()
    is_log = isinstance(kind, IntervalSweep | RangeSweep) and "log" in kind.tags
    try:
        if isinstance(kind, IntervalSweep):
            assert kind.start is not None
            assert kind.end is not None
            if isinstance(kind.start, int) and isinstance(kind.end, int):
                return distributions.IntDistribution(kind.start, kind.end, log=is_log)
            return distributions.FloatDistribution(float(kind.start), float(kind.end), log=is_log)
        values: list[Any] = [*override.sweep_iterator()]
        if isinstance(kind, RangeSweep) and values and min(values) < max(values) and not kind.shuffle:
            numbers: list[Any] = sorted(values)
            if all(isinstance(value, int) for value in numbers):
                step = 1 if is_log else numbers[1] - numbers[0]
                return distributions.IntDistribution(numbers[0], numbers[-1], log=is_log, step=step)
        return distributions.CategoricalDistribution([*override.sweep_string_iterator()])
    except (ValueError, AssertionError) as error:
        raise ConfigError(
            f"{override.input_line}: is no space to search ({error}). Change its bounds."
        ) from error
