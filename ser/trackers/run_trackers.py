"""Build the trackers of a run, and write its settings and scores to each of them."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger

from ser.config.instantiate import build, find_class
from ser.config.settings import Spec, Train
from ser.runs import ranks
from ser.trackers.base import Tracker


def chosen_trackers(settings: Train) -> dict[str, Spec]:
    """Return the settings of each tracker of a run, by name; none with logger=none."""
    return {name: node for name, node in (settings.logger or {}).items() if node}


def build_trackers(settings: Train, run_dir: Path) -> list[Logger]:
    """Build the loggers of a run, and write its settings to them; further processes log nothing.

    Raises:
        SerError: A tracker cannot be used.
    """
    chosen = chosen_trackers(settings)
    if not ranks.current_ranks().is_first:
        return [DummyLogger()] if chosen else []
    loggers = []
    for name, node in chosen.items():
        slot = f"logger.{name}"
        takes = inspect.signature(find_class(node, slot=slot)).parameters
        supplied = {"save_dir": run_dir, "name": name, "version": ""}
        logger = build(node, slot=slot, **{key: supplied[key] for key in supplied.keys() & takes.keys()})
        if isinstance(logger, Tracker):
            logger.log_settings(settings.config)
        loggers.append(logger)
    return loggers


def write_scores(
    loggers: Iterable[Logger], scores: Mapping[str, float], typed: Mapping[str, str | float], *, step: int
) -> None:
    """Write the final scores of a run to each tracker, and end the run there.

    Args:
        loggers: Loggers of the run.
        scores: Content of metrics.json.
        typed: Values of the typed settings.
        step: Number of optimiser steps of the training.
    """
    for logger in loggers:
        if isinstance(logger, Tracker):
            logger.log_scores(scores, typed, step=step)
            logger.close()


def close_trackers(loggers: Iterable[Logger]) -> None:
    """End a run without scores in each tracker."""
    for logger in loggers:
        if isinstance(logger, Tracker):
            logger.close()


def watch_commands(settings: Train, run_dir: Path) -> list[list[str]]:
    """Return the commands that show the curves of a run, quoted for a shell."""
    classes = {
        name: find_class(node, slot=f"logger.{name}") for name, node in chosen_trackers(settings).items()
    }
    commands = [
        classes[name].watch_command(node, run_dir)
        for name, node in chosen_trackers(settings).items()
        if issubclass(classes[name], Tracker)
    ]
    return [command for command in commands if command]


def typed_settings(config: Mapping[str, Any], words: Sequence[str]) -> dict[str, str | float]:
    """Return the typed or swept settings by key, such as columns of TensorBoard's HPARAMS tab.

    Args:
        config: The complete config.
        words: Words given to Hydra, such as `model=lstm` or `optimizer.lr=1e-3`.
    """
    columns: dict[str, str | float] = {}
    for word in words:
        key, _, typed = word.lstrip("+~").partition("=")
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping):
            columns[key] = typed  # an option of a group
        elif isinstance(value, int | float) and not isinstance(value, bool):
            columns[key] = value
        else:
            columns[key] = str(value)
    return columns
