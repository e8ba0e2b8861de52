"""Results of the benchmark on a corpus, and the selection of a classifier."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ser.serab import scores
from ser.serab.classifiers import FAMILIES, NOT_CONVERGED, SEED, BestCandidate
from ser.serab.corpora import BenchmarkCorpus
from ser.serab.normalize import Problems
from ser.serab.scores import Interval

Select = Literal["validation", "test"]


def in_order(first: Select) -> tuple[Select, Select]:
    """Return both ways to select a classifier, that of the headline first."""
    return ("validation", "test") if first == "validation" else ("test", "validation")


@dataclass(frozen=True, kw_only=True)
class Result:
    """Scores of a classifier on a corpus; accuracies and UARs are 0..1.

    Args:
        validation_accuracy: Validation accuracy of the best settings, which were selected by it.
        validation_uar: Validation UAR of the same settings.
        test_accuracy: Test accuracy of the same settings, trained on train and validation.
        test_uar: Test UAR of the same.
        test_correct: Number of correct predictions on test.
        test_total: Number of test utterances.
        interval: Interval of the test accuracy, over speakers.
        settings: Best settings.
        candidates: Number of settings tried.
        remarks: Number of candidates with each remark.
        final_remarks: Remarks on the selected candidate when trained on train and validation.
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
        """Return the number of candidates that did not converge within the limit of iterations."""
        return self.remarks.get(NOT_CONVERGED, 0)


@dataclass(frozen=True, kw_only=True)
class CorpusResults:
    """Results of all classifiers on a corpus.

    Args:
        name: Name of the corpus.
        by_classifier: Result by name in FAMILIES, in the order of FAMILIES.
        floors: Accuracy of always predicting the most frequent class of each split, 0..1.
        utterances: Number of utterances of each split.
        test_speakers: Number of test speakers.
        is_partial: Whether files of the corpus are missing.
    """

    name: str
    by_classifier: Mapping[str, Result]
    floors: Mapping[str, float]
    utterances: Mapping[str, int]
    test_speakers: int
    is_partial: bool = False

    def chosen(self, select: Select) -> str:
        """Return the classifier with the highest accuracy on a split; among equals, the first."""

        def score(name: str) -> float:
            return float(getattr(self.by_classifier[name], f"{select}_accuracy"))

        return max(self.by_classifier, key=score)

    def best(self, select: Select) -> Result:
        """Return the result of the classifier with the highest accuracy on a split."""
        return self.by_classifier[self.chosen(select)]


def collect(
    corpus: BenchmarkCorpus, problems: Problems, outcomes: Mapping[str, BestCandidate]
) -> CorpusResults:
    """Score the predictions of the classifiers.

    Args:
        corpus: The corpus.
        problems: Problems of this corpus.
        outcomes: Best candidate by name in FAMILIES.
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


def describe_remarks(results: CorpusResults) -> list[str]:
    """Describe the warnings of the classifiers, one line each."""
    lines = []
    for name, result in results.by_classifier.items():
        for remark, count in result.remarks.items():
            told = f"{count} of {result.candidates} candidates of {FAMILIES[name].title}: {remark}"
            also = ", and so did the chosen one" if remark in result.final_remarks else ""
            lines.append(f"{results.name}: {told}{also}")
        alone = [remark for remark in result.final_remarks if remark not in result.remarks]
        lines += [f"{results.name}: the chosen {FAMILIES[name].title}: {remark}" for remark in alone]
    return lines


def _result(problems: Problems, outcome: BestCandidate, speakers: np.ndarray) -> Result:
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
