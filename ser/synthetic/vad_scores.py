"""Score a silence detector on recordings with known speech segments."""

from collections.abc import Mapping

import numpy as np

from ser.features.extractors import Extractor
from ser.splits.base import Splits


def detection_scores(
    splits: Splits, truth: Mapping[str, np.ndarray], extractor: Extractor
) -> dict[str, dict[str, float]]:
    """Compute precision, recall and F1 over frames, once for speech and once for silence.

    A frame is speech if its centre is in a speech segment. The result is empty without silence detection, or if
    silence was removed.

    Args:
        splits: Splits with manifests.
        truth: Begin and end of speech in seconds [n, 2], ascending, by file name without suffix.
        extractor: Extractor of the features.
    """
    silence = getattr(extractor, "silence", None)
    if silence is None or silence.mode == "remove":
        return {}
    pairs = []
    for name, store in splits.stores.items():
        for index, utterance in enumerate(splits.manifests[name]):
            length = int(store.lengths[index])
            found = store.gather_speech(np.array([index]), np.zeros(1, np.int64), np.array([length]))
            assert found is not None
            framing = extractor.framing
            times = (
                utterance.start + (framing.centre + np.arange(length) * framing.shift) / extractor.sample_rate
            )
            is_speech = np.searchsorted(truth[utterance.path.stem].ravel(), times, side="right") % 2 == 1
            pairs.append(np.stack([is_speech, found[0].numpy()]))
    is_speech, found_speech = np.concatenate(pairs, axis=1)
    return {"speech": _scores(is_speech, found_speech), "silence": _scores(~is_speech, ~found_speech)}


def describe_scores(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Describe the scores in one line; empty if there are none."""
    lines = [
        f"{name}: precision {values['precision']:.1%}, recall {values['recall']:.1%}, F1 {values['f1']:.1%}"
        for name, values in scores.items()
    ]
    return [f"The silence detector against the known pauses: {'; '.join(lines)}."] if lines else []


def _scores(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    both = float((truth & found).sum())
    precision, recall = both / max(float(found.sum()), 1), both / max(float(truth.sum()), 1)
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * both / max(float(truth.sum() + found.sum()), 1),
    }
