"""Write a run to Weights & Biases: files in the run's folder by default, or its server."""

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import WandbLogger

from ser.errors import ConfigError, first_line, program, shell_word
from ser.files import short
from ser.jobs.installed import check_tracker
from ser.trackers.base import Tracker, read_id, write_id


class WandB(Tracker, WandbLogger):
    """Write curves, plots, all settings and scores to Weights & Biases.

    The summary of the run, which its table of runs shows, holds the scores of metrics.json.

    Args:
        save_dir: Folder of the run.
        project: Project there.
        run_name: Name of the run; None for that of its folder.
        entity: User or team; None for the user's own default.
        group: Name that joins runs in the project, such as folds; None for none.
        tags: Tags of the run.
        offline: Whether to write files for `wandb sync` only, and send nothing.

    Raises:
        MissingPackageError: wandb is not installed.
    """

    shows_images = True

    def __init__(
        self,
        save_dir: str | Path,
        project: str = "ser",
        run_name: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        offline: bool = True,
    ) -> None:
        check_tracker("wandb")
        self.run_dir = Path(save_dir)
        self.is_offline = offline
        identifier = read_id(self.run_dir, "wandb") or secrets.token_hex(4)
        super().__init__(
            name=run_name or self.run_dir.name,
            save_dir=save_dir,
            id=identifier,
            project=project,
            entity=entity,
            group=group,
            tags=[*tags],
            mode="offline" if offline else "online",
            resume=None if offline else "allow",
            settings={"console": "off", "silent": True},
        )

    @classmethod
    def watch_command(cls, spec: Mapping[str, Any], run_dir: Path) -> list[str]:
        """Return the command that uploads the files of an offline run."""
        if spec.get("offline") is False:
            return []
        files = short(run_dir / "wandb")
        return [program("wandb"), "sync", f"{shell_word(str(files))}/offline-run-*"]

    def log_settings(self, config: Mapping[str, Any]) -> None:
        """Open the run, and write every setting to its config.

        Raises:
            ConfigError: The server refuses it.
        """
        import wandb

        if self.is_offline:
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        if wandb.run is not None:  # of a job of the same sweep that failed
            wandb.run.finish(exit_code=1)
        try:
            self.log_hyperparams(dict(config))
        except wandb.errors.Error as error:
            raise ConfigError(
                f"logger.wandb.offline=false: the server refuses the run ({first_line(error)}). Log in with: "
                f"{program('wandb')} login"
            ) from error
        write_id(self.run_dir, "wandb", str(self.version))
        self._remove_links()

    def add_plot(self, name: str, image: np.ndarray, *, epoch: int, step: int) -> None:
        """Add a plot."""
        import wandb

        self.experiment.log({name: wandb.Image(image), "trainer/global_step": step})

    def log_scores(self, scores: Mapping[str, float], typed: Mapping[str, str | float], *, step: int) -> None:
        """Write the scores to the summary of the run."""
        self.experiment.summary.update(dict(scores))

    def finalize(self, status: str) -> None:
        """End the curves; a training that failed ends the run."""
        super().finalize(status)
        if status == "failed":
            self.experiment.finish(exit_code=1)

    def close(self) -> None:
        """End the run, whose files are then complete."""
        self.experiment.finish()
        self._remove_links()

    def _remove_links(self) -> None:
        """Remove links to logs in the user's cache, because a run folder with links to elsewhere is not resumed."""
        inside = self.run_dir.resolve()
        for path in (self.run_dir / "wandb").rglob("*"):
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                path.unlink()
