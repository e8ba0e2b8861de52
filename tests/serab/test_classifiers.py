"""The benchmark's classifiers, against the plain loop of scikit-learn."""

import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from joblib import Parallel
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.preprocessing import StandardScaler

from ser.serab import classifiers
from ser.serab.classifiers import COLLINEAR, FAMILIES, NOT_CONVERGED, search_grids
from ser.serab.normalize import Problems, make_problems, normalize_by_speaker
from ser.serab.qda import QDA, SubspaceQDA

SMALL = {
    "class_weight": ("balanced", None),
    "max_depth": (3, 5, 20, 25),
    "min_samples_split": (2, 10),
}


def few_trees() -> classifiers.Family:
    """Return forests of 10 trees, which are grown as larger ones are."""
    return replace(FAMILIES["rf"], make=partial(FAMILIES["rf"].make, n_estimators=10))


def blobs(*, speakers: int = 10, takes: int = 4, dim: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    """Three classes that overlap, of speakers with a place of their own; as arguments of `make_problems`."""
    generator = np.random.default_rng(seed)
    names = np.array(["anger", "fear", "sadness"])
    classes = np.tile(np.repeat(names, [takes, takes, takes - 1]), speakers)
    owners = np.repeat([f"s{number}" for number in range(speakers)], 3 * takes - 1)
    centres, places = generator.normal(size=(3, dim)), generator.normal(size=(speakers, dim), scale=3)
    x = generator.normal(size=(len(classes), dim), scale=1.5)
    x += centres[np.searchsorted(names, classes)] + places[np.unique(owners, return_inverse=True)[1]]
    numbers = np.unique(owners, return_inverse=True)[1]
    cuts = int(0.6 * speakers), int(0.8 * speakers)
    split = {
        "train": np.flatnonzero(numbers < cuts[0]),
        "validation": np.flatnonzero((numbers >= cuts[0]) & (numbers < cuts[1])),
        "test": np.flatnonzero(numbers >= cuts[1]),
    }
    return {"embeddings": x.astype(np.float32), "classes": classes, "assignment": split, "speakers": owners}


def plain(family: classifiers.Family, both: Problems, jobs: int = 1) -> tuple[dict, float, np.ndarray]:
    """Best settings, validation accuracy and answers on test of scikit-learn's own search and refit."""
    fold = np.concatenate([np.full(len(both.search.y), -1), np.zeros(len(both.search.y_scored), dtype=int)])
    grid = {key: [*values] for key, values in family.grid.items()}
    search = GridSearchCV(family.make(), grid, scoring="accuracy", cv=PredefinedSplit(fold), n_jobs=jobs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(both.final.x, both.final.y)
    return search.best_params_, float(search.best_score_), search.predict(both.final.x_scored)


def same(names: list[str], both: Problems, jobs: int = 1) -> None:
    found = search_grids(both, names, Parallel(1))
    for name in names:
        settings, accuracy, predicted = plain(FAMILIES[name], both, jobs)
        assert found[name].settings == settings, name
        assert np.mean(found[name].validated == both.search.y_scored) == pytest.approx(accuracy, abs=1e-12)
        assert (found[name].predicted == predicted).all(), name


def test_the_search_is_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {**FAMILIES, "rf": replace(few_trees(), grid=SMALL)}
    monkeypatch.setattr(classifiers, "FAMILIES", small)
    monkeypatch.setitem(globals(), "FAMILIES", small)
    same(["lda", "lr", "qda", "rf", "svc"], make_problems(**blobs(), normalize="speaker"))


def test_shared_kernels_change_no_answer() -> None:
    for seed in range(3):
        search = make_problems(**blobs(seed=seed, dim=60), normalize="speaker").search
        for chain in FAMILIES["svc"].chains():
            shared = classifiers._search_on_kernel(FAMILIES["svc"], chain, search)
            alone = classifiers._one_by_one(FAMILIES["svc"], chain, search)
            for one, other in zip(shared, alone, strict=True):
                assert (one.predicted == other.predicted).all()
                assert one.remarks == other.remarks


def test_speakers_of_one_utterance_each_leave_nothing_but_the_majority() -> None:
    data = blobs()
    data["speakers"] = np.array([f"s{number}" for number in range(len(data["classes"]))])
    both = make_problems(**data, normalize="speaker")
    assert not both.search.x.any()
    same(["svc"], both)


def test_forests_that_never_reach_a_limit_of_depth_are_grown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    family = few_trees()
    search = make_problems(**blobs(), normalize="speaker").search
    chain = [{"class_weight": None, "max_depth": d, "min_samples_split": 2} for d in (2, 3, 15, 20, 25)]
    alone = classifiers._one_by_one(family, chain, search)
    grown = []
    fit = classifiers._fit
    monkeypatch.setattr(classifiers, "_fit", lambda model, data: grown.append(model) or fit(model, data))
    shared = classifiers._search_deepest_first(family, chain, search)
    assert [one.predicted.tolist() for one in shared] == [one.predicted.tolist() for one in alone]
    assert [model.max_depth for model in grown] == [25, 3, 2]


def test_chains_hold_every_candidate_once() -> None:
    expected = {"lda": 1, "lr": 22, "qda": 3, "rf": 30, "svc": 44}
    for name, family in FAMILIES.items():
        chained = [repr(settings) for chain in family.chains() for settings in chain]
        assert sorted(chained) == sorted(map(repr, family.candidates()))
        assert len({*chained}) == expected[name]


def test_the_number_of_jobs_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(few_trees(), grid={**SMALL, "class_weight": (None,)})
    monkeypatch.setattr(classifiers, "FAMILIES", {**FAMILIES, "rf": small})
    both = make_problems(**blobs(dim=200), normalize="speaker")
    one, two = (
        search_grids(both, FAMILIES, Parallel(1)),
        search_grids(both, FAMILIES, Parallel(2, batch_size=1)),
    )
    assert [*one] == [*FAMILIES]
    for name in FAMILIES:
        assert one[name].settings == two[name].settings
        assert (one[name].predicted == two[name].predicted).all()
        assert (one[name].validated == two[name].validated).all()
        assert one[name].remarks == two[name].remarks


def test_of_equal_candidates_the_first_of_the_grid_wins() -> None:
    both = make_problems(**blobs(), normalize="speaker")
    easy = both._replace(search=both.search._replace(x_scored=both.search.x, y_scored=both.search.y))
    assert search_grids(easy, ["rf"], Parallel(1), has_grid=False)["rf"].settings == {}
    svc = search_grids(easy, ["svc"], Parallel(1))["svc"]
    assert svc.settings == {"C": 1e5, "class_weight": "balanced", "kernel": "rbf"}


def test_what_does_not_converge_is_counted_and_warns_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = replace(FAMILIES["lr"], make=partial(LogisticRegression, max_iter=2))
    monkeypatch.setattr(classifiers, "FAMILIES", {"lr": hasty})
    found = search_grids(make_problems(**blobs(), normalize="speaker"), ["lr"], Parallel(1))["lr"]
    assert found.candidates == 22
    assert found.remarks[NOT_CONVERGED] > 10


def test_without_a_grid_there_is_one_candidate_each() -> None:
    found = search_grids(
        make_problems(**blobs(), normalize="speaker"), ["lda", "qda", "svc"], Parallel(1), has_grid=False
    )
    assert {name: outcome.candidates for name, outcome in found.items()} == {"lda": 1, "qda": 1, "svc": 1}


def test_qda_is_that_of_scikit_learn_where_that_fits() -> None:
    search = make_problems(**blobs(takes=12), normalize="speaker").search
    for share in (0.0, 0.1, 0.25):
        ours, theirs = QDA(share), QuadraticDiscriminantAnalysis(reg_param=share)
        ours.fit(search.x, search.y)
        assert not ours.collinear_
        assert (
            ours.predict(search.x_scored) == theirs.fit(search.x, search.y).predict(search.x_scored)
        ).all()


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_the_fallback_is_a_gaussian_for_each_class(share: float) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(60, 5)), np.repeat(["a", "b"], [20, 40])
    x[y == "b"] = x[y == "b"] * 0.5 + 1
    scored = generator.normal(size=(30, 5))
    logs = []
    for name in ("a", "b"):
        own = x[y == name]
        covariance = (1 - share) * np.cov(own.T) + share * np.eye(5)
        logs.append(multivariate_normal(own.mean(0), covariance).logpdf(scored) + np.log(len(own) / 60))
    expected = np.array(["a", "b"])[np.argmax(logs, 0)]
    assert (SubspaceQDA(share).fit(x, y).predict(scored) == expected).all()


def test_more_values_than_utterances_fall_back_and_are_told() -> None:
    data = blobs(dim=200)
    found = search_grids(make_problems(**data, normalize="speaker"), ["qda"], Parallel(1))["qda"]
    assert found.remarks == {COLLINEAR: 3}
    assert found.final_remarks == (COLLINEAR,)


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_the_fallback_shrinks_the_whole_covariance(share: float) -> None:
    search = make_problems(**blobs(dim=40, takes=3), normalize="speaker").search
    names, counts = np.unique(search.y, return_counts=True)
    assert counts.min() < 40
    logs = []
    for name, count in zip(names, counts, strict=True):
        own = search.x[search.y == name]
        covariance = (1 - share) * np.cov(own.T) + share * np.eye(40)
        density = multivariate_normal(own.mean(0), covariance).logpdf(search.x_scored)
        logs.append(density + np.log(count / len(search.y)))
    expected = names[np.argmax(logs, 0)]
    model = QDA(share).fit(search.x, search.y)
    assert model.collinear_
    assert (model.predict(search.x_scored) == expected).all()


def test_a_class_with_one_utterance_falls_back() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(41, 3)), np.array(["a"] * 20 + ["b"] * 20 + ["c"])
    for share in (0.0, 0.1):
        model = QDA(share).fit(x, y)
        assert model.collinear_
        assert np.isin(model.predict(x), ["a", "b", "c"]).all()


