"""Sweeper for Hydra that searches with Optuna: `-m hydra/sweeper=optuna`, or `-m search=cnn`.

hydra-optuna-sweeper 1.3.0 needs Optuna before 3 and ends with the first NaN. This one asks Optuna for trials, launches
them through any launcher of Hydra, reads how each ended from its status.json, and tells Optuna.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from ser.config.search import SWEEPER
from ser.errors import ConfigError, did_you_mean, first_line, hydra_value
from ser.runs.sweep import TRIAL, hash_settings, is_running, read_status, record_status
from ser.search import journal
from ser.search.space import Space, read_space
from ser.search.trial import TrialOfJob

_ALIKE = 3  # trials that fail alike before any has succeeded: the next ones would, too


def register() -> None:
    """Make the sweeper known to Hydra, which takes plugins from a package `hydra_plugins` only.

    Its registry needs the name alone: so there is no second package to install, and classes are pickled by their
    true names.
    """
    plugins = Plugins.instance()
    plugins.register(OptunaSweeper)
    plugins.class_name_to_class[SWEEPER] = OptunaSweeper


@dataclass(frozen=True)
class _Launched:
    trial: Any
    overrides: Sequence[str]
    folder: Path


class OptunaSweeper(Sweeper):
    """Search settings with Optuna; what was searched before in the same hydra.sweep.dir counts.

    Args:
        trials: Number of trials, failed and pruned ones included.
        parallel: Number of trials that are launched at once.
        sampler: `tpe` or `random`.
        pruner: `median`, `halving` or `none`; see `ser.search.journal.make_pruner`.
        seed: Seed of the sampler.
        startup_trials: Number of random trials before TPE models them; `median` stops none of the first half.
        space: Settings to search, by key, in Hydra's grammar; the command line has read them already.
    """

    def __init__(
        self,
        trials: int = 20,
        parallel: int = 1,
        sampler: str = "tpe",
        pruner: str = "none",
        seed: int = 0,
        startup_trials: int = 10,
        space: Any = None,
    ) -> None:
        self.trials = trials
        self.parallel = parallel
        self.sampler = sampler
        self.pruner = pruner
        self.seed = seed
        self.startup_trials = startup_trials
        self.config: Any = None
        self.launcher: Any = None
        self.hydra_context: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over, and make the launcher."""
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that are left.

        Raises:
            ConfigError: A setting of the search is wrong, or the first trials all fail alike.
            DataError: The journal is damaged.
        """
        from ser.search.plots import draw_search

        self._check()
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        space = read_space(parser.parse_overrides(arguments))
        sweep_dir = Path(self.config.hydra.sweep.dir).absolute()
        sweep_dir.mkdir(parents=True, exist_ok=True)
        path = sweep_dir / journal.JOURNAL
        is_min = self.config.get("mode") == "min"
        study = journal.open_study(path, direction="minimize" if is_min else "maximize")
        journal.check_same_space(study, space.describe(), path)
        OmegaConf.save(self.config, sweep_dir / "multirun.yaml")
        while batch := self._next_batch(study, space, sweep_dir):
            self._launch(study, batch, path)
            _check_progress(study)
        draw_search(study, sweep_dir / "search.png", str(self.config.get("monitor", "objective")))

    def _check(self) -> None:
        """Refuse settings of the search that are wrong.

        Raises:
            ConfigError: With the first of them.
        """
        for name, least in {"trials": 1, "parallel": 1, "seed": 0, "startup_trials": 0}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ConfigError(
                    f"hydra.sweeper.{name}={value}: expected a whole number of at least {least}."
                )
        for name, known in {"sampler": journal.SAMPLERS, "pruner": journal.PRUNERS}.items():
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise ConfigError(
                    f"hydra.sweeper.{name}={value}: no such choice. {did_you_mean(str(value), known)}"
                )

    def _next_batch(self, study: Any, space: Space, sweep_dir: Path) -> list[_Launched]:
        """Return trials that were killed, then new ones; those that another process runs now are left to it."""
        from optuna.trial import Trial

        known = study.get_trials(deepcopy=False)
        killed = [each for each in known if not each.state.is_finished() and not _is_held(each)]
        batch = []
        for frozen in killed[: self.parallel]:
            study.sampler = self._sampler(frozen.number)
            batch.append(Trial(study, frozen._trial_id))
        while len(batch) < self.parallel and len(known) < self.trials:
            study.sampler = self._sampler(len(known))
            with journal.quiet():
                batch.append(study.ask())
            known = study.get_trials(deepcopy=False)
        return [job for trial in batch if (job := self._compose(study, trial, space, sweep_dir))]

    def _sampler(self, number: int) -> Any:
        startup = self.startup_trials
        return journal.make_sampler(self.sampler, seed=self.seed, number=number, startup=startup)

    def _compose(self, study: Any, trial: Any, space: Space, sweep_dir: Path) -> _Launched | None:
        """Draw the settings of a trial, and find its folder; a trial that cannot be composed fails."""
        with journal.quiet():
            overrides = space.draw(trial)
        try:
            config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
            folder = sweep_dir / _folder_name(config)
        except Exception as error:  # Hydra's or OmegaConf's
            folder = sweep_dir / hash_settings({"overrides": overrides})
            words = [word.removeprefix("++") for word in overrides]
            message, number = first_line(error), trial.number
            record_status(folder, "running", overrides=words, number=number)
            record_status(folder, "failed", error=message, reason="error")
            _tell(study, trial, folder)
            return None
        trial.set_user_attr("folder", str(folder))
        return _Launched(trial, overrides, folder)

    def _launch(self, study: Any, batch: Sequence[_Launched], path: Path) -> None:
        """Launch trials, and tell Optuna how each ended.

        A launcher that raises has lost a worker; the trials of others, and those that it did not start, go on.
        """
        jobs = [[*job.overrides, *self._own_settings(job, path)] for job in batch]
        failure: Exception | None = None
        try:
            self.launcher.launch(jobs, initial_job_idx=batch[0].trial.number)
        except Exception as error:
            failure = error
        has_ended = False
        for job in batch:
            status = read_status(job.folder).get("status")
            if status == "running" and not is_running(job.folder):
                record_status(job.folder, "failed", error="the process was killed", reason="killed")
            elif status == "running" or (status is None and failure):
                continue  # another process runs it, or nothing has begun it
            has_ended = True
            _tell(study, job.trial, job.folder)
        if failure and not has_ended:
            raise failure

    def _own_settings(self, job: _Launched, path: Path) -> list[str]:
        trial = TrialOfJob(str(path), job.trial.number, self.pruner, self.startup_trials // 2)
        return [
            f"hydra.sweep.subdir={hydra_value(job.folder.name)}",
            f"hydra.job.env_set.{TRIAL}={hydra_value(trial.to_text())}",
        ]


def _folder_name(config: DictConfig) -> str:
    """Return the name that the settings of a job give to its folder."""
    setup_globals()
    with open_dict(config):
        config.hydra.job.id, config.hydra.job.num = "0", 0
        config.hydra.sweep.subdir = "${hash_of_settings:}"
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        return str(OmegaConf.select(config, "hydra.sweep.subdir"))
    finally:
        HydraConfig.instance().cfg = before


def _is_held(trial: Any) -> bool:
    folder = trial.user_attrs.get("folder")
    return folder is not None and is_running(Path(folder))


def _tell(study: Any, trial: Any, folder: Path) -> None:
    """Tell Optuna how a trial ended, as its status says."""
    from optuna.trial import TrialState

    status = read_status(folder)
    value, how = status.get("value"), status.get("status")
    with journal.quiet():
        if how == "completed" and value is not None:
            study.tell(trial, value, skip_if_finished=True)
        elif how == "pruned":
            study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            trial.set_user_attr("error", status.get("error") or f"no value of the monitored metric ({how})")
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def _check_progress(study: Any) -> None:
    """End a search whose first trials all fail alike, as with a metric that is never logged.

    Raises:
        ConfigError: With their error.
    """
    ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    errors = [trial.user_attrs.get("error") for trial in ended]
    same = [*itertools.takewhile(lambda error: error is not None and error == errors[0], errors)]
    if len(same) == len(errors) >= _ALIKE:
        raise ConfigError(f"The first {len(same)} trials failed alike, so the search ends:\n{same[0]}")
