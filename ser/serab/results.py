"""What the benchmark found on a corpus, and which classifier is chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ser.serab import scores
from ser.serab.classifiers import FAMILIES, NOT_CONVERGED, SEED, Outcome
from ser.serab.corpora import BenchmarkCorpus
from ser.serab.normalize import Problems
from ser.serab.scores import Interval

Select = Literal["validation", "test"]


def in_order(first: Select) -> tuple[Select, Select]:
    """Both choices, the headline's first."""
    return ("validation", "test") if first == "validation" else ("test", "validation")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A classifier on a corpus; accuracies and UARs are 0..1.

    Args:
        validation_accuracy: of the best settings, which were chosen by it.
        validation_uar: of the same.
        test_accuracy: of the same settings, learnt from train and validation.
        test_uar: likewise.
        test_correct: right answers on test.
        test_total: test utterances.
        interval: of the test accuracy, over speakers.
        settings: the best.
        candidates: settings that were tried.
        remarks: remark -> candidates that it is about.
        final_remarks: about the one that was chosen, when it learnt from train and validation.
    """

    validation_accuracy: float
    validation_uar: float
    test_accuracy: float
    test_uar: float
    test_correct: int
    test_total: int
    interval: Interval
    settings: Mapping[str, Any] = field(default_factory=dict)
    candidates: int = 1
    remarks: Mapping[str, int] = field(default_factory=dict)
    final_remarks: tuple[str, ...] = ()

    @property
    def not_converged(self) -> int:
        """How many candidates had not when they reached the limit of iterations."""
        return self.remarks.get(NOT_CONVERGED, 0)


@dataclass(frozen=True, kw_only=True)
class CorpusResults:
    """All classifiers on a corpus.

    Args:
        name: of the corpus.
        by_classifier: name of FAMILIES -> result, in the order of FAMILIES.
        floors: split -> accuracy of always answering its most frequent class, 0..1.
        utterances: split -> how many.
        test_speakers: how many.
        is_partial: whether files of the corpus are missing.
    """

    name: str
    by_classifier: Mapping[str, Result]
    floors: Mapping[str, float]
    utterances: Mapping[str, int]
    test_speakers: int
    is_partial: bool = False

    def chosen(self, select: Select) -> str:
        """The classifier that is best on a split; of equals the first."""

        def score(name: str) -> float:
            return float(getattr(self.by_classifier[name], f"{select}_accuracy"))

        return max(self.by_classifier, key=score)

    def best(self, select: Select) -> Result:
        """The result of the classifier that is best on a split."""
        return self.by_classifier[self.chosen(select)]


def collect(corpus: BenchmarkCorpus, problems: Problems, outcomes: Mapping[str, Outcome]) -> CorpusResults:
    """Score what the classifiers answered.

    Args:
        corpus: that it is about.
        problems: of this corpus.
        outcomes: name of FAMILIES -> answers.
    """
    speakers = corpus.speakers[corpus.assignment["test"]]
    return CorpusResults(
        name=corpus.name,
        by_classifier={
            name: _result(problems, outcomes[name], speakers) for name in FAMILIES if name in outcomes
        },
        floors={
            "validation": scores.majority_floor(problems.search.y_scored),
            "test": scores.majority_floor(problems.final.y_scored),
        },
        utterances={split: len(indices) for split, indices in corpus.assignment.items()},
        test_speakers=len({*speakers.tolist()}),
        is_partial=corpus.is_partial,
    )


def remarks(results: CorpusResults) -> list[str]:
    """Lines on what the classifiers warned of."""
    lines = []
    for name, result in results.by_classifier.items():
        for remark, count in result.remarks.items():
            told = f"{count} of {result.candidates} candidates of {FAMILIES[name].title}: {remark}"
            also = ", and so did the chosen one" if remark in result.final_remarks else ""
            lines.append(f"{results.name}: {told}{also}")
        alone = [remark for remark in result.final_remarks if remark not in result.remarks]
        lines += [f"{results.name}: the chosen {FAMILIES[name].title}: {remark}" for remark in alone]
    return lines


def _result(problems: Problems, outcome: Outcome, speakers: np.ndarray) -> Result:
    truth, right = problems.final.y_scored, outcome.predicted == problems.final.y_scored
    return Result(
        validation_accuracy=scores.accuracy(outcome.validated, problems.search.y_scored),
        validation_uar=scores.uar(outcome.validated, problems.search.y_scored),
        test_accuracy=scores.accuracy(outcome.predicted, truth),
        test_uar=scores.uar(outcome.predicted, truth),
        test_correct=int(right.sum()),
        test_total=len(truth),
        interval=scores.interval(right, speakers, seed=SEED),
        settings=outcome.settings,
        candidates=outcome.candidates,
        remarks=outcome.remarks,
        final_remarks=outcome.final_remarks,
    )
