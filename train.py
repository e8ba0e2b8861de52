"""Train, choose the best epoch on validation, score it, report.

python train.py model=lstm optimizer.lr=1e-3
"""

import sys
import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from ser.command import main
from ser.run_folder import RunFolder, resume_arguments
from ser.sweep import record_status


@main("train")
def train(config: dict[str, Any]) -> float:
    """Run one training and return the monitored value of its best checkpoint."""
    from ser import training  # torch and lightning take 3 s: not before the config is known to be right

    started = time.monotonic()
    run = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    with run.claimed(resuming=config["resume"] is not None):
        training.prepare(config)
        data = training.make_data(config)
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


if __name__ == "__main__":
    sys.argv[1:] = resume_arguments(sys.argv[1:])
    train()
