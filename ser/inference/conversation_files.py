"""Find and read the words and the turns of recordings that are predicted, or align their transcripts."""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ser.alignment.base import Aligner
from ser.alignment.recordings import Summary, find_words
from ser.alignment.rows import make_aligners
from ser.audio.find import find_files, recording_name
from ser.audio.reader import OVERSHOOT_S, probe
from ser.config.settings import Predict
from ser.corpora.conversations import keep_words, warn_about
from ser.data.feature_store import OnError
from ser.data.manifest import Manifest, Utterance
from ser.errors import ConfigError, DataError, setting
from ser.features.steps import STEP_S, Span
from ser.text.annotations import read_turns
from ser.text.transcripts import SUFFIXES
from ser.text.words import Word, check_order, read_words

Words = str | Path | Sequence[tuple[float, float, str] | Word]
"""Words of a recording: path of a CSV, or start, end and text of each."""
Turns = str | Path | Sequence[Span]
"""Turns of the subject: path of a CSV, or start and end of each."""


@dataclass
class ConversationFiles:
    """Where words and turns of recordings are: a file for the only recording, or a folder of files named as they are.

    Args:
        words: Words with their times; None for none.
        transcript: Texts that are aligned, in place of words.
        turns: Turns of the subject.
        aligners: Methods of the alignment, see `find_words`.
        language: Language of the transcripts.
        summary: Counts of the alignment.
    """

    words: Path | None = None
    transcript: Path | None = None
    turns: Path | None = None
    aligners: Sequence[Aligner] = ()
    language: str | None = None
    summary: Summary = field(default_factory=Summary)

    @staticmethod
    def of(settings: Predict) -> "ConversationFiles":
        """Return the files that the settings of `ser predict` name.

        Raises:
            ConfigError: Settings contradict each other, or nothing can align in the language.
        """
        words, transcript, turns = (
            None if path is None else Path(path)
            for path in (settings.words, settings.transcript, settings.turns)
        )
        if words is not None and transcript is not None:
            raise ConfigError(
                f"{setting('transcript', transcript)}: is aligned to get words, but words={words} is given, too. "
                "Leave one of them out."
            )
        if transcript is None:
            for name in ("language", "align"):
                if (value := getattr(settings, name)) is not None:
                    raise ConfigError(
                        f"{setting(name, value)}: is for the alignment of a transcript, and none is given. "
                        f"Set transcript=FILE, too, or leave {name} out."
                    )
            return ConversationFiles(words, None, turns)
        method = settings.align or "dtw"
        language = settings.language or ("en" if method == "pocketsphinx" else None)
        return ConversationFiles(None, transcript, turns, make_aligners(method, settings.language), language)

    def read(
        self, manifest: Manifest, *, on_error: OnError = "raise"
    ) -> tuple[Manifest, dict[str, tuple[Word, ...]]]:
        """Return the recordings with their turns, and the words of each by id; what is missing is logged.

        Args:
            manifest: Recordings.
            on_error: What to do about a recording whose files cannot be used: raise, or skip it with a warning.

        Raises:
            ConfigError: There are several recordings and one file, or parts of recordings.
            DataError: A file cannot be used, or a folder has none that belongs to a recording.
        """
        given = {"words": self.words, "transcript": self.transcript, "turns": self.turns}
        found = {key: _pair(manifest, path, key) for key, path in given.items() if path is not None}
        if found:
            _refuse_parts(manifest, next(iter(found)))
        texts = found.get("words", found.get("transcript", {}))
        turns = found.get("turns", {})
        kept: list[Utterance] = []
        words: dict[str, tuple[Word, ...]] = {}
        late: list[str] = []
        skipped: list[str] = []
        for utterance in self._with_bar(manifest):
            try:
                text, spans = texts.get(utterance.id), turns.get(utterance.id)
                known, own = self._read_one(utterance, text, spans, late)
            except DataError as error:
                if on_error == "raise":
                    raise
                skipped.append(str(error))
                continue
            words[utterance.id] = own
            kept.append(known)
        if not kept:
            raise DataError(f"{manifest.source}: no recording can be used. The first one: {skipped[0]}")
        warn_about("recordings are skipped", skipped)
        warn_about_late(late)
        return Manifest(tuple(kept), manifest.source), words

    def _read_one(
        self, utterance: Utterance, text: Path | None, turns: Path | None, late: list[str]
    ) -> tuple[Utterance, tuple[Word, ...]]:
        """Return a recording with its turns, and its words; those beyond the audio are appended to `late`."""
        words: tuple[Word, ...] = ()
        if text is not None:
            found = self._words_of(utterance, text)
            duration_s = probe(utterance.path).duration_s
            words = keep_words(found, duration_s, late, name=utterance.id, place=str(text))
        if turns is not None:
            spans = read_turns(turns, probe(utterance.path).duration_s)
            utterance = replace(utterance, turns=spans)
        return utterance, words

    def _with_bar(self, manifest: Manifest) -> Iterable[Utterance]:
        """Return the recordings, with a progress bar if several are aligned and the output is a terminal."""
        if self.transcript is None or len(manifest) == 1 or not sys.stderr.isatty():
            return manifest
        from rich.console import Console
        from rich.progress import track

        return track(manifest.utterances, "Aligning", console=Console(stderr=True), transient=True)

    def remarks(self) -> Iterator[str]:
        """Return what a command prints of the alignment."""
        if self.summary.recordings:
            yield from self.summary.lines()
        yield from filter(None, (aligner.describe_unknown_words() for aligner in self.aligners))

    def _words_of(self, utterance: Utterance, path: Path) -> list[Word]:
        if self.words is not None:
            return read_words(path)
        return find_words(utterance.path, path, self.aligners, self.summary, language=self.language)


