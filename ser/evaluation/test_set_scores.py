"""Check before a training that its test sets can be scored, and score them at its end."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ser.data.label_map import read_label_map
from ser.data.manifest import Utterance
from ser.errors import ConfigError, DataError, SerError, first_line
from ser.evaluation.corpus import select_labelled
from ser.evaluation.evaluate import build_reader, evaluate_corpus
from ser.evaluation.overlap import find_shared_speakers, with_corpora
from ser.evaluation.score_rows import score_table
from ser.evaluation.test_sets import TestSet
from ser.inference.mixture import load_mixtures
from ser.inference.predict import choose_device
from ser.mix.remedies import replace_settings
from ser.runs.predictions_file import predictions_path, write_rows
from ser.splits.speaker_normalize import group_of
from ser.targets.base import Target


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
        own = ["label", "label_map", "speaker", "pattern", *["root"] * ("path" in each.data)]
        with replace_settings({key: f"test_settings.{each.name}.{key}" for key in own}):
            manifest, line = _check(each, target, needing, maps)
        known = with_corpora((one.speaker for one in manifest), each.data)
        shared = find_shared_speakers(known, with_corpora(speakers, data).values())
        lines += [line, *(f"Test set {each.name}: {warning}" for warning in shared.describe(len(known)))]
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
        remedy = manifest.speaker_remedy or "Give a table with a column speaker"
        raise DataError(
            f"test_sets: {each.name} has utterances of unknown speakers, and {by_speaker[0]}.normalize=speaker needs "
            f"them. {remedy}, or leave it out."
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
