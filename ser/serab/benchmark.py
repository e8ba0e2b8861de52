"""Run the SERAB benchmark: corpora, embeddings, classifiers, tables."""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from joblib import Parallel
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ser.config.instantiate import build
from ser.config.old_names import with_current_names
from ser.config.settings import Serab, Spec, names_of
from ser.data.store import sha256_of
from ser.embeddings.base import Embedder
from ser.embeddings.cache import embed, stored_features
from ser.errors import ConfigError, DataError, did_you_mean, setting
from ser.files import write_atomic
from ser.inference.predict import choose_device
from ser.runs import environment
from ser.runs.run_folder import FOLDER_SETTINGS
from ser.serab import results, tables
from ser.serab.classifiers import FAMILIES, SEED, best_validation_accuracy, search_grids
from ser.serab.corpora import BenchmarkCorpus, benchmark_remedies, read
from ser.serab.normalize import Problems, make_problems
from ser.serab.reports import Report
from ser.serab.results import CorpusResults, Select
from ser.serab.scores import FEW_SPEAKERS

TRANSDUCTIVE = (
    "transductive: each speaker's embeddings are normalised with all utterances of that speaker in the split, also "
    "for test speakers"
)
_WITHOUT_EFFECT = ("jobs", "device", "cache_dir")  # settings that do not change results
_PUBLISHED_SPLIT = {
    "train": 0.6,
    "validation": 0.2,
    "key": "speaker",
}  # apart from settings of single corpora


def run(
    settings: Serab,
    specs: Mapping[str, Spec],
    *,
    folder: Path,
    extractor: str,
    split: str,
) -> float:
    """Run the benchmark and return its objective, 0..1.

    Args:
        settings: Settings of the command.
        specs: Config node of each corpus.
        folder: Folder for tables and results.
        extractor: Name of the extractor, for tables.
        split: Name of the split rule; `serab` is that of the published table.

    Raises:
        SerError: Settings, corpora or files do not fit together.
    """
    names = _check(settings)
    logging.getLogger("ser.corpora.published").setLevel(logging.ERROR)  # `read` reports incomplete copies
    claim_folder(folder, {**settings.config, "split": split})
    corpora = [_read(name, spec, settings) for name, spec in specs.items()]
    embedder: Embedder = build(settings.extractor, slot="extractor")
    found, seen, chosen, digests = [], [], [], {}
    with Parallel(settings.jobs, batch_size=1, return_as="generator") as parallel:
        for corpus in corpora:
            started = time.monotonic()
            own, remarks = _choose_embedder(corpus, embedder, names, settings=settings, parallel=parallel)
            chosen += remarks
            embeddings = _embed(corpus, own, settings)
            digests[corpus.name] = sha256_of(embeddings, corpus.description())
            embedded = time.monotonic()
            store = stored_features(corpus.manifest, embedder, cache_dir=settings.cache_dir)
            seen.append(corpus.with_leaks(store.digests))
            found.append(_classify(corpus, embeddings, names, settings=settings, parallel=parallel))
            seconds = embedded - started, time.monotonic() - embedded
            print(f"{corpus.name}: embeddings {seconds[0]:.1f} s, classifiers {seconds[1]:.1f} s", flush=True)
    report = Report(
        extractor=extractor,
        results=found,
        select=settings.select,
        method=_method(settings, split=split),
        stamps=[
            *([TRANSDUCTIVE] if settings.normalize == "speaker" else []),
            *(stamp for corpus in seen for stamp in corpus.stamps),
        ],
        remarks=[
            *chosen,
            *(f"{corpus.name}: {remark}" for corpus in seen for remark in corpus.remarks),
            *(remark for one in found for remark in results.describe_remarks(one)),
        ],
    )
    environment.Environment(command=environment.typed_line(), seed=SEED, data=digests).write(folder)
    tables.write(folder, report)
    print_results(report, folder)
    return objective(found, settings.select)


def objective(found: Sequence[CorpusResults], select: Select) -> float:
    """Compute the objective of a sweep, 0..1: the mean accuracy over corpora on the split that selects the classifiers.

    By default this is validation: a sweep that ranked extractors by test would select them on test.
    """
    return float(np.mean([getattr(one.best(select), f"{select}_accuracy") for one in found]))


def claim_folder(folder: Path, config: Spec) -> None:
    """Create the folder of the run, or reuse it for the same run, which gives the same results.

    Raises:
        ConfigError: It holds the results of another run.
        DataError: It cannot be created or written.
    """
    path = folder / "config.yaml"
    if path.exists() and (folder / "results.json").exists():
        begun = with_current_names(yaml.safe_load(path.read_text(encoding="utf-8")))
        changed = [key for key in config if key not in _WITHOUT_EFFECT and config[key] != begun.get(key)]
        if changed:
            raise ConfigError(
                f"{setting('hydra.run.dir', folder)}: "
                f"holds results of another run, which differs in {', '.join(changed)}. "
                f"Choose another folder with {FOLDER_SETTINGS}, or remove this one."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be made ({error.strerror}). Choose another folder with {FOLDER_SETTINGS}."
        ) from error
    write_atomic(path, yaml.safe_dump(dict(config), sort_keys=False))


