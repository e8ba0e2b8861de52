"""Align recordings with their transcripts: find what belongs together, align, write one CSV for each recording."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ser.alignment.base import SAMPLE_RATE, Aligner
from ser.alignment.rows import align_rows
from ser.audio.find import find_audio, find_files, recording_name
from ser.audio.reader import OVERSHOOT_S, probe, read_audio
from ser.errors import DataError
from ser.text.function_words import find_other_language
from ser.text.transcripts import SUFFIXES, Transcript, read_transcript
from ser.text.word_vectors import clean_word
from ser.text.words import Layout, Word, read_words, write_words

_LONGEST_S = (
    3600  # of plain text: an hour is warped in steps of 160 ms first, and longer texts in steps of 640 ms
)
_NAMED = 5  # that a message lists; there may be thousands

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recording:
    """A recording, its transcript, and where its words are written.

    Args:
        audio: Audio file.
        text: Transcript, or with the method `given` the words with their times.
        output: CSV file of the words.
    """

    audio: Path
    text: Path
    output: Path


@dataclass
class Summary:
    """What was written, and what was not aligned by the chosen method.

    Args:
        recordings: Number of recordings whose words are written.
        words: Number of words.
        by_method: Number of rows that each method aligned.
        fallbacks: Rows that a method could not align, with the reason.
        notes: Facts on recordings that a user should check.
        skipped: Recordings that were left out, with the reason.
    """

    recordings: int = 0
    words: int = 0
    by_method: Counter[str] = field(default_factory=Counter)
    fallbacks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Return the lines that a command prints."""
        methods = ", ".join(f"{rows} rows by {name}" for name, rows in self.by_method.most_common())
        yield f"{self.recordings} recordings, {self.words} words{f'; {methods}' if methods else ''}."
        groups = {
            "rows fell back to another method": self.fallbacks,
            "things to check": self.notes,
            "recordings were skipped": self.skipped,
        }
        for what, entries in groups.items():
            if entries:
                yield f"{len(entries)} {what}:"
                yield from (f"  {entry}" for entry in entries[:_NAMED])
                if len(entries) > _NAMED:
                    yield f"  and {len(entries) - _NAMED} more"


def pair_recordings(audio: Path, text: Path, output: Path) -> list[Recording]:
    """Pair a recording with its transcript, or those of a folder with the files of the same names in another folder.

    Recordings without a transcript are left out, and logged, as are transcripts without a recording.

    Args:
        audio: Audio file, or folder that is searched at any depth.
        text: Transcript, or folder of transcripts.
        output: CSV file, or folder.

    Raises:
        DataError: One is a file and the other a folder, no names agree, or two transcripts have the same name.
    """
    if audio.is_dir() != text.is_dir():
        one, other = ("a folder", "a file") if audio.is_dir() else ("a file", "a folder")
        raise DataError(
            f"audio={audio}: is {one}, but transcript={text} is {other}. Give two files, or two folders."
        )
    if not audio.is_dir():
        return [Recording(audio, text, output)]
    recordings = {recording_name(file.relative_to(audio)): file for file in find_audio(audio)}
    texts: dict[str, Path] = {}
    for suffix in SUFFIXES:
        for file in find_files(text, suffix):
            name = file.relative_to(text).with_suffix("").as_posix()
            if name in texts:
                raise DataError(
                    f"{file}: {texts[name]} is a transcript of the same name. Remove one of them."
                )
            texts[name] = file
    if not recordings.keys() & texts.keys():
        raise DataError(
            f"{text}: has no transcript of the {len(recordings)} recordings in {audio}. Name it as its recording, "
            "such as a/b.txt for a/b.wav."
        )
    for what, missing in (
        ("recordings without a transcript", recordings.keys() - texts.keys()),
        ("transcripts without a recording", texts.keys() - recordings.keys()),
    ):
        if missing:
            _log.warning("%d %s: %s", len(missing), what, _list(sorted(missing)))
    return [
        Recording(file, texts[name], output / f"{name}.csv")
        for name, file in recordings.items()
        if name in texts
    ]


