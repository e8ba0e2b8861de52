"""Further labelled corpora that a training scores at its end: `test_sets=[emodb:DIR,table.csv]`."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ser.config.corpora import corpus_options, corpus_spec
from ser.data.label_map import read_label_map
from ser.data.manifest import Utterance
from ser.errors import ConfigError, DataError, SerError, did_you_mean, first_line
from ser.evaluation.corpus import select_labelled
from ser.evaluation.evaluate import build_reader, evaluate_corpus
from ser.evaluation.overlap import find_shared_speakers, with_corpora
from ser.evaluation.report import score_table
from ser.files import is_table
from ser.inference.mixture import load_mixtures
from ser.inference.predict import choose_device
from ser.runs.predictions_file import predictions_path, write_rows
from ser.splits.speaker_normalize import group_of
from ser.targets.base import Target

_SPLIT = {"_target_": "ser.splits.Default", "label": None}
"""Rule for splits that a reader asks for; test sets are scored whole."""
_TAKEN = ("train", "validation", "test")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TestSet:
    """A corpus that is scored, and never trained on.

    Args:
        name: Name in files and tables.
        data: Config node of its reader.
    """

    __test__ = False  # pytest would take it for a class of tests

    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class TestSetScores:
    """Scores of test sets.

    Args:
        metrics: Scores by flat names, such as `test_sets/emodb/uar`.
        table: Header and rows of the report.
        stamps: Warnings that every report must show.
    """

    __test__ = False

    metrics: dict[str, float] = field(default_factory=dict)
    table: Sequence[Sequence[str]] = ()
    stamps: Sequence[str] = ()


def read_test_sets(given: Sequence[str], data: Mapping[str, Any]) -> list[TestSet]:
    """Read the setting `test_sets`: `NAME:DIR` with an option of `data=`, or a table.

    A name with settings of its own in a mix has these. A corpus of the mix itself is left out: its test split is scored
    by the training.

    Args:
        given: The setting.
        data: Config node of the training's corpus, whose label field and cache are used for tables and folders.

    Raises:
        ConfigError: There is no such corpus, folder or table, or two have one name.
    """
    found: dict[str, TestSet] = {}
    options = [_split_name(text, data) for text in given]
    times = Counter(name for name, _, _ in options)
    for name, option, place in options:
        own = {key: value for key, value in _own_settings(name, data).items() if key != "data"}
        spec = {**_complete(corpus_spec(option, folder=place), option, data), **own}
        if _is_trained_on(name, spec, data):
            _log.info("test set %s: is in the training, which scores its test split", name)
            continue
        name = f"{name}_{Path(place).resolve().stem}" if times[name] > 1 else name
        if name in found or name in _TAKEN:
            raise ConfigError(f"test_sets: two corpora would be called {name!r}. Rename a folder or table.")
        found[name] = TestSet(name, spec)
    return [*found.values()]


def _split_name(text: str, data: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the name of a test set, its option of `data=`, and its folder or table.

    Raises:
        ConfigError: There is no such corpus, folder or table.
    """
    name, colon, place = text.partition(":")
    if is_table(text) and not _own_settings(name, data):
        name, place = "manifest", text
    elif not colon or not place:
        raise ConfigError(
            f"test_sets: {text!r} is neither NAME:DIR nor a table. Write such as test_sets=[emodb:DIR,table.csv]"
        )
    own = _own_settings(name, data)
    option = str(own.get("data", name))
    if option not in corpus_options():
        raise ConfigError(
            f"test_sets: there is no corpus {option!r}. {did_you_mean(option, corpus_options())}"
        )
    if not Path(place).exists():
        raise ConfigError(f"test_sets: {place} is not there, seen from {Path.cwd()}. Check the path.")
    is_named = own or corpus_spec(option).get("corpus")
    return name if is_named else Path(place).resolve().stem, option, place


