"""Compare a resumed run with its start: nothing that its result depends on may change."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ser.batching.datamodule import SpeechData
from ser.config.instantiate import find_class
from ser.config.old_names import with_current_names
from ser.config.settings import Train, option_of
from ser.config.types import signature
from ser.errors import REPEAT_RUN, ConfigError, DataError, advise_init, setting
from ser.runs.run_folder import RunFolder

FREE = (
    *(
        "resume",
        "experiment_name",
        "logger",
        "test",
        "test_sets",
        "test_settings",
        "trust",
        "sweep",
        "report",
    ),
    "batching.num_workers",
    *("trainer.accelerator", "trainer.max_time", "trainer.profiler", "trainer.log_every_n_steps"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *("callbacks.last", "callbacks.learning_rate", "callbacks.pictures", "callbacks.loss_curve"),
    *("callbacks.output_space", "callbacks.waveforms", "callbacks.architecture", "callbacks.recordings"),
)
"""Settings and nodes that change neither weights nor scores. All others must be those of the start of the run."""
_PATHS = ("data", "waveform_augment")
"""Nodes whose files and folders may have moved: their content is compared."""


def check_unchanged(settings: Train, run: RunFolder) -> None:
    """Refuse to resume a run with other settings than those of its start.

    Raises:
        ConfigError: Settings differ; the message lists them.
    """
    begun = with_current_names(yaml.safe_load(run.config.read_text()))
    then, now = dict(_leaves(begun)), dict(_leaves(settings.config))
    changed = [key for key in {**then, **now} if then.get(key) != now.get(key) and not _is_free(key)]
    changed = [key for key in changed if not _has_moved(key, then.get(key), now.get(key), run)]
    if changed == ["trainer.max_epochs"]:
        _check_epochs(settings, Train.of(begun), run)
    elif changed:
        names = {
            key if key.startswith(("trainer.", "callbacks.")) else key.partition(".")[0] for key in changed
        }
        raise ConfigError(
            f"{setting('resume', run.path)}: {', '.join(sorted(names))} cannot change within a run. "
            f"Leave out these settings to continue it, or {REPEAT_RUN}, with them."
        )


def check_same_data(data: SpeechData, run: RunFolder) -> None:
    """Refuse to resume a run with other data than those of its start, wherever they are stored.

    Raises:
        DataError: A split has changed.
    """
    file = run.path / "environment.json"
    if not file.is_file():
        return
    try:
        then = dict(json.loads(file.read_text(encoding="utf-8"))["data"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}: does not hold the hashes of the run's data ({type(error).__name__}). Take the file that the run "
            "wrote, or delete it to resume without comparing data."
        ) from error
    changed = [
        name
        for name, dataset in data.datasets.items()
        if then.get(name, dataset.store.fingerprint) != dataset.store.fingerprint
    ]
    if changed:
        raise DataError(
            f"{setting('resume', run.path)}: {', '.join(changed)}: the data are not those with which the run was "
            f"started. Give it the same files, or {REPEAT_RUN}."
        )


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the full key and value of every setting that is neither a mapping nor null."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif node is not None:
        yield path, node


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def _has_moved(key: str, then: Any, now: Any, run: RunFolder) -> bool:
    """Return whether a setting names a file or folder, as it did at the start.

    Raises:
        ConfigError: Its key names a file or folder that does not exist.
    """
    named = isinstance(then, str) or (then is None and key.startswith("data.folders."))
    is_path = key.partition(".")[0] in _PATHS and named and isinstance(now, str)
    if not is_path or Path(now).expanduser().exists():
        return is_path
    if key.rpartition(".")[2] in ("root", "path"):
        raise ConfigError(
            f"{setting('resume', run.path)}: {setting(key, now)}: no such file or folder. Give the one where the data "
            "of the run lie now."
        )
    return False


def _check_epochs(settings: Train, begun: Train, run: RunFolder) -> None:
    """Allow more epochs, if the learning rate was not planned for their number.

    Raises:
        ConfigError: It was, or the number is smaller.
    """
    then, now = begun.trainer["max_epochs"], settings.trainer["max_epochs"]
    if not is_planned(begun.schedule):
        if None not in (now, then) and now != -1 and now < then:
            raise ConfigError(
                f"{setting('resume', run.path)}: "
                f"trainer.max_epochs={now}: the run was started for {then} epochs. Give more, or "
                "leave it out."
            )
        return
    schedule = option_of("schedule", find_class(begun.schedule or {}, slot="schedule"))
    raise ConfigError(
        f"{setting('resume', run.path)}: "
        f"trainer.max_epochs cannot change from {then} to {now}, as schedule={schedule} planned the "
        f"learning rate for {then} epochs. {advise_init(run.best)}"
    )


def is_planned(spec: Mapping[str, Any] | None) -> bool:
    """Return whether a schedule depends on the number of steps of the whole training."""
    return bool(spec) and "total_steps" in signature(find_class(spec or {}, slot="schedule"))[0]
