"""Temperature scaling: one number that makes probabilities less or more extreme, and changes no decision.

Guo et al., On Calibration of Modern Neural Networks, 2017.
"""

import numpy as np

from ser.calibration.measures import SMALLEST, log_loss

LOWEST, HIGHEST = 0.05, 20.0
"""Range of temperatures; a validation split without errors would ask for 0."""
_STEPS = 60  # each narrows the range to 0.62 of it


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logarithms of probabilities [..., C] by a temperature, and normalise them; NaN stays.

    For a softmax of logits, it equals the softmax of logits / temperature.
    """
    logs = np.log(np.maximum(probabilities, SMALLEST)) / temperature
    powers = np.exp(logs - logs.max(-1, keepdims=True))
    scaled: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return scaled


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature of the lowest log-loss, by golden-section search; the loss is convex in 1 / temperature.

    Args:
        probabilities: Probabilities [N, C] of a split on which the model was not trained.
        labels: Class indices [N].
    """
    ratio = (np.sqrt(5) - 1) / 2

    def loss(inverse: float) -> float:
        return log_loss(apply_temperature(probabilities, 1 / inverse), labels)

    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(_STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(2 / (low + high))