def refuse_existing(recordings: Sequence[Recording]) -> None:
    """Refuse to replace files.

    Raises:
        DataError: A file exists.
    """
    existing = [str(recording.output) for recording in recordings if recording.output.exists()]
    if existing:
        more = f", as do {len(existing) - 1} more" if len(existing) > 1 else ""
        raise DataError(
            f"{existing[0]}: exists already{more}. Set overwrite=true, or give another output=PATH."
        )


def align_recording(
    recording: Recording,
    aligners: Sequence[Aligner],
    summary: Summary,
    *,
    language: str | None,
    layout: Layout,
) -> None:
    """Align a recording and write its words.

    Args:
        recording: The recording.
        aligners: See `find_words`.
        summary: See `find_words`.
        language: See `find_words`.
        layout: Layout of the CSV file.

    Raises:
        DataError: See `find_words`; or the file cannot be written.
    """
    words = find_words(recording.audio, recording.text, aligners, summary, language=language)
    recording.output.parent.mkdir(parents=True, exist_ok=True)
    write_words(recording.output, words, layout)


def find_words(
    audio: Path, text: Path, aligners: Sequence[Aligner], summary: Summary, *, language: str | None
) -> list[Word]:
    """Return the words of a recording with their times.

    Args:
        audio: Audio file.
        text: Transcript, or the words with their times if there are no aligners.
        aligners: Methods; the next one aligns a row if those before cannot. None takes the times that are given.
        summary: Counts, to which those of the recording are added.
        language: Language of the text, which is checked; None if it is not known.

    Raises:
        DataError: A file is damaged, or the times lie beyond the recording.
    """
    words = _align_words(audio, text, aligners, summary, language) if aligners else _given_words(audio, text)
    summary.recordings += 1
    summary.words += len(words)
    return words


def _align_words(
    audio: Path, text: Path, aligners: Sequence[Aligner], summary: Summary, language: str | None
) -> list[Word]:
    transcript = read_transcript(text)
    waveform = read_audio(audio, SAMPLE_RATE)
    rows = [*align_rows(waveform, transcript, aligners, place=str(audio))]
    summary.by_method.update(row.method for row in rows)
    summary.fallbacks += [
        f"{text}, row {number}: {'; '.join(row.reasons)}" for number, row in enumerate(rows, 1) if row.reasons
    ]
    summary.notes += _notes(transcript, language)
    duration = len(waveform) / SAMPLE_RATE
    if duration > _LONGEST_S and transcript.rows[0].end is None and aligners[0].name == "dtw":
        summary.notes.append(
            f"{text}: is one text of {duration / 3600:.1f} h, in which words may be minutes off: "
            "cut it into rows with times"
        )
    return [word for row in rows for word in row.words]


def _given_words(audio: Path, text: Path) -> list[Word]:
    words, duration = read_words(text), probe(audio).duration_s
    if words[-1].end > duration + OVERSHOOT_S:
        late = next(number for number, word in enumerate(words, 1) if word.end > duration + OVERSHOOT_S)
        raise DataError(
            f"{text}, word {late}: ends at {words[late - 1].end:g} s, but {audio} is "
            f"{duration:.2f} s long. Correct the times, or give the recording that they are of."
        )
    return words


def _notes(transcript: Transcript, language: str | None) -> Iterator[str]:
    if transcript.dropped:
        yield f"{transcript.path}: {transcript.dropped} rows without words or of a filler alone are left out"
    words = [clean_word(token) for row in transcript.rows for token in row.tokens]
    other = find_other_language(words, language) if language else None
    if other:
        yield f"{transcript.path}: reads like language={other}, not {language}: align it again with its own language"


def _list(names: Sequence[str]) -> str:
    return ", ".join([*names[:_NAMED], *["..."] * (len(names) > _NAMED)])
