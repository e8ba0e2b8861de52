"""A run of the benchmark: corpora, embeddings, classifiers, tables."""

import json
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from joblib import Parallel
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ser.config.instantiate import build
from ser.config.old_names import with_current_names
from ser.data.store import sha256_of
from ser.embeddings.base import Embedder
from ser.embeddings.cache import embed, stored_features
from ser.errors import ConfigError, DataError, did_you_mean, setting
from ser.files import write_atomic
from ser.inference.predict import choose_device
from ser.runs import environment
from ser.serab import results, tables
from ser.serab.classifiers import FAMILIES, SEED, solve
from ser.serab.corpora import BenchmarkCorpus, read, remedies_of
from ser.serab.normalize import problems
from ser.serab.reports import Report
from ser.serab.results import CorpusResults, Select
from ser.serab.scores import FEW_SPEAKERS

Config = Mapping[str, Any]

TRANSDUCTIVE = (
    "transductive: each speaker's embeddings are normalised with all utterances of that speaker in the split, test "
    "speakers' too"
)
_CHOICES = {"select": ("validation", "test"), "normalize": ("speaker", "global")}
_WITHOUT_EFFECT = ("jobs", "device", "cache_dir")  # on results
_PUBLISHED_SPLIT = {"train": 0.6, "validation": 0.2, "key": "speaker"}  # beside settings of single corpora


def run(
    config: Config,
    specs: Mapping[str, Config],
    *,
    folder: Path,
    extractor: str,
    split: str,
) -> float:
    """Run the benchmark and return its objective, 0..1.

    Args:
        config: of the command.
        specs: corpus -> node of it.
        folder: gets tables and results.
        extractor: its name, for tables.
        split: name of the rule by which corpora are divided; `serab` = as they were for the published table.

    Raises:
        SerError: settings, corpora or files do not fit together.
    """
    names = _check(config)
    logging.getLogger("ser.corpora.published").setLevel(
        logging.ERROR
    )  # whether copies are complete, is told here
    claim(folder, {**config, "split": split})
    corpora = [_read(name, spec, config) for name, spec in specs.items()]
    embedder: Embedder = build(config["extractor"], slot="extractor")
    found, seen, digests = [], [], {}
    with Parallel(config["jobs"], batch_size=1, return_as="generator") as parallel:
        for corpus in corpora:
            started = time.monotonic()
            embeddings = _embed(corpus, embedder, config)
            digests[corpus.name] = sha256_of(embeddings, corpus.description())
            embedded = time.monotonic()
            store = stored_features(corpus.manifest, embedder, cache_dir=config["cache_dir"])
            seen.append(corpus.with_leaks(store.digests))
            found.append(_classify(corpus, embeddings, names, config=config, parallel=parallel))
            seconds = embedded - started, time.monotonic() - embedded
            print(f"{corpus.name}: embeddings {seconds[0]:.1f} s, classifiers {seconds[1]:.1f} s", flush=True)
    report = Report(
        extractor=extractor,
        results=found,
        select=config["select"],
        method=_method(config, split=split),
        stamps=[
            *([TRANSDUCTIVE] if config["normalize"] == "speaker" else []),
            *(stamp for corpus in seen for stamp in corpus.stamps),
        ],
        remarks=[
            *(f"{corpus.name}: {remark}" for corpus in seen for remark in corpus.remarks),
            *(remark for one in found for remark in results.remarks(one)),
        ],
    )
    facts = environment.describe_environment(environment.typed_command(), SEED, digests)
    write_atomic(folder / "environment.json", json.dumps(facts, indent=2) + "\n")
    tables.write(folder, report)
    show(report, folder)
    return objective(found, config["select"])


def objective(found: Sequence[CorpusResults], select: Select) -> float:
    """What a sweep compares, 0..1: the mean over corpora of the accuracy by which the headline's classifier is chosen.

    By validation, then, unless asked otherwise: a sweep that ranked extractors by test would choose them by it.
    """
    return float(np.mean([getattr(one.best(select), f"{select}_accuracy") for one in found]))


def claim(folder: Path, config: Config) -> None:
    """Make the folder of the run; the same run may be repeated in it, since it gives the same results.

    Raises:
        ConfigError: it holds the results of another run.
        DataError: it cannot be made or written.
    """
    path = folder / "config.yaml"
    if path.exists() and (folder / "results.json").exists():
        begun = with_current_names(yaml.safe_load(path.read_text(encoding="utf-8")))
        changed = [key for key in config if key not in _WITHOUT_EFFECT and config[key] != begun.get(key)]
        if changed:
            raise ConfigError(
                f"{setting('hydra.run.dir', folder)}: "
                f"holds results of another run, which differs in {', '.join(changed)}. "
                "Choose another folder, or remove this one."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be made ({error.strerror}). Choose another with hydra.run.dir=..."
        ) from error
    write_atomic(path, yaml.safe_dump(dict(config), sort_keys=False))


