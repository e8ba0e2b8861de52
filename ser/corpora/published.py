"""Read published corpora as manifests, from the file names of a copy and from its label files.

`ser.catalogue` describes each corpus.
"""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ser.audio.find import find_audio
from ser.catalogue import CORPORA, Corpus
from ser.catalogue.labels import Row, end_of_path, has_label_files, read_labels, without_suffix
from ser.data.manifest import Manifest, Utterance, first_ten, refuse_duplicates
from ser.errors import ConfigError, DataError, counted, did_you_mean
from ser.splits.assignment import SPLITS

_log = logging.getLogger(__name__)

CLASS = "emotion"
"""Label field of the classes."""


class Size(NamedTuple):
    """Size of a complete corpus."""

    utterances: int
    speakers: int


def find_corpus(name: str) -> Corpus:
    """Return the description of a corpus.

    Raises:
        ConfigError: There is no reader for a corpus of this name.
    """
    if name not in CORPORA:
        raise ConfigError(f"There is no reader for a corpus '{name}'. {did_you_mean(name, CORPORA)}")
    return CORPORA[name]


def expected_size(name: str, label: str | None = CLASS) -> Size:
    """Return how many utterances and speakers a complete copy has.

    Where the class is read, they are those with a class; else all with any label, as some lack the one that is read.

    Raises:
        ConfigError: There is no reader for a corpus of this name.
    """
    corpus = find_corpus(name)
    every = corpus.every_utterance or corpus.utterances
    return Size(corpus.utterances if label == CLASS else every, corpus.speakers)


def read_corpus(name: str, root: str | Path, *, label: str | None = CLASS) -> Manifest:
    """Read the utterances of a corpus, sorted by path; their class is the label field `emotion`.

    A copy may have any audio format that can be read, and any folders. It may be incomplete, which is logged, as is
    what is left out.

    Args:
        name: Name of the corpus, such as "ravdess".
        root: Folder of the copy.
        label: Label field without which an utterance is left out; None for none, so that utterances without a class
            stay for their values and votes.

    Raises:
        ConfigError: There is no reader for a corpus of this name.
        DataError: The folder does not hold the corpus, or also holds other audio, or holds an utterance twice.
    """
    corpus, root = find_corpus(name), Path(root)
    files = _find_audio(corpus, root)
    rows = read_labels(corpus, root)
    utterances, size = _utterances(corpus, root, files, rows=rows, label=label)
    manifest = Manifest(tuple(utterances), str(root))
    refuse_duplicates(
        manifest,
        [str(utterance.path) for utterance in manifest],
        remedy="The folder holds two copies: give the folder of one with data.root=FOLDER.",
    )
    _report_size(corpus, root, size, expected_size(name, label))
    return manifest


def _find_audio(corpus: Corpus, root: Path) -> list[Path]:
    remedy = (
        f"Get {corpus.title} from {corpus.url} (licence: {corpus.licence}), unpack it, "
        f"and give its folder with data.root=FOLDER.{' ' * bool(corpus.note)}{corpus.note}"
    )
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {remedy}")
    files = find_audio(root)
    if corpus.skip is not None:
        skip = end_of_path(corpus.skip)
        files = [file for file in files if not skip.fullmatch(without_suffix(file))]
    if not files:
        raise DataError(f"{root}: holds no audio of {corpus.name}. {remedy}")
    return files


def _utterances(
    corpus: Corpus, root: Path, files: list[Path], *, rows: Mapping[str, Row], label: str | None
) -> tuple[list[Utterance], Size]:
    """Build utterances from the file names, in their order; `rows` has what the label files say, by key.

    The size of the copy includes those that only lack a label other than the class.
    """
    in_names = not has_label_files(corpus)
    grammar = end_of_path(corpus.grammar)
    matches = {file: grammar.fullmatch(without_suffix(file)) for file in files}
    replaced = _replaced(corpus, matches)
    found, strange = [], []
    left_out: Counter[str] = Counter({"another cut replaces it": len(replaced)})
    for file, match in matches.items():
        if match is None or (in_names and match["emotion"] not in corpus.emotions):
            strange.append(file.relative_to(root))
        elif file not in replaced:
            row = rows.get(_key(corpus, match), Row())
            row = replace(row, emotion=match["emotion"]) if in_names else row
            found.append((row, _utterance(corpus, file, match, row)))
    if strange:
        raise DataError(
            f"{root}: {len(strange)} of {len(files)} audio files are not named as in {corpus.name} "
            f"('{corpus.example}'):{first_ten(strange)}\n"
            f"Give the folder of {corpus.name} alone with data.root=FOLDER, or move these files out of it."
        )
    if label != CLASS and not any(label in utterance.labels for _, utterance in found):
        label = None  # a field of another name, which is refused where it is read
    utterances = []
    size = _size([each for row, each in found if not _reason(row, each, CLASS if label == CLASS else None)])
    for row, utterance in found:
        if why := _reason(row, utterance, label):
            left_out[why] += 1
        else:
            utterances.append(utterance)
    if not utterances:
        raise DataError(
            f"{root}: the label files of {corpus.name} name no {label or 'label'} of ours for any of {len(files)} "
            "audio files. Copy both from the same release."
        )
    if not in_names:
        keys = {_key(corpus, match) for match in matches.values() if match is not None}
        left_out["no audio"] = len(rows.keys() - keys)
    if named := [f"{count} ({why})" for why, count in left_out.most_common() if count]:
        _log.info("%s: utterances of %s that are left out: %s", root, corpus.name, ", ".join(named))
    return utterances, size


