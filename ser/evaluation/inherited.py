"""Utterances on which a model was trained before its own training: by the run that `init=` names, and those before."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ser.batch import UtteranceId
from ser.checkpoints.checkpoint import find_one
from ser.data.store import Store
from ser.errors import setting
from ser.evaluation.overlap import find_shared_speakers, with_corpora
from ser.evaluation.trained_on import read_trained_on
from ser.splits.utterances_file import INHERITED, Row, by_corpus, read_rows


def inherited_rows(init: str | Path) -> list[Row]:
    """Return the utterances on which a run was trained, as rows of utterances.csv of a run that starts from it.

    Args:
        init: Checkpoint, or folder of a run.

    Raises:
        SerError: There is no such checkpoint, or its utterances.csv is damaged.
    """
    run = read_trained_on(find_one(init, "init"))
    if run is None:
        return []
    rows = read_rows(run.folder)
    ids, speakers = (with_corpora({row[place] for row in rows}, run.data) for place in (1, 2))
    found = [row for row in rows if row[0] == INHERITED]
    for split, name, speaker, digest, _ in rows:
        if split == "train":
            corpus, own = ids[name]
            found.append((INHERITED, own, speakers[speaker][1], digest, corpus))
    return found


def describe_inherited(
    rows: Sequence[Row],
    init: str,
    stores: Mapping[str, Store],
    speakers: Mapping[str, Mapping[UtteranceId, str]],
    *,
    data: Mapping[str, Any],
    named: Collection[str],
) -> list[str]:
    """Return warnings about utterances and speakers of validation and test on which the first run was trained.

    Utterances are equal if their features are, or if they have the same id in the same corpus, where ids are of a whole
    corpus: the challenge's files number theirs from 0, each file anew.

    Args:
        rows: Rows of that run, from `inherited_rows`.
        init: The setting that names it.
        stores: Store of each split.
        speakers: Speaker of each utterance by its id, for each split; without those that are unknown.
        data: Config node of the corpus.
        named: Splits with a manifest, whose ids tell utterances apart in other files, too.
    """
    if not rows:
        return [
            f"{setting('init', init)}: it is not known on which utterances that run was trained, so they could not be "
            "looked for in validation and test"
        ]
    known = by_corpus(rows)
    digests = {digest for own in known.values() for digest in own.digests}
    ids = {(corpus, name) for corpus, own in known.items() if corpus for name in own.ids}
    trained = {(corpus, name) for corpus, own in known.items() for name in own.speakers}
    found = []
    for split in ("validation", "test"):
        if split not in stores:
            continue
        store = stores[split]
        own_ids = with_corpora(store.ids if split in named else (), data)
        own = [each.tobytes().hex() for each in store.digests] if store.digests is not None else []
        equal = {name for name, digest in zip(store.ids, own, strict=False) if digest in digests}
        if count := len(equal | {name for name, each in own_ids.items() if each in ids}):
            found.append(
                f"LEAK: {setting('init', init)} was trained on {count} of the {len(store)} utterances of {split}: its "
                "scores are worthless as scores of new speech."
            )
        people = with_corpora({*speakers.get(split, {}).values()}, data)
        shared = find_shared_speakers(people, trained)
        found += [
            f"{split} and the training of {setting('init', init)}: {line}"
            for line in shared.describe(len(people))
        ]
    return found