def show(report: Report, folder: Path) -> None:
    """Print both choices side by side, what every reader must know, and where everything lies."""
    console = Console(width=shutil.get_terminal_size((160, 24)).columns)
    for select in ("validation", "test"):
        head, *rows = tables.headline(report, select)
        is_headline = " (headline)" if select == report.select else ""
        grid = Table(
            box=box.SIMPLE_HEAD, title=f"Test, {tables.BY[select]}{is_headline}", title_justify="left"
        )
        for place, name in enumerate(head):
            grid.add_column(name, justify="left" if place < 2 else "right", no_wrap=True)
        for row in rows:
            grid.add_row(*map(Text, row))
        console.print(grid)
    for stamp in report.stamps:
        console.print(Text(f"note: {stamp}", style="yellow"), soft_wrap=True)
    for remark in (line for line in report.remarks if "Declared leak" not in line):  # serab.md has them all
        console.print(Text(remark), soft_wrap=True)
    console.print(Text(f"Tables: {folder / 'serab.md'}"), soft_wrap=True)


def _check(config: Config) -> list[str]:
    """The classifiers that are asked for, in the order of FAMILIES.

    Raises:
        ConfigError: a choice or a classifier does not exist.
    """
    for key, choices in _CHOICES.items():
        if config[key] not in choices:
            raise ConfigError(
                f"{key}={config[key]}: no such choice. {did_you_mean(str(config[key]), choices)}"
            )
    names = config["classifiers"]
    for name in names:
        if name not in FAMILIES:
            raise ConfigError(
                f"classifiers=[{name}]: there is no such classifier. {did_you_mean(str(name), FAMILIES)}"
            )
    if not names or not config["corpora"]:
        raise ConfigError("classifiers, corpora: one of them is empty, so there is nothing to do. Name some.")
    if not isinstance(config["jobs"], int) or config["jobs"] == 0:
        raise ConfigError(f"jobs={config['jobs']}: expected a number of processes, or -1 for one a core.")
    return [name for name in FAMILIES if name in names]


def _read(name: str, spec: Config, config: Config) -> BenchmarkCorpus:
    settings = {key: value for key, value in spec.items() if key != "utterances"}
    with remedies_of(name):
        return read(name, settings, utterances=spec.get("utterances"), allow_partial=config["allow_partial"])


def _embed(corpus: BenchmarkCorpus, embedder: Embedder, config: Config) -> np.ndarray:
    """[N, D] float32."""
    with remedies_of(corpus.name):
        return embed(
            corpus.manifest,
            corpus.assignment["train"],
            embedder,
            cache_dir=config["cache_dir"],
            device=choose_device(config["device"]),
            corpus=corpus.reader,
        )


def _classify(
    corpus: BenchmarkCorpus,
    embeddings: np.ndarray,
    names: Sequence[str],
    *,
    config: Config,
    parallel: Parallel,
) -> CorpusResults:
    both = problems(
        embeddings,
        corpus.classes,
        corpus.assignment,
        speakers=corpus.speakers,
        normalize=config["normalize"],
    )
    outcomes = solve(both, names, parallel, has_grid=config["grid"], title=corpus.name)
    return results.collect(corpus, both, outcomes)


def _method(config: Config, *, split: str) -> list[str]:
    """Paragraphs on how it was done; runs with other ones are not compared."""
    by_speaker = (
        "Embeddings are z-scores by the mean and standard deviation of each speaker within the split; no label is "
        "looked at, but the other utterances of a test speaker are (transductive)."
    )
    by_train = (
        "Embeddings are z-scores by the mean and standard deviation of train while grids are searched, and of train "
        "and validation for the classifier that answers test."
    )
    searched = (
        "Their settings are the most accurate of each one's grid on validation, having learnt from train; with them "
        "it learns anew from train and validation and answers test once."
    )
    defaults = "They have their default settings and answer test having learnt from train and validation."
    asked = (family.title for name, family in FAMILIES.items() if name in config["classifiers"])
    return [
        _division(split, config["data"]["split"]),
        by_speaker if config["normalize"] == "speaker" else by_train,
        f"Classifiers: {', '.join(asked)}. {searched if config['grid'] else defaults}",
        "Intervals hold 95% of 10,000 draws of test speakers with replacement; of fewer than "
        f"{FEW_SPEAKERS} speakers, each is at least as wide as the binomial one (Wilson's) of as many independent "
        "utterances, and may still be too narrow. "
        f"UAR is the mean recall of the classes. What is random in classifiers and intervals has the seed "
        f"{SEED}.",
    ]


def _division(split: str, rule: Mapping[str, Any]) -> str:
    """By which rule corpora were divided, and whether it is that of the published table."""
    settings = {key: value for key, value in rule.items() if key != "_target_" and value is not None}
    if split == "serab" and settings == _PUBLISHED_SPLIT:
        return (
            "Speakers are divided as for the published table, which in IEMOCAP and ShEMO takes something else for the "
            "speaker and leaves out the neutral utterances of CaFE."
        )
    by_talker = " by who talks" if split == "honest" and settings.get("key") == "speaker" else ""
    name = str(rule["_target_"]).rpartition(".")[2]
    listed = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f"Corpora are divided{by_talker}, not as for the published table: {name} with {listed or 'no settings'}."