def _reason(row: Row, utterance: Utterance, label: str | None) -> str:
    """Return why an utterance is left out; empty if it is not."""
    if CLASS not in utterance.labels and (label == CLASS or not (row.numbers or row.votes)):
        return f"emotion {row.emotion!r}" if row.emotion else "no label"
    if label is not None and label not in utterance.labels:
        return f"no {label}"
    return row.split if row.split is not None and row.split not in SPLITS else ""


def _replaced(corpus: Corpus, matches: Mapping[Path, re.Match[str] | None]) -> set[Path]:
    """Return the files for which there is a preferred one with the same id."""
    if corpus.preferred is None:
        return set()
    wanted = end_of_path(corpus.preferred)
    better = {
        _utterance_id(corpus, m)
        for file, m in matches.items()
        if m and wanted.fullmatch(without_suffix(file))
    }
    return {
        file
        for file, match in matches.items()
        if match and _utterance_id(corpus, match) in better and not wanted.fullmatch(without_suffix(file))
    }


def _utterance(corpus: Corpus, file: Path, match: re.Match[str], row: Row) -> Utterance:
    groups = match.groupdict()
    name = _utterance_id(corpus, match)
    by_table = any(table.speaker for table in corpus.tables)
    speaker = row.speaker if by_table else corpus.speaker.format_map(groups)
    gender = (word for word, own in corpus.genders.items() if speaker and re.fullmatch(own, speaker))
    language, which = corpus.other_language or (corpus.language, "")
    return Utterance(
        id=name,
        path=file,
        speaker=speaker,
        group=groups.get("group"),
        split=row.split,
        labels={
            CLASS: corpus.emotions.get(row.emotion, ""),
            "gender": next(gender, ""),
            **{field: _word(groups[field], words) for field, words in corpus.fields.items()},
            **row.labels(corpus),
        },
        text=row.text or groups.get("text"),
        language=language if re.fullmatch(which, name) else corpus.language,
    )


def _word(code: str | None, words: Mapping[str, str]) -> str:
    """Return the word for a code, or the code where there are no words; empty where it is no label."""
    return (words.get(code, "") if words else code) if code else ""


def _key(corpus: Corpus, match: re.Match[str]) -> str:
    """Return the key of an utterance in the label files."""
    return corpus.key_format.format_map(match.groupdict())


def _utterance_id(corpus: Corpus, match: re.Match[str]) -> str:
    return corpus.id_format.format_map(match.groupdict()).replace("/", "_")


def _size(utterances: Sequence[Utterance]) -> Size:
    return Size(len(utterances), len({utterance.speaker for utterance in utterances}))


def _report_size(corpus: Corpus, root: Path, size: Size, complete: Size) -> None:
    if complete.utterances and size != complete:
        message = "%s: %s has %d utterances of %d speakers, a complete copy %d of %d: results do not compare."
        _log.warning(message, root, corpus.name, *size, *complete)


_LANGUAGES = {
    **{
        "bn": "Bangla",
        "de": "German",
        "el": "Greek",
        "en": "English",
        "fa": "Persian",
        "fr": "Canadian French",
    },
    **{
        "es": "Mexican Spanish",
        "it": "Italian",
        "pl": "Polish",
        "tr": "Turkish",
        "ur": "Urdu",
        "zh": "Mandarin",
    },
}


def option_text(corpus: Corpus) -> str:
    """Return the text of conf/data/<name>.yaml, the option of `data=` for a corpus of the catalogue."""
    speakers = counted(corpus.speakers, "speaker")
    size = f"{corpus.utterances} utterances, {speakers}" if corpus.utterances else "size by release"
    languages = [corpus.language, *(corpus.other_language or ())[:1]]
    spoken = " and ".join(_LANGUAGES[each] for each in languages)
    return f"""# @package _global_
# {corpus.title}: {spoken}, {len({*corpus.emotions.values()})} emotions, {size}.
# {corpus.url} (licence: {corpus.licence})
defaults:
  - base/recordings
  - override /target: classes
  - override /features: log_mel

experiment_name: {corpus.name:<10} # run folders are logs/<experiment_name>/<time>
data:
  _target_: ser.corpora.PublishedCorpus
  corpus: {corpus.name:<17} # name of the corpus
  root: ???                 # folder of the unpacked corpus
"""
