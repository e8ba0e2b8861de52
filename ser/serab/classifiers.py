"""The benchmark's five classifiers: grid search on validation, and predictions of the best candidate on test.

All results equal those of scikit-learn's own grid search with a predefined validation split and a refit on train and
validation. Shared work is done once: kernels of support vector machines, and forests for which the depth limit makes
no difference.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.model_selection import ParameterGrid
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from ser.serab.normalize import Problem, Problems
from ser.serab.qda import QDA

SEED = 42
NOT_CONVERGED = "did not converge"
COLLINEAR = "collinear: scikit-learn refuses a class, our own instead"

_MOST_ITERATIONS = 10_000
_STRENGTHS = tuple(10.0**power for power in range(5, -6, -1))
_BALANCED = ("balanced", None)
_MOST_IN_KERNEL = 10_000  # utterances of a kernel in memory, 0.8 GB

Settings = dict[str, Any]


class Predictions(NamedTuple):
    """Predictions of a fitted classifier.

    Args:
        predicted: Class names [M].
        remarks: Remarks for the user, such as NOT_CONVERGED.
    """

    predicted: np.ndarray
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """Classifier with its grid.

    Args:
        title: Title for tables.
        make: Function that creates a classifier from settings.
        grid: Values of each setting, in the order in which ties are broken.
        chain: Settings whose values are tried in sequence, because `search` shares work between them.
        search: Function that computes the predictions of all candidates of a chain.
    """

    title: str
    make: Callable[..., Any]
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    chain: tuple[str, ...] = ()
    search: "Callable[[Family, Sequence[Settings], Problem], list[Predictions]] | None" = None

    def candidates(self) -> list[Settings]:
        """Return all combinations of the grid, in scikit-learn's order."""
        return [dict(settings) for settings in ParameterGrid(dict(self.grid))]

    def chains(self) -> list[list[Settings]]:
        """Return the candidates, grouped by shared work."""

        def rest(settings: Settings) -> str:
            return repr(sorted((key, value) for key, value in settings.items() if key not in self.chain))

        return [list(chain) for _, chain in groupby(sorted(self.candidates(), key=rest), rest)]


@dataclass(frozen=True)
class BestCandidate:
    """Best candidate of a family on a corpus.

    Args:
        settings: Settings of the best candidate.
        validated: Class names [V] predicted on validation after training on train.
        predicted: Class names [M] predicted on test after training on train and validation.
        candidates: Number of candidates tried.
        remarks: Number of candidates with each remark.
        final_remarks: Remarks on the best candidate when trained on train and validation.
    """

    settings: Settings
    validated: np.ndarray
    predicted: np.ndarray
    candidates: int
    remarks: Mapping[str, int]
    final_remarks: tuple[str, ...]


def search_grids(
    problems: Problems,
    names: Iterable[str],
    parallel: Parallel,
    *,
    has_grid: bool = True,
    title: str = "classifiers",
) -> dict[str, BestCandidate]:
    """Search the grid of each family on validation, and predict test with its best candidate.

    The result does not depend on the number of jobs: each task computes in one thread, independently of the others.

    Args:
        problems: Problems of a corpus.
        names: Names in FAMILIES.
        parallel: Executor of the tasks.
        has_grid: Whether to search the grid; False uses scikit-learn's defaults.
        title: Title of the progress bar.
    """
    chosen = {name: FAMILIES[name] if has_grid else _without_grid(FAMILIES[name]) for name in names}
    tried = _try_candidates(chosen, problems.search, parallel, title)
    best = {name: _select_best(chosen[name], tried[name], problems.search.y_scored) for name in chosen}
    final = parallel(delayed(_fit_final)(chosen[name].make, best[name][0], problems.final) for name in chosen)
    return {
        name: BestCandidate(
            settings=best[name][0],
            validated=best[name][1].predicted,
            predicted=answers.predicted,
            candidates=len(tried[name]),
            remarks=Counter(remark for _, tried_one in tried[name] for remark in tried_one.remarks),
            final_remarks=answers.remarks,
        )
        for name, answers in zip(chosen, final, strict=True)
    }


def best_validation_accuracy(
    problem: Problem, names: Iterable[str], parallel: Parallel, *, has_grid: bool = True, title: str = "layer"
) -> float:
    """Compute the highest validation accuracy of all families and settings, 0..1, without any prediction on test.

    Args:
        problem: Train on train, score on validation.
        names: Names in FAMILIES.
        parallel: Executor of the tasks.
        has_grid: Whether to search the grid; False uses scikit-learn's defaults.
        title: Title of the progress bar.
    """
    chosen = {name: FAMILIES[name] if has_grid else _without_grid(FAMILIES[name]) for name in names}
    tried = _try_candidates(chosen, problem, parallel, title)
    rights = [np.mean(one.predicted == problem.y_scored) for many in tried.values() for _, one in many]
    return float(max(rights))


