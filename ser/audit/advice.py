"""Advise how to train on a corpus with few speakers."""

from collections.abc import Sequence

from ser.data.manifest import Manifest

FEW_SPEAKERS = 10
_FEWEST = 3  # for train, validation and test


def advise_few_speakers(manifest: Manifest, labels: Sequence[str | None]) -> list[str] | None:
    """Return the settings of a cross-validation for few speakers; None if there are more, or some are unknown.

    Args:
        manifest: Manifest of N utterances.
        labels: Class of each of them [N]; None where it has none.
    """
    own: dict[str, set[str]] = {}
    for each, label in zip(manifest, labels, strict=True):
        if each.speaker is None or label is None:
            return None
        own.setdefault(each.speaker, set()).add(label)
    if not _FEWEST <= len(own) <= FEW_SPEAKERS:
        return None
    have_several = sum(len(each) > 1 for each in own.values()) > len(own) / 2
    return ["experiment=few_speakers", "folds=loso", *["head.normalize=speaker"] * have_several]
