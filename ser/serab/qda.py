"""Quadratic discriminant analysis for classes with fewer utterances than embedding dimensions."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis


class QDA(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Use scikit-learn's QDA, or `SubspaceQDA` if it refuses a class as collinear.

    Args:
        reg_param: Shrinkage of the variances of a class towards 1, 0..1.
    """

    def __init__(self, reg_param: float = 0.0) -> None:
        self.reg_param = reg_param

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        """Fit to x [N, D] and classes y [N]; afterwards `collinear_` is true if `SubspaceQDA` is used."""
        self.classes_, counts = np.unique(y, return_counts=True)
        self.collinear_ = bool(counts.min() == 1)  # scikit-learn raises another error for one utterance
        if not self.collinear_:
            try:
                self.model_: Any = QuadraticDiscriminantAnalysis(reg_param=self.reg_param).fit(x, y)
                return self
            except np.linalg.LinAlgError:
                self.collinear_ = True
        self.model_ = SubspaceQDA(self.reg_param).fit(x, y)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict the classes [M] of x [M, D]."""
        answers: np.ndarray = self.model_.predict(x)
        return answers


class SubspaceQDA:
    """Model each class as a Gaussian in the subspace that its utterances span.

    With n utterances, singular values s of the centred class and shrinkage r, the variance along a direction is (1 -
    r) s^2 / (n - 1) + r. Directions outside the subspace have the variance r, which is what scikit-learn computes if
    there are none; with r = 0 they are ignored, as in scikit-learn before version 1.8.

    Args:
        reg_param: Shrinkage r, 0..1.
    """

    def __init__(self, reg_param: float = 0.0) -> None:
        self.reg_param = reg_param

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        """Fit to x [N, D] and classes y [N]."""
        self.classes_, counts = np.unique(y, return_counts=True)
        self._log_priors = np.log(counts / len(y))
        self._subspaces = [self._fit_subspace(x[y == name]) for name in self.classes_]
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict the classes [M] of x [M, D]."""
        scores = np.stack([self._log_likelihood(x, *span) for span in self._subspaces], axis=1)
        answers: np.ndarray = self.classes_[(scores + self._log_priors).argmax(1)]
        return answers

    def _fit_subspace(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute the mean [D], directions [D, k] and variances [k] of a class."""
        mean = x.mean(0)
        _, values, directions = np.linalg.svd(x - mean, full_matrices=False)
        kept = values > max(x.shape) * np.finfo(x.dtype).eps * values.max()
        variances = (1 - self.reg_param) * values[kept] ** 2 / max(len(x) - 1, 1) + self.reg_param
        return mean, directions[kept].T, variances

    def _log_likelihood(
        self, x: np.ndarray, mean: np.ndarray, directions: np.ndarray, variances: np.ndarray
    ) -> np.ndarray:
        """Compute log likelihoods [M], up to a constant that is equal for all classes."""
        along = (x - mean) @ directions
        distances = (np.square(along) / variances).sum(1) + np.log(variances).sum()
        if self.reg_param > 0:
            beyond = np.square(x - mean).sum(1) - np.square(along).sum(1)
            missing = x.shape[1] - len(variances)
            distances += beyond / self.reg_param + missing * np.log(self.reg_param)
        likelihood: np.ndarray = -0.5 * distances
        return likelihood
