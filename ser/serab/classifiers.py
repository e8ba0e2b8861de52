"""The benchmark's five classifiers: their grids, searched on validation, and the answers of the best on test.

Every number is that of scikit-learn's own grid search with a predefined validation split and its refit on train and
validation. What candidates have in common is computed once: the kernels of the support vector machines, and forests
whose limit of depth makes no difference.
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
from ser.serab.qda import Quadratic

SEED = 42
NOT_CONVERGED = "did not converge"
COLLINEAR = "collinear: scikit-learn refuses a class, our own instead"

_MOST_ITERATIONS = 10_000
_STRENGTHS = tuple(10.0**power for power in range(5, -6, -1))
_BALANCED = ("balanced", None)
_MOST_IN_KERNEL = 10_000  # utterances whose kernel, 0.8 GB, is held at once

Settings = dict[str, Any]


class Answers(NamedTuple):
    """What a fitted classifier says.

    Args:
        predicted: [M] class names.
        remarks: what its user should know, such as NOT_CONVERGED.
    """

    predicted: np.ndarray
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """A classifier and its grid.

    Args:
        title: for tables.
        make: a new one, given settings.
        grid: setting -> values, in the order in which ties are broken.
        chain: settings whose values are tried one after the other, as `search` shares work among them.
        search: answers of the candidates of a chain.
    """

    title: str
    make: Callable[..., Any]
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    chain: tuple[str, ...] = ()
    search: "Callable[[Family, Sequence[Settings], Problem], list[Answers]] | None" = None

    def candidates(self) -> list[Settings]:
        """All combinations of the grid, in scikit-learn's order."""
        return [dict(settings) for settings in ParameterGrid(dict(self.grid))]

    def chains(self) -> list[list[Settings]]:
        """The candidates, those together that share work."""

        def rest(settings: Settings) -> str:
            return repr(sorted((key, value) for key, value in settings.items() if key not in self.chain))

        return [list(chain) for _, chain in groupby(sorted(self.candidates(), key=rest), rest)]


@dataclass(frozen=True)
class Outcome:
    """The best of a family's candidates on a corpus.

    Args:
        settings: of the best.
        validated: [V] class names that it answers on validation, having learnt from train.
        predicted: [M] class names that it answers on test, having learnt from train and validation.
        candidates: how many were tried.
        remarks: on how many of them there was which remark.
        final_remarks: on the best one, when it learnt from train and validation.
    """

    settings: Settings
    validated: np.ndarray
    predicted: np.ndarray
    candidates: int
    remarks: Mapping[str, int]
    final_remarks: tuple[str, ...]


def solve(
    problems: Problems,
    names: Iterable[str],
    parallel: Parallel,
    *,
    has_grid: bool = True,
    title: str = "classifiers",
) -> dict[str, Outcome]:
    """Search the grid of each family on validation, then let its best answer test.

    The same for any number of jobs: each task computes in one thread, and what it computes depends on no other.

    Args:
        problems: of a corpus.
        names: of FAMILIES.
        parallel: runs the tasks.
        has_grid: False = scikit-learn's defaults alone.
        title: of the progress bar.
    """
    chosen = {name: FAMILIES[name] if has_grid else _without_grid(FAMILIES[name]) for name in names}
    tasks = [(name, chain) for name, family in chosen.items() for chain in family.chains()]
    found = parallel(delayed(_search)(chosen[name], chain, problems.search) for name, chain in tasks)
    tried: dict[str, list[tuple[Settings, Answers]]] = {name: [] for name in chosen}
    for (name, chain), answers in zip(tasks, _with_bar(found, len(tasks), title), strict=True):
        tried[name] += zip(chain, answers, strict=True)
    best = {name: _best(chosen[name], tried[name], problems.search.y_scored) for name in chosen}
    final = parallel(delayed(_answer)(chosen[name].make, best[name][0], problems.final) for name in chosen)
    return {
        name: Outcome(
            settings=best[name][0],
            validated=best[name][1].predicted,
            predicted=answers.predicted,
            candidates=len(tried[name]),
            remarks=Counter(remark for _, tried_one in tried[name] for remark in tried_one.remarks),
            final_remarks=answers.remarks,
        )
        for name, answers in zip(chosen, final, strict=True)
    }


