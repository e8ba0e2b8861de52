"""Read published corpora as manifests, from the file names of a copy.

`ser.corpora.catalogue` describes each corpus.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ser.audio.find import find_audio, find_files
from ser.corpora.catalogue import CORPORA, Corpus
from ser.data.manifest import Manifest, Utterance, first_ten, refuse_duplicates
from ser.errors import ConfigError, DataError, did_you_mean
from ser.files import read_text
from ser.names import normalize_name

_log = logging.getLogger(__name__)


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


def expected_size(name: str) -> Size:
    """Return how many utterances and speakers `read_corpus` finds in a complete copy.

    Raises:
        ConfigError: There is no reader for a corpus of this name.
    """
    corpus = find_corpus(name)
    return Size(corpus.utterances, corpus.speakers)


def read_corpus(name: str, root: str | Path) -> Manifest:
    """Read the utterances of a corpus, sorted by path; their label field is `emotion`.

    A copy may have any audio format that can be read, and any folders. It may be incomplete, which is logged.

    Args:
        name: Name of the corpus, such as "ravdess".
        root: Folder of the copy.

    Raises:
        ConfigError: There is no reader for a corpus of this name.
        DataError: The folder does not hold the corpus, or also holds other audio, or holds an utterance twice.
    """
    corpus, root = find_corpus(name), Path(root)
    files = _find_audio(corpus, root)
    codes = None if corpus.label_files is None else _read_codes(corpus, root)
    manifest = Manifest(tuple(_utterances(corpus, root, files, codes=codes)), str(root))
    refuse_duplicates(
        manifest,
        [str(utterance.path) for utterance in manifest],
        remedy="The folder holds two copies: give the folder of one with data.root=FOLDER.",
    )
    _report_size(corpus, manifest)
    return manifest


def _find_audio(corpus: Corpus, root: Path) -> list[Path]:
    remedy = (
        f"Get {corpus.title} from {corpus.url} (licence: {corpus.licence}), unpack it, "
        "and give its folder with data.root=FOLDER."
    )
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {remedy}")
    files = find_audio(root)
    if corpus.skip is not None:
        skip = _end_of_path(corpus.skip)
        files = [file for file in files if not skip.fullmatch(_without_suffix(file))]
    if not files:
        raise DataError(f"{root}: holds no audio of {corpus.name}. {remedy}")
    return files


def _utterances(
    corpus: Corpus, root: Path, files: list[Path], *, codes: Mapping[str, str] | None
) -> list[Utterance]:
    """Build utterances from the file names, in their order; `codes` maps ids to emotions if names lack them."""
    grammar = _end_of_path(corpus.grammar)
    utterances, strange = [], []
    for file in files:
        match = grammar.fullmatch(_without_suffix(file))
        emotion = None if match is None else corpus.emotions.get(_emotion_code(match, codes))
        if match is not None and emotion is not None:
            utterances.append(_utterance(corpus, file, match, emotion))
        elif match is None or codes is None:
            strange.append(file.relative_to(root))
    if strange:
        raise DataError(
            f"{root}: {len(strange)} of {len(files)} audio files are not named as in {corpus.name} "
            f"('{corpus.example}'):{first_ten(strange)}\n"
            f"Give the folder of {corpus.name} alone with data.root=FOLDER, or move these files out of it."
        )
    if not utterances:
        raise DataError(
            f"{root}: the label files of {corpus.name} name no emotion of ours for any of {len(files)} audio files. "
            "Copy both from the same release."
        )
    return utterances


def _emotion_code(match: re.Match[str], codes: Mapping[str, str] | None) -> str:
    return match["emotion"] if codes is None else codes.get(_utterance_id(match), "")


def _utterance(corpus: Corpus, file: Path, match: re.Match[str], emotion: str) -> Utterance:
    groups = match.groupdict()
    return Utterance(
        id=_utterance_id(match),
        path=file,
        speaker=corpus.speaker.format_map(groups),
        group=groups.get("group"),
        labels={"emotion": emotion, **{name: groups[name] for name in corpus.fields}},
        text=groups.get("text"),
        language=corpus.language,
    )


def _read_codes(corpus: Corpus, root: Path) -> dict[str, str]:
    """Read the emotion code of each id from the corpus's text files."""
    names, line = _end_of_path(corpus.label_files or ""), re.compile(corpus.label_line or "")
    files = [file for file in find_files(root, ".txt") if names.fullmatch(_without_suffix(file))]
    codes = {match["id"]: match["emotion"] for file in files for match in line.finditer(read_text(file))}
    if not codes:
        raise DataError(
            f"{root}: holds audio of {corpus.name}, but no label files ({corpus.label_files}.txt). "
            "Copy them from the corpus to where they belong."
        )
    return codes


def _end_of_path(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:.*/)?(?P<id>{pattern})")


def _without_suffix(file: Path) -> str:
    return normalize_name(
        file.as_posix().removesuffix(file.suffix)
    )  # macOS writes an accent as a separate character


def _utterance_id(match: re.Match[str]) -> str:
    return match["id"].replace("/", "_")


def _report_size(corpus: Corpus, manifest: Manifest) -> None:
    size = Size(len(manifest), len({utterance.speaker for utterance in manifest}))
    if size != expected_size(corpus.name):
        message = "%s: %s has %d utterances of %d speakers, a complete copy %d of %d: results do not compare."
        _log.warning(message, manifest.source, corpus.name, *size, corpus.utterances, corpus.speakers)


_LANGUAGES = {
    **{
        "bn": "Bangla",
        "de": "German",
        "el": "Greek",
        "en": "English",
        "fa": "Persian",
        "fr": "Canadian French",
    },
    **{"it": "Italian", "pl": "Polish", "tr": "Turkish", "ur": "Urdu"},
}


def option_text(corpus: Corpus) -> str:
    """Return the text of conf/data/<name>.yaml, the option of `data=` for a corpus of the catalogue."""
    size = f"{corpus.utterances} utterances, {corpus.speakers} speakers"
    return f"""# @package _global_
# {corpus.title}: {_LANGUAGES[corpus.language]}, {len({*corpus.emotions.values()})} emotions, {size}.
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
