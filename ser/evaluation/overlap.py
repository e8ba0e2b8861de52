"""Find what a corpus shares with the training of models: utterances and speakers."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ser.evaluation.corpus import LabelledCorpus
from ser.evaluation.trained_on import TrainedOn, corpus_of
from ser.splits.utterances_file import KnownUtterances

Named = tuple[str, str]
"""Corpus, as `corpus_of` names it, and a name in it."""


def with_corpora(names: Iterable[object], data: Mapping[str, Any]) -> dict[object, Named]:
    """Return each name with its corpus, without the prefix that a mix of corpora adds.

    Args:
        names: Ids or speakers; None is left out.
        data: Config node of the corpus.
    """
    readers = {name: corpus_of(reader) for name, reader in (data.get("readers") or {}).items()}
    own, found = corpus_of(data), {}
    for name in names:
        prefix, _, rest = str(name).partition("/")
        if name is not None:
            found[name] = (readers[prefix], rest) if prefix in readers else (own, str(name))
    return found


@dataclass(frozen=True)
class SharedSpeakers:
    """Speakers of a corpus whose names are those of speakers of a training.

    Args:
        same: Speakers of the same corpus.
        alike: Speakers of another corpus, or an unknown one, that may be the same people. Equal names in two published
            corpora, such as 01, are of different people.
    """

    same: set[str] = field(default_factory=set)
    alike: set[str] = field(default_factory=set)

    def __or__(self, other: "SharedSpeakers") -> "SharedSpeakers":
        same = self.same | other.same
        return SharedSpeakers(same, (self.alike | other.alike) - same)

    def describe(self, speakers: int) -> list[str]:
        """Return warnings.

        Args:
            speakers: Number of speakers of the corpus.
        """
        found = []
        if self.same:
            found.append(
                f"LEAK: {len(self.same)} of the {speakers} speakers are in the training data, too "
                f"({_list_few(self.same)}): the scores are better than for new speakers."
            )
        if self.alike:
            found.append(
                f"{len(self.alike)} of the {speakers} speakers have the names of speakers of the training "
                f"({_list_few(self.alike)}): a LEAK if they are the same people."
            )
        return found


def find_shared_speakers(speakers: Mapping[object, Named], trained: Collection[Named]) -> SharedSpeakers:
    """Find the speakers of a corpus whose names are those of speakers of a training.

    Args:
        speakers: Speakers of the corpus, from `with_corpora`.
        trained: Speakers of the training with their corpora.
    """
    corpora: dict[str, set[str]] = defaultdict(set)
    for corpus, name in trained:
        corpora[name].add(corpus)
    found = SharedSpeakers()
    for speaker, (own, name) in speakers.items():
        if own and own in corpora[name]:
            found.same.add(str(speaker))
        elif any(not (_is_published(own) and _is_published(other)) for other in corpora[name]):
            found.alike.add(str(speaker))
    return found


def _is_published(corpus: str) -> bool:
    return bool(corpus) and not Path(corpus).is_absolute()


def _list_few(names: Collection[str]) -> str:
    return ", ".join([*sorted(names)[:5], *["..."] * (len(names) > 5)])


@dataclass(frozen=True)
class Overlap:
    """What a corpus shares with the training of models.

    Args:
        trained: Which of N utterances were trained on [N] bool.
        chosen: Which of them chose the checkpoint, as validation [N] bool.
        speakers: Speakers that are also in the training split, or have the names of its speakers.
        same: Those of them that are certainly in it.
        stamps: Warnings that every report must show.
        remarks: What could not be checked.
    """

    trained: np.ndarray
    chosen: np.ndarray
    speakers: Sequence[str]
    same: Sequence[str]
    stamps: Sequence[str]
    remarks: Sequence[str]


def find_overlap(
    corpus: LabelledCorpus, data: Mapping[str, Any], runs: Sequence[TrainedOn | None]
) -> Overlap:
    """Find the utterances and speakers of a corpus on which models were trained.

    Utterances are equal if their features are, or if a recording of the same corpus has the same id. Those of a run
    that `init=` named count, too. Where some are equal, the corpora share recordings, so speakers of one name count as
    the same people.

    Args:
        corpus: The corpus that is scored.
        data: Its config node.
        runs: What each model was trained on; None where it is unknown.
    """
    masks = {split: np.zeros(len(corpus.store), dtype=bool) for split in ("train", "validation")}
    ids = with_corpora(corpus.store.ids if corpus.names else (), data)
    speakers, shared = with_corpora(corpus.speakers, data), SharedSpeakers()
    for run in filter(None, runs):
        for split, mask in masks.items():
            known = run.known.get(split, KnownUtterances())
            mask |= _equal_features(corpus, known)
            mask |= _equal_ids(corpus, ids, with_corpora(known.ids, run.data).values())
        trained = [*with_corpora(run.speakers_of("train"), run.data).values()]
        for other, known in run.before.items():
            masks["train"] |= _equal_features(corpus, known)
            masks["train"] |= _equal_ids(corpus, ids, [(other, name) for name in known.ids])
            trained += [(other, name) for name in known.speakers]
        shared |= find_shared_speakers(speakers, trained)
    masks["validation"] &= ~masks["train"]
    if masks["train"].any():
        shared = SharedSpeakers(shared.same | shared.alike)
    return Overlap(
        masks["train"],
        masks["validation"],
        sorted(shared.same | shared.alike),
        sorted(shared.same),
        [*_describe_utterances(corpus, masks), *shared.describe(len(speakers))],
        _describe_unknown(runs),
    )


def _equal_ids(corpus: LabelledCorpus, ids: Mapping[object, Named], known: Collection[Named]) -> np.ndarray:
    """Return which utterances have the ids of known ones of the same corpus [N] bool."""
    named = {each for each in known if each[0]}
    return np.array([ids.get(name) in named for name in corpus.store.ids], dtype=bool)


def _equal_features(corpus: LabelledCorpus, known: KnownUtterances) -> np.ndarray:
    """Return which utterances have the features of known ones [N] bool."""
    equal = np.zeros(len(corpus.store), dtype=bool)
    for store in (corpus.store, *(given.store for given in corpus.inputs[1:])):
        if store.digests is not None and known.digests:
            equal |= np.array([each.tobytes().hex() in known.digests for each in store.digests], dtype=bool)
    return equal


def _describe_utterances(corpus: LabelledCorpus, masks: Mapping[str, np.ndarray]) -> list[str]:
    total, stamps = len(corpus.store), []
    if count := int(masks["train"].sum()):
        first = corpus.store.ids[int(masks["train"].argmax())]
        stamps.append(
            f"LEAK: the model was trained on {count} of the {total} utterances, the first is {str(first)!r}: "
            "these scores are worthless as scores of new speech."
        )
    if count := int(masks["validation"].sum()):
        stamps.append(
            f"The checkpoint was chosen on {count} of the {total} utterances (validation), so their scores are "
            "somewhat too good."
        )
    return stamps


def _describe_unknown(runs: Sequence[TrainedOn | None]) -> list[str]:
    inits = dict.fromkeys(run.init for run in runs if run is not None and run.init and not run.before)
    unknown = [
        f"It is not known on which utterances {init} was trained, with which a model was initialised, so that these "
        "could not be looked for."
        for init in inits
    ]
    if all(run is not None and run.known for run in runs):
        return unknown
    return [
        *unknown,
        "It is not known on which utterances every model was trained, so that these could not be looked for: its run "
        "has no utterances.csv, as in older versions, or the checkpoint is not in the folder of its run.",
    ]