def _with_bar(answers: Iterable[Any], total: int, title: str) -> Iterable[Any]:
    if not sys.stderr.isatty():
        return answers
    from rich.console import Console
    from rich.progress import track

    return track(answers, title, total, console=Console(stderr=True), transient=True)


def _without_grid(family: Family) -> Family:
    return Family(family.title, family.make)


def _best(
    family: Family, tried: Sequence[tuple[Settings, Answers]], y: np.ndarray
) -> tuple[Settings, Answers]:
    """The most accurate on validation; of equals the first of the grid."""
    order = [repr(settings) for settings in family.candidates()]
    in_order = sorted(tried, key=lambda one: order.index(repr(one[0])))
    return max(in_order, key=lambda one: int((one[1].predicted == y).sum()))


def _search(family: Family, chain: Sequence[Settings], problem: Problem) -> list[Answers]:
    with threadpool_limits(1):
        return (family.search or _one_by_one)(family, chain, problem)


def _answer(make: Callable[..., Any], settings: Settings, problem: Problem) -> Answers:
    with threadpool_limits(1):
        return _fit(make(**settings), problem)[1]


def _fit(model: Any, problem: Problem) -> tuple[Any, Answers]:
    """Fit a model and let it answer; what it warns of becomes remarks."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(problem.x, problem.y)
        predicted = model.predict(problem.x_scored)
    remarks = [COLLINEAR] if getattr(model, "collinear_", False) else []
    remarks += [
        NOT_CONVERGED if issubclass(warning.category, ConvergenceWarning) else str(warning.message)
        for warning in caught
    ]
    return model, Answers(predicted, tuple(dict.fromkeys(remarks)))


def _one_by_one(family: Family, chain: Sequence[Settings], problem: Problem) -> list[Answers]:
    return [_fit(family.make(**settings), problem)[1] for settings in chain]


def _deepest_first(family: Family, chain: Sequence[Settings], problem: Problem) -> list[Answers]:
    """Forests that differ in `max_depth` alone: trees that stay above a limit are the same with it as without."""
    reached, answers = None, {}
    for settings in sorted(chain, key=lambda settings: -settings["max_depth"]):
        depth = settings["max_depth"]
        if reached is None or depth <= reached:
            forest, latest = _fit(family.make(**settings), problem)
            reached = max(tree.tree_.max_depth for tree in forest.estimators_)
        answers[depth] = latest
    return [answers[settings["max_depth"]] for settings in chain]


def _on_kernel(family: Family, chain: Sequence[Settings], problem: Problem) -> list[Answers]:
    """Support vector machines that differ in `C` alone: one kernel is enough for all.

    libsvm keeps kernels in single precision, so those computed here and by itself are the same to it.
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
        "qda": Family("QDA", Quadratic, {"reg_param": (0.0, 0.1, 0.25)}),
        "rf": Family(
            "RF",
            partial(RandomForestClassifier, random_state=SEED),
            {
                "class_weight": _BALANCED,
                "max_depth": (5, 10, 15, 20, 25),
                "min_samples_split": (2, 5, 10),
            },
            chain=("max_depth",),
            search=_deepest_first,
        ),
        "svc": Family(
            "SVC",
            partial(SVC, max_iter=_MOST_ITERATIONS, random_state=SEED),
            {"C": _STRENGTHS, "class_weight": _BALANCED, "kernel": ("rbf", "linear")},
            chain=("C",),
            search=_on_kernel,
        ),
    }
)
"""Name -> family, in the order in which ties between families are broken."""
