"""Score models on a labelled corpus that need not be the one of their training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from ser.checkpoints.checkpoint import Trained
from ser.config.instantiate import build
from ser.data.label_map import LabelMap
from ser.errors import ConfigError, DataError
from ser.evaluation.corpus import COLUMNS, LabelledCorpus, Subset, read_labelled
from ser.evaluation.overlap import find_overlap
from ser.evaluation.scores import Evaluation, evaluate_answers
from ser.evaluation.trained_on import TrainedOn, corpus_of, read_trained_on
from ser.inference.mixture import Mixture, mixture_scores
from ser.inference.predict import check_same_target
from ser.runs.predictions_file import NEW, TRAINING
from ser.targets.base import Target

_TRAINED, _CHOSEN = "trained on", "chose the checkpoint"


@dataclass(frozen=True)
class Scored:
    """Scores of a corpus with what a report has to say about them.

    Args:
        evaluation: Scores and predictions.
        corpus: The corpus.
        stamps: Warnings that every report must show.
        remarks: Further facts.
    """

    evaluation: Evaluation
    corpus: LabelledCorpus
    stamps: Sequence[str]
    remarks: Sequence[str]


def build_reader(data: Mapping[str, Any], target: Target) -> Any:
    """Build the reader of a corpus; one that can read several label fields gets those of the target.

    Args:
        data: Config node of the corpus.
        target: Target of the models.
    """
    if data.get("fields", ()) is None and target.requested_fields:
        data = {**data, "fields": [*target.requested_fields]}
    return build(data, slot="data")


def require_labels_of_utterances(models: Sequence[Trained]) -> None:
    """Refuse models whose labels are over time.

    Raises:
        ConfigError: There is one.
    """
    for trained in models:
        if trained.target.labelled_at == "frame":
            raise ConfigError(
                f"ckpt: {trained.path} predicts values over time, and corpora are scored by labels of whole "
                "utterances here. Give a model of utterances; the test split of a training scores values over time."
            )


def label_maps(runs: Sequence[TrainedOn | None], data: Mapping[str, Any]) -> list[LabelMap]:
    """Return the label maps with which models were trained, each once; that of the same corpus of a mix first.

    Args:
        runs: What each model was trained on; None where it is unknown.
        data: Config node of the corpus that is scored.
    """
    found: list[LabelMap] = []
    for run in filter(None, runs):
        found += [each for each in run.label_maps(corpus_of(data)) if each not in found]
    return found


def evaluate_corpus(
    mixtures: Sequence[Mixture],
    data: Mapping[str, Any],
    *,
    subset: Subset = "all",
    by: Sequence[str] = COLUMNS,
    cache_dir: str = ".cache/ser",
    on_error: Literal["raise", "skip"] = "skip",
    device: torch.device,
    max_frames: int | None = None,
) -> Scored:
    """Score models on a corpus.

    Args:
        mixtures: Models of one target.
        data: Config node of the corpus.
        subset: Split of the corpus; "all" for the whole corpus.
        by: Columns by which scores are listed.
        cache_dir: Folder for cached features.
        on_error: What to do about recordings that cannot be read.
        device: Device of the computation.
        max_frames: Maximum number of padded frames in a batch; None for the fastest on the device.

    Raises:
        SerError: The corpus or the models cannot be used, or no utterance can be scored.
    """
    models = [model for each in mixtures for model in each.models]
    require_labels_of_utterances(models)
    for trained in models:
        check_same_target(trained, models[0])
    target = models[0].target
    runs = [read_trained_on(trained.path) for trained in models]
    reader = build_reader(data, target)
    settings: dict[str, Any] = {"maps": label_maps(runs, data), "cache_dir": cache_dir, "on_error": on_error}
    corpus = read_labelled(reader, models, subset=subset, by=by, **settings)
    overlap = find_overlap(corpus, data, runs)
    if overlap.trained.any() or overlap.chosen.any():
        pairs = zip(overlap.trained.tolist(), overlap.chosen.tolist(), strict=True)
        seen = [_TRAINED if trained else _CHOSEN if chosen else NEW for trained, chosen in pairs]
        corpus = replace(corpus, columns={TRAINING: seen, **corpus.columns})
    answers = mixture_scores(mixtures, corpus.inputs, device=device, max_frames=max_frames)
    found = evaluate_answers(corpus, answers, target)
    if not found.rows:
        raise DataError(
            f"{corpus.source}: no utterance can be scored, as none holds speech. Give other recordings."
        )
    counts = {
        "trained_on": int(overlap.trained.sum()),
        "shared_speakers": len(overlap.speakers),
        "same_speakers": len(overlap.same),
    }
    decisions = ["The model answers frames; the decision on an utterance is the mean over its speech frames."]
    return Scored(
        replace(found, metrics={**found.metrics, **counts}),
        corpus,
        [*overlap.stamps, *corpus.stamps],
        [*corpus.remarks, *overlap.remarks, *decisions * (target.resolution == "frame")],
    )