def test_speakers_are_normalised_within_their_split() -> None:
    data = blobs()
    both = make_problems(**data, normalize="speaker")
    test = data["assignment"]["test"]
    for name in np.unique(data["speakers"][test]):
        own = data["speakers"][test] == name
        expected = StandardScaler().fit_transform(data["embeddings"][test][own].astype(float))
        assert both.final.x_scored[own] == pytest.approx(expected)
    assert (both.final.x == np.concatenate([both.search.x, both.search.x_scored])).all()


def test_a_speaker_in_two_splits_is_normalised_in_each() -> None:
    data = blobs()
    data["speakers"] = np.full(len(data["classes"]), "one")
    both = make_problems(**data, normalize="speaker")
    assert both.search.x.mean(0) == pytest.approx(0, abs=1e-12)
    assert both.search.x_scored.mean(0) == pytest.approx(0, abs=1e-12)


def test_global_scores_are_those_of_what_is_learnt_from() -> None:
    data = blobs()
    both = make_problems(**data, normalize="global")
    x, split = data["embeddings"].astype(float), data["assignment"]
    train = StandardScaler().fit(x[split["train"]])
    assert both.search.x_scored == pytest.approx(train.transform(x[split["validation"]]))
    learnt = StandardScaler().fit(x[np.concatenate([split["train"], split["validation"]])])
    assert both.final.x_scored == pytest.approx(learnt.transform(x[split["test"]]))


