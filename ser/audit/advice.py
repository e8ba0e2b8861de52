"""Advise how to train on a corpus with few speakers."""

from collections.abc import Sequence

from ser.data.manifest import Manifest
from ser.splits.folds import count_blocks
from ser.splits.protocols import PROTOCOLS

FEW_SPEAKERS = 10
_FEWEST = 3  # for train, validation and test
_MOST_FOLDS = 5


def advise_few_speakers(
    parts: Sequence[Manifest], labels: Sequence[str | None], *, published: str | None = None
) -> list[str] | None:
    """Return the settings of a cross-validation for few speakers; None if there are more, or some are unknown.

    Args:
        parts: Manifests that are split by themselves, of N utterances together: one, or each corpus of a mix.
        labels: Class of each utterance [N]; None where it has none.
        published: Name of the published corpus; None for any other.
    """
    own: dict[str, set[str]] = {}
    for each, label in zip((each for part in parts for each in part), labels, strict=True):
        if each.speaker is None:
            return None
        own.setdefault(each.speaker, set()).update([] if label is None else [label])
    folds = _choose_folds(parts, published)
    if folds is None or len(own) > FEW_SPEAKERS:
        return None
    have_several = sum(len(each) > 1 for each in own.values()) > len(own) / 2
    return ["experiment=few_speakers", f"folds={folds}", *["head.normalize=speaker"] * have_several]


def _choose_folds(parts: Sequence[Manifest], published: str | None) -> str | None:
    """Return folds that keep speakers and groups apart; None if there are too few.

    They are single speakers, unless a group, such as a session, joins some: then those that are published, if they
    keep speakers apart, else folds over the sets of speakers that share no group. Corpora of a mix need equal numbers.
    """
    sets = min(map(count_blocks, parts), default=0)
    if sets < _FEWEST:
        return None
    if len(parts) == 1:
        speakers = {str(each.speaker) for each in parts[0]}
        if sets == len(speakers):
            return "loso"
        if published and _has_folds_of(speakers, published):
            return "published"
    return str(min(_MOST_FOLDS, sets))


def _has_folds_of(speakers: set[str], published: str) -> bool:
    """Return whether the first protocol of a corpus tests each of the speakers, and some of them in each fold."""
    protocol = next(iter(PROTOCOLS.get(published, {}).values()), None)
    if protocol is None or not protocol.speakers or protocol.random_validation:
        return False
    return speakers <= set.union(*protocol.tested) and all(speakers & fold for fold in protocol.tested)
