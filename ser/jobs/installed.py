"""Which launchers are installed."""

import importlib.util
import shutil

from ser.errors import ConfigError, install_command

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


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
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