def test_a_speaker_with_one_utterance_and_a_constant_value_become_zero() -> None:
    x = np.array([[1.0, 0.1], [3.0, 0.1], [7.0, 2.0]])
    assert normalize_by_speaker(x, np.array(["a", "a", "b"])).tolist() == [[-1, 0], [1, 0], [0, 0]]
    same_value = np.full((7, 1), 0.1)  # whose mean is not 0.1
    assert (normalize_by_speaker(same_value, np.array(["a"] * 7)) == same_value - same_value.mean(0)).all()


@pytest.mark.slow
@pytest.mark.shared
def test_ravdess_takes_less_than_the_plain_loop(shared: Path, tmp_path: Path) -> None:
    """Statistics of log-mels: the numbers and both times; run alone, with two cores."""
    import torch

    from ser.config.instantiate import build
    from ser.corpora.published import read_corpus
    from ser.embeddings.cache import embed
    from ser.splits.rules import Serab

    manifest = read_corpus("ravdess", shared / "data" / "ravdess")
    split = Serab().assign(manifest)
    spec = {"_target_": "ser.embeddings.LogMelStatistics"}
    extractor = build(spec, slot="extractor")
    x = embed(manifest, split["train"], extractor, cache_dir=str(tmp_path), device=torch.device("cpu"))
    classes = np.array([utterance.labels["emotion"] for utterance in manifest])
    speakers = np.array([utterance.speaker for utterance in manifest])
    both = make_problems(x, classes, split, speakers=speakers, normalize="speaker")
    with Parallel(2, batch_size=1, return_as="generator") as parallel:
        found = search_grids(both, FAMILIES, parallel)
    expected = {name: plain(family, both, 2) for name, family in FAMILIES.items()}
    for name, (settings, _, predicted) in expected.items():
        assert found[name].settings == settings
        assert (found[name].predicted == predicted).all()


def test_the_best_validation_accuracy_is_that_of_the_grids() -> None:
    both = make_problems(**blobs(), normalize="speaker")
    found = search_grids(both, ["lda", "qda"], Parallel(1))
    expected = max(float(np.mean(one.validated == both.search.y_scored)) for one in found.values())
    assert classifiers.best_validation_accuracy(both.search, ["lda", "qda"], Parallel(1)) == pytest.approx(
        expected
    )
