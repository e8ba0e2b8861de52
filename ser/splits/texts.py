"""Rules that keep texts apart: a model that is tested on sentences that it has heard may know them, not the emotion."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ser.data.manifest import Manifest, first_ten
from ser.errors import ConfigError, DataError
from ser.splits.assignment import SPLITS, Assignment, field_values, make_assignment
from ser.splits.leaks import normalize_text
from ser.splits.rules import RuleWithShares, check_shares


class TextDisjoint(RuleWithShares):
    """Random split by text, the best balanced of many draws; no text is in two splits, but speakers are."""

    def assign(self, manifest: Manifest) -> Assignment:
        """Assign texts at random."""
        manifest = _with_plain_texts(manifest)
        shares = [1 - self.validation - self.test, self.validation, self.test]
        parts = self._stratify(manifest, ("text",), shares if self.test else shares[:2])
        return make_assignment(manifest, np.array(SPLITS)[parts], self.label)


@dataclass(frozen=True, kw_only=True)
class SpeakerTextDisjoint(RuleWithShares):
    """Random split in which train and test share neither speakers nor texts; what fits in no split is left out.

    Validation has speakers of its own and the texts of train. An utterance of a test speaker with a text of train is
    left out, and so is one of a train speaker with a text of test.

    Args:
        validation: Share of the speakers' utterances for validation.
        test: Share of the speakers' utterances for test.
        texts: Share of the texts' utterances whose texts are for test.
    """

    texts: float = 0.3

    def __post_init__(self) -> None:
        check_shares(validation=self.validation, test=self.test)
        check_shares(texts=self.texts)
        if self.test == 0:
            raise ConfigError(
                "data.split.test=0: leaves no test split whose speakers and texts are apart. Use split=speaker or "
                "split=text."
            )

    def assign(self, manifest: Manifest) -> Assignment:
        """Assign speakers at random, those who share a group together, and texts at random."""
        field_values(manifest, "speaker")
        plain = _with_plain_texts(manifest)
        speakers: Sequence[float] = [1 - self.validation - self.test, self.validation, self.test]
        split = np.array(SPLITS)[self._stratify(plain, ("speaker", "group"), speakers)]
        is_test_text = self._stratify(plain, ("text",), [1 - self.texts, self.texts]) == 1
        kept = np.flatnonzero((split == "test") == is_test_text)
        assignment = make_assignment(plain.select(kept.tolist()), split[kept], self.label)
        return {name: kept[indices] for name, indices in assignment.items()}


def _with_plain_texts(manifest: Manifest) -> Manifest:
    """Return a manifest with its texts as they are compared.

    Raises:
        DataError: Utterances have none; the message lists the first ten and the count.
    """
    plain = [replace(utterance, text=normalize_text(utterance.text)) for utterance in manifest]
    bare = [utterance.id for utterance in plain if utterance.text is None]
    if bare:
        raise DataError(
            f"{manifest.source}: {len(bare)} of {len(manifest)} utterances have no text:{first_ten(bare)}\n"
            "Fill in the column 'text', or keep only speakers apart with split=speaker."
        )
    return replace(manifest, utterances=tuple(plain))
