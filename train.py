"""Train, choose the best epoch on validation, score it, report.

python train.py model=lstm optimizer.lr=1e-3
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from ser.command import main
from ser.compatible import check_augment, check_training
from ser.errors import SerError
from ser.files import write_atomic
from ser.run_folder import RunFolder, resume_arguments
from ser.sweep import record_status


@main("train")
def train(config: dict[str, Any]) -> float:
    """Run one training and return the monitored value of its best checkpoint."""
    settings = HydraConfig.get()
    if settings.mode is RunMode.MULTIRUN and "ddp" in str(config["trainer"].get("strategy")):
        return train_alone(config, Path(settings.runtime.output_dir))
    from ser import ensemble, training  # torch and lightning take 3 s: first the config must be right

    started = time.monotonic()
    run = RunFolder(Path(settings.runtime.output_dir))
    with run.claimed(resuming=config["resume"] is not None):
        check_training(config)
        check_augment(config)
        training.prepare(config)
        if config["resume"] is not None:
            training.check_unchanged(config, run)
        splits = training.read_splits(config)
        if config["ensemble"] is not None:
            value = ensemble.train(config, run, splits, started=started)
            record_status(run.path, "completed", monitor=config["monitor"], mode=config["mode"], value=value)
            return value
        data = training.make_data(config, splits)
        task = training.make_task(config, data)
        trainer = training.make_trainer(config, run)
        training.record(config, run, data)
        training.fit(trainer, task, data, run)
        scores = training.evaluate(config, trainer, task, data)
        if trainer.is_global_zero:
            seconds = time.monotonic() - started
            training.write_report(config, run, trainer, task=task, data=data, scores=scores, seconds=seconds)
            record_status(
                run.path, "completed", monitor=config["monitor"], mode=config["mode"], value=scores.value
            )
        return scores.value


def train_alone(config: dict[str, Any], folder: Path) -> float:
    """Run one job of a sweep as a command of its own, from its resolved config.

    Lightning starts further processes by repeating the command line, which here would repeat the whole sweep.
    """
    write_atomic(folder / "job.yaml", yaml.safe_dump(config, sort_keys=False))
    place = ["--config-path", str(folder.absolute()), "--config-name", "job", f"hydra.run.dir={folder}"]
    result = subprocess.run([sys.executable, __file__, *place, "hydra.output_subdir=null"], check=False)
    if result.returncode:
        raise SerError(
            f"{folder}: the job ended with exit code {result.returncode}; its messages stand above."
        )
    return float(json.loads((folder / "metrics.json").read_text())[config["monitor"]])


if __name__ == "__main__":
    sys.argv[1:] = resume_arguments(sys.argv[1:])
    train()