def warn_about_late(late: Sequence[str]) -> None:
    """Log the words that lie beyond the audio."""
    warn_about("words lie beyond the audio and are left out", late)


def one_each(given: Any, count: int, key: str) -> Sequence[Any]:
    """Return what is given for each of several recordings, None for all if nothing is.

    Raises:
        DataError: There are more or fewer.
    """
    if given is None:
        return [None] * count
    if isinstance(given, str | Path) or len(given) != count:
        number = "one" if isinstance(given, str | Path) else len(given)
        raise DataError(
            f"{key}: {number} for {count} recordings. Give a list with one for each, None where there are none."
        )
    return list(given)


def spoken_words(given: Words, duration_s: float, late: list[str], *, name: str) -> tuple[Word, ...]:
    """Return the words of a recording that reach into it, and note the others.

    Args:
        given: Path of a CSV, or words.
        duration_s: Duration of the recording in s.
        late: See `keep_words`.
        name: Name of the recording.

    Raises:
        DataError: Words have no text, are no numbers of seconds, unsorted or overlap; or none reaches into the audio.
    """
    if isinstance(given, str | Path):
        place, words = str(given), read_words(Path(given).expanduser())
    else:
        place, words = f"words of {name}", [_as_word(each, number) for number, each in enumerate(given, 1)]
        check_order(Path(place), [(word.start, word.end) for word in words], "word")
    return keep_words(words, duration_s, late, name=name, place=place)


def _as_word(given: Any, number: int) -> Word:
    if isinstance(given, Word):
        return given
    try:
        start, end, text = given
        word = Word(str(text), float(start), float(end))
    except (TypeError, ValueError):
        word = Word("", 0.0, 0.0)
    if not word.text or not 0 <= word.start < math.inf or not 0 <= word.end < math.inf:
        raise DataError(
            f"words, word {number}: is {given!r}, expected start and end in s, and a text. Give (0.5, 0.8, 'yes')."
        )
    return word


def spans_of_turns(given: Turns, duration_s: float, *, name: str) -> tuple[Span, ...]:
    """Return the turns of the subject in a recording.

    Args:
        given: Path of a CSV, or start and end of each turn in s.
        duration_s: Duration of the recording in s.
        name: Name of the recording, for messages.

    Raises:
        DataError: Turns are no pairs of seconds, unsorted, overlap, or end beyond the audio.
    """
    if isinstance(given, str | Path):
        return read_turns(Path(given).expanduser(), duration_s)
    try:
        spans = tuple((float(start), float(end)) for start, end in given)
    except (TypeError, ValueError):
        raise DataError(
            f"turns of {name}: expected pairs of start and end in s. Give [(0.0, 5.2)]."
        ) from None
    check_order(Path(f"turns of {name}"), spans, "turn")
    if spans and spans[-1][1] > duration_s + OVERSHOOT_S:
        raise DataError(
            f"turns of {name}: one ends at {spans[-1][1]:g} s, but the audio is {duration_s:.2f} s long. Correct it."
        )
    return spans


def _pair(manifest: Manifest, path: Path, key: str) -> dict[str, Path]:
    """Return the file of each recording by id; log recordings without one, and files without a recording.

    Raises:
        ConfigError: There is one file, and several recordings.
        DataError: The folder has no file of a recording, or two of one.
    """
    if not path.is_dir():
        if len(manifest) > 1:
            raise ConfigError(
                f"{setting(key, path)}: is one file, but there are {len(manifest)} recordings. "
                f"Give a folder of files named as they are, {key}=FOLDER."
            )
        return {manifest.utterances[0].id: path}
    files: dict[str, Path] = {}
    for suffix in SUFFIXES if key == "transcript" else (".csv",):
        for file in find_files(path, suffix):
            name = file.relative_to(path).with_suffix("").as_posix()
            if name in files:
                raise DataError(
                    f"{file}: {files[name]} is a transcript of the same name. Remove one of them."
                )
            files[name] = file
    stems = Counter(utterance.path.stem for utterance in manifest)
    found: dict[str, Path] = {}
    for utterance in manifest:
        names = [utterance.id, recording_name(Path(utterance.id))]
        names += [utterance.path.stem] * (stems[utterance.path.stem] == 1)
        if known := [files[name] for name in names if name in files]:
            found[utterance.id] = known[0]
    if not found:
        first = f"{recording_name(Path(manifest.utterances[0].id))}.csv"
        raise DataError(
            f"{path}: has no file of the {len(manifest)} recordings in {manifest.source}. Name each as its recording, "
            f"such as {first}."
        )
    without = [utterance.id for utterance in manifest if utterance.id not in found]
    meaning = "the subject alone speaks" if key == "turns" else "their words are zeros"
    warn_about(f"recordings have no file in {setting(key, path)}, so {meaning}", without)
    used = {*found.values()}
    unused = [name for name, file in files.items() if file not in used]
    if len(manifest) > 1:  # else it is no wonder
        warn_about(f"files in {setting(key, path)} are of no recording", unused)
    return found


def _refuse_parts(manifest: Manifest, key: str) -> None:
    """Refuse parts of recordings, as the times of words and turns are those of whole ones."""
    for utterance in manifest:
        if utterance.end is not None and (
            utterance.start > 0 or utterance.end < probe(utterance.path).duration_s - STEP_S
        ):
            raise ConfigError(
                f"{manifest.source}, utterance {utterance.id!r}: is a part of {utterance.path}, but {key} is for whole "
                f"recordings. Leave {key} out, or give the recordings themselves."
            )