def _own_settings(name: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a single corpus of a mix; empty if it has none."""
    return (data.get("settings") or {}).get(name) or {}


def _is_trained_on(name: str, spec: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """Return whether a corpus of a mix reads the same folder or table."""
    places = [_place(node) for node in (spec, (data.get("readers") or {}).get(name) or {})]
    return places[0] is not None and places[0] == places[1]


def _place(node: Mapping[str, Any]) -> Path | None:
    place = node.get("path") or node.get("root")
    return None if place is None else Path(str(place)).resolve()


def _complete(spec: Mapping[str, Any], option: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the node of a reader with the cache of the training and, for tables, its label field."""
    found = {**spec, "cache_dir": data.get("cache_dir", ".cache/ser"), "on_error": "skip"}
    if "label" not in spec:  # not of recordings
        found.pop("on_error")
        return found
    found["split"] = _SPLIT
    if option == "manifest" and data.get("label"):
        found["label"] = data["label"]
    return found


def check_test_sets(
    sets: Sequence[TestSet],
    target: Target,
    frontend: Mapping[str, Any],
    data: Mapping[str, Any],
    *,
    head: Mapping[str, Any] = MappingProxyType({}),
    speakers: Collection[str] = (),
) -> list[str]:
    """Read the names and labels of test sets before a training; return a line for each, and warnings.

    Args:
        sets: The test sets.
        target: Target of the training, completed from its data.
        frontend: Config node of the frontend.
        data: Config node of the training's corpus.
        head: Config node of the head.
        speakers: Speakers of the training split.

    Raises:
        SerError: A test set could not be scored.
    """
    if sets and target.labelled_at == "frame":
        raise ConfigError(
            "test_sets: are scored by labels of whole utterances, and this target has labels over time. Leave it out."
        )
    mapping = data.get("label_map")
    maps = [read_label_map(mapping) if isinstance(mapping, str) else mapping] if mapping else []
    by_speaker = {"frontend": group_of(frontend) == "speaker", "head": group_of(head) == "speaker"}
    needing = [name for name in by_speaker if by_speaker[name]]
    lines = []
    for each in sets:
        manifest, line = _check(each, target, needing, maps)
        own = with_corpora((one.speaker for one in manifest), each.data)
        shared = find_shared_speakers(own, with_corpora(speakers, data).values())
        lines += [line, *(f"Test set {each.name}: {warning}" for warning in shared.describe(len(own)))]
    return lines


def _check(
    each: TestSet, target: Target, by_speaker: Sequence[str], maps: Sequence[Any]
) -> tuple[Sequence[Utterance], str]:
    """Return the utterances of a test set that have labels, where it has single recordings, and a line."""
    reader = build_reader(each.data, target)
    if hasattr(reader, "read_split"):
        return (), f"Test set {each.name}: is scored at the end."
    if not hasattr(reader, "utterances"):
        raise ConfigError(f"test_sets: {each.name} is not a corpus of recordings. Leave it out.")
    found = select_labelled(reader, target, maps=maps)
    manifest = found.manifest
    if by_speaker and any(one.speaker is None for one in manifest):
        raise DataError(
            f"test_sets: {each.name} has utterances of unknown speakers, and {by_speaker[0]}.normalize=speaker needs "
            "them. Leave it out, or give a table with a column speaker."
        )
    missing = [one for one in manifest if not one.path.is_file()]
    if len(missing) == len(manifest):
        raise DataError(
            f"test_sets: {each.name} has no recording, such as {missing[0].path}. Check the folder."
        )
    count, total = len(manifest) - len(missing), len(manifest) + len(found.left_out)
    return manifest.utterances, f"Test set {each.name}: {count} of {total} utterances can be scored."


def score_test_sets(sets: Sequence[TestSet], run_dir: Path, *, device: str = "auto") -> TestSetScores:
    """Score the best checkpoint of a run on test sets, and write predictions_<name>.csv.

    One that fails is named in a stamp, so that the run keeps its other results.

    Args:
        sets: The test sets.
        run_dir: Folder of the run, with its checkpoint.
        device: Device of the computation.
    """
    if not sets:
        return TestSetScores()
    metrics: dict[str, float] = {}
    rows: list[list[str]] = []
    stamps: list[str] = []
    mixtures = load_mixtures([run_dir], calibrate=False)
    for each in sets:
        try:
            scored = evaluate_corpus(
                mixtures, each.data, cache_dir=str(each.data["cache_dir"]), device=choose_device(device)
            )
        except SerError as error:
            stamps.append(f"test set {each.name} could not be scored: {first_line(error)}")
            continue
        found = scored.evaluation
        write_rows(predictions_path(run_dir, each.name), found.rows)
        metrics |= {f"test_sets/{each.name}/{name}": value for name, value in found.metrics.items()}
        count, out = f"{len(found.rows):,}", f"{len(found.left_out):,}"
        rows += [[each.name, *cells, count, out] for cells in score_table(found)[1][:2]]
        stamps += [f"test set {each.name}: {stamp}" for stamp in scored.stamps]
    header = ["test set", "", "score", "95%", "floor", "utterances", "left out"]
    return TestSetScores(metrics, [header, *rows] if rows else [], stamps)
