"""Which launchers and trackers are installed."""

import importlib.util
import shutil
from collections.abc import Iterable

from ser.errors import ConfigError, MissingPackageError, install_command

EXTRAS = {
    "joblib": "joblib",
    "gpus": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "slurm": "submitit",
    "ray": "ray",
    "ray_aws": "ray",
}
"""Option of hydra/launcher -> extra that installs it."""
_TRACKERS = ("mlflow", "wandb")
"""Options of logger whose package, and extra, has that name."""


def check_launcher(option: str) -> None:
    """Refuse a launcher that is not installed.

    Raises:
        ConfigError: With the command that installs it.
    """
    extra = EXTRAS.get(option)
    if extra and not _is_installed(f"hydra_plugins.hydra_{extra}_launcher"):
        raise ConfigError(
            f"hydra/launcher={option}: hydra-{extra}-launcher is not installed. Run: {install_command(extra)}"
        )


def check_tracker(option: str) -> None:
    """Refuse a tracker that is not installed.

    Raises:
        MissingPackageError: With the command that installs it.
    """
    if missing := find_missing_trackers([option]):
        raise MissingPackageError(missing[0])


def find_missing_trackers(options: Iterable[str]) -> list[str]:
    """Return a message for each tracker that is not installed, with the command that installs it."""
    chosen = [name for name in dict.fromkeys(options) if name in _TRACKERS]
    return [
        f"logger={name}: the package {name} is not installed. Run: {install_command(name)}"
        for name in chosen
        if not _is_installed(name)
    ]


def _is_installed(module: str) -> bool:
    """Return whether a module can be imported; a folder of its name, such as wandb/ of earlier runs, is none."""
    try:
        spec = importlib.util.find_spec(module)
        return spec is not None and spec.origin is not None
    except ModuleNotFoundError:  # no plugin of Hydra at all
        return False


def check_cluster() -> None:
    """Refuse Slurm on a machine without it.

    Raises:
        ConfigError: There is no sbatch.
    """
    if shutil.which("sbatch") is None:
        raise ConfigError(
            "hydra/launcher=slurm: there is no program sbatch here. Start the sweep on a node of the cluster "
            "from which jobs are submitted, or take the launcher joblib."
        )