def _try_candidates(
    chosen: Mapping[str, Family], problem: Problem, parallel: Parallel, title: str
) -> dict[str, list[tuple[Settings, Predictions]]]:
    """Compute the predictions of all candidates of each family on validation."""
    tasks = [(name, chain) for name, family in chosen.items() for chain in family.chains()]
    found = parallel(delayed(_search)(chosen[name], chain, problem) for name, chain in tasks)
    tried: dict[str, list[tuple[Settings, Predictions]]] = {name: [] for name in chosen}
    for (name, chain), answers in zip(tasks, _with_bar(found, len(tasks), title), strict=True):
        tried[name] += zip(chain, answers, strict=True)
    return tried


def _with_bar(answers: Iterable[Any], total: int, title: str) -> Iterable[Any]:
    if not sys.stderr.isatty():
        return answers
    from rich.console import Console
    from rich.progress import track

    return track(answers, title, total, console=Console(stderr=True), transient=True)


def _without_grid(family: Family) -> Family:
    return Family(family.title, family.make)


def _select_best(
    family: Family, tried: Sequence[tuple[Settings, Predictions]], y: np.ndarray
) -> tuple[Settings, Predictions]:
    """Select the candidate with the highest validation accuracy; among equals, the first of the grid."""
    order = [repr(settings) for settings in family.candidates()]
    in_order = sorted(tried, key=lambda one: order.index(repr(one[0])))
    return max(in_order, key=lambda one: int((one[1].predicted == y).sum()))


def _search(family: Family, chain: Sequence[Settings], problem: Problem) -> list[Predictions]:
    with threadpool_limits(1):
        return (family.search or _one_by_one)(family, chain, problem)


def _fit_final(make: Callable[..., Any], settings: Settings, problem: Problem) -> Predictions:
    with threadpool_limits(1):
        return _fit(make(**settings), problem)[1]


def _fit(model: Any, problem: Problem) -> tuple[Any, Predictions]:
    """Fit a model and predict; warnings become remarks."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(problem.x, problem.y)
        predicted = model.predict(problem.x_scored)
    remarks = [COLLINEAR] if getattr(model, "collinear_", False) else []
    remarks += [
        NOT_CONVERGED if issubclass(warning.category, ConvergenceWarning) else str(warning.message)
        for warning in caught
    ]
    return model, Predictions(predicted, tuple(dict.fromkeys(remarks)))


def _one_by_one(family: Family, chain: Sequence[Settings], problem: Problem) -> list[Predictions]:
    return [_fit(family.make(**settings), problem)[1] for settings in chain]


def _search_deepest_first(family: Family, chain: Sequence[Settings], problem: Problem) -> list[Predictions]:
    """Evaluate forests that differ only in `max_depth`: trees that stay below a limit are equal without it."""
    reached, answers = None, {}
    for settings in sorted(chain, key=lambda settings: -settings["max_depth"]):
        depth = settings["max_depth"]
        if reached is None or depth <= reached:
            forest, latest = _fit(family.make(**settings), problem)
            reached = max(tree.tree_.max_depth for tree in forest.estimators_)
        answers[depth] = latest
    return [answers[settings["max_depth"]] for settings in chain]


def _search_on_kernel(family: Family, chain: Sequence[Settings], problem: Problem) -> list[Predictions]:
    """Evaluate support vector machines that differ only in `C` on one precomputed kernel.

    libsvm stores kernels in single precision, so the result equals that of kernels computed by libsvm.
    """
    if len(problem.x) > _MOST_IN_KERNEL:
        return _one_by_one(family, chain, problem)
    kernel = linear_kernel
    if chain[0]["kernel"] == "rbf":
        spread = problem.x.shape[1] * problem.x.var()
        kernel = partial(rbf_kernel, gamma=1 / spread if spread else 1.0)  # gamma="scale"
    on_kernel = problem._replace(x=kernel(problem.x), x_scored=kernel(problem.x_scored, problem.x))
    return [_fit(family.make(**{**settings, "kernel": "precomputed"}), on_kernel)[1] for settings in chain]


FAMILIES = MappingProxyType(
    {
        "lda": Family("LDA", partial(LinearDiscriminantAnalysis, solver="lsqr", shrinkage="auto")),
        "lr": Family(
            "LR",
            partial(LogisticRegression, max_iter=_MOST_ITERATIONS, random_state=SEED),
            {"C": _STRENGTHS, "class_weight": _BALANCED},
        ),
        "qda": Family("QDA", QDA, {"reg_param": (0.0, 0.1, 0.25)}),
        "rf": Family(
            "RF",
            partial(RandomForestClassifier, random_state=SEED),
            {
                "class_weight": _BALANCED,
                "max_depth": (5, 10, 15, 20, 25),
                "min_samples_split": (2, 5, 10),
            },
            chain=("max_depth",),
            search=_search_deepest_first,
        ),
        "svc": Family(
            "SVC",
            partial(SVC, max_iter=_MOST_ITERATIONS, random_state=SEED),
            {"C": _STRENGTHS, "class_weight": _BALANCED, "kernel": ("rbf", "linear")},
            chain=("C",),
            search=_search_on_kernel,
        ),
    }
)
"""Families by name, in the order in which ties between families are broken."""