def print_results(report: Report, folder: Path) -> None:
    """Print the results for both ways to select classifiers, the warnings, and the path of the tables."""
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


def _check(settings: Serab) -> list[str]:
    """Check the settings, and return the selected classifiers in the order of FAMILIES.

    Raises:
        ConfigError: A classifier does not exist, or there is nothing to do.
    """
    names = names_of(settings.classifiers)
    for name in names:
        if name not in FAMILIES:
            raise ConfigError(
                f"classifiers=[{name}]: there is no such classifier. {did_you_mean(str(name), FAMILIES)}"
            )
    if not names or not settings.corpora:
        raise ConfigError("classifiers, corpora: one of them is empty, so there is nothing to do. Name some.")
    if settings.jobs == 0:
        raise ConfigError("jobs=0: expected a number of processes. Set jobs=-1 for one a core.")
    return [name for name in FAMILIES if name in names]


def _read(name: str, spec: Spec, settings: Serab) -> BenchmarkCorpus:
    node = {key: value for key, value in spec.items() if key != "utterances"}
    with benchmark_remedies(name):
        return read(name, node, utterances=spec.get("utterances"), allow_partial=settings.allow_partial)


def _embed(corpus: BenchmarkCorpus, embedder: Embedder, settings: Serab) -> np.ndarray:
    """Compute or read the embeddings of a corpus [N, D] float32."""
    with benchmark_remedies(corpus.name):
        return embed(
            corpus.manifest,
            corpus.assignment["train"],
            embedder,
            cache_dir=settings.cache_dir,
            device=choose_device(settings.device),
            corpus=corpus.reader,
        )


def _choose_embedder(
    corpus: BenchmarkCorpus,
    embedder: Embedder,
    names: Sequence[str],
    *,
    settings: Serab,
    parallel: Parallel,
) -> tuple[Embedder, list[str]]:
    """Return the candidate with the highest validation accuracy, and a remark with those of all; test is not used."""
    candidates = embedder.candidates()
    if not candidates:
        return embedder, []
    accuracies = {}
    for name, candidate in candidates.items():
        problems = _problems(corpus, _embed(corpus, candidate, settings), settings)
        accuracies[name] = best_validation_accuracy(
            problems.search, names, parallel, has_grid=settings.grid, title=f"{corpus.name}: {name}"
        )
    best = max(accuracies, key=lambda name: accuracies[name])
    listed = ", ".join(f"{name} {100 * accuracy:.1f}" for name, accuracy in accuracies.items())
    return candidates[best], [f"{corpus.name}: {best} has the best validation accuracy: {listed}"]


def _problems(corpus: BenchmarkCorpus, embeddings: np.ndarray, settings: Serab) -> Problems:
    return make_problems(
        embeddings,
        corpus.classes,
        corpus.assignment,
        speakers=corpus.speakers,
        normalize=settings.normalize,
    )


def _classify(
    corpus: BenchmarkCorpus,
    embeddings: np.ndarray,
    names: Sequence[str],
    *,
    settings: Serab,
    parallel: Parallel,
) -> CorpusResults:
    both = _problems(corpus, embeddings, settings)
    outcomes = search_grids(both, names, parallel, has_grid=settings.grid, title=corpus.name)
    return results.collect(corpus, both, outcomes)


def _method(settings: Serab, *, split: str) -> list[str]:
    """Describe the method in paragraphs; runs with different descriptions are not compared."""
    by_speaker = (
        "Embeddings are z-scores by the mean and standard deviation of each speaker within the split. This uses no "
        "labels, but the other utterances of a test speaker (transductive)."
    )
    by_train = (
        "Embeddings are z-scores by the mean and standard deviation of train for the grid search, and of train and "
        "validation for the predictions on test."
    )
    searched = (
        "Each is trained on train with all settings of its grid; the settings with the highest validation accuracy "
        "are trained again on train and validation, and predict test once."
    )
    defaults = "They have their default settings, are trained on train and validation, and predict test."
    asked = (family.title for name, family in FAMILIES.items() if name in names_of(settings.classifiers))
    return [
        _division(split, settings.data.split),
        by_speaker if settings.normalize == "speaker" else by_train,
        f"Classifiers: {', '.join(asked)}. {searched if settings.grid else defaults}",
        "Intervals contain 95% of 10,000 draws of test speakers with replacement; with fewer than "
        f"{FEW_SPEAKERS} speakers, each is at least as wide as Wilson's binomial interval for independent "
        "utterances, and may still be too narrow. "
        f"UAR is the mean recall of the classes. Classifiers and intervals have the seed {SEED}.",
    ]


def _division(split: str, rule: Spec) -> str:
    """Describe the split rule, and whether it is that of the published table."""
    settings = {key: value for key, value in rule.items() if key != "_target_" and value is not None}
    if split == "serab" and settings == _PUBLISHED_SPLIT:
        return (
            "Speakers are split as for the published table, which uses another field for the speaker in IEMOCAP and "
            "ShEMO, and leaves out the neutral utterances of CaFE."
        )
    by_talker = " by actual speaker" if split == "honest" and settings.get("key") == "speaker" else ""
    name = str(rule["_target_"]).rpartition(".")[2]
    listed = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f"Corpora are split{by_talker}, not as for the published table: {name} with {listed or 'no settings'}."
