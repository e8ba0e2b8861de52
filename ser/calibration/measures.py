"""Measures of probabilities: calibration error, Brier score, accuracy against coverage."""

import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

BINS = 15  # of equal width, as in Guo et al., On Calibration of Modern Neural Networks, 2017


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Compute the expected calibration error (ECE) of the most likely class, 0..1, in 15 bins of equal width.

    With few utterances it is above 0 for a perfect model, too: about 0.06 for 300, 0.035 for 1,000.

    Args:
        probabilities: Probabilities [N, C].
        labels: Class indices [N].
    """
    error = multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(labels), probabilities.shape[1], n_bins=BINS
    )
    return float(error)


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Compute the Brier score, 0..2: the mean squared distance of the probabilities from the label's vector.

    Args:
        probabilities: Probabilities [N, C].
        labels: Class indices [N].
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return float(np.square(probabilities - truth).sum(1).mean())


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Compute the mean negative log-likelihood of the labels, in nats; probabilities count as at least 1e-12."""
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, SMALLEST)).mean())


SMALLEST = 1e-12
"""Probability that stands for smaller ones, so that logarithms are finite."""


def accuracy_by_coverage(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute the accuracy [N] of the 1, 2, ... N most confident predictions.

    Args:
        probabilities: Probabilities [N, C].
        labels: Class indices [N].
    """
    order = np.argsort(-probabilities.max(1), kind="stable")
    right = (probabilities.argmax(1) == labels)[order]
    accuracies: np.ndarray = np.cumsum(right) / np.arange(1, len(right) + 1)
    return accuracies


def accuracy_at(coverage: float, probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Compute the accuracy of the most confident share `coverage` of the predictions, at least one.

    Args:
        coverage: Share of the predictions, 0..1.
        probabilities: Probabilities [N, C].
        labels: Class indices [N].
    """
    kept = max(1, round(coverage * len(labels)))
    return float(accuracy_by_coverage(probabilities, labels)[kept - 1])
