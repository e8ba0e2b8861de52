"""Read corpora that come with word times: MuSe-CaR and IEMOCAP.

Neither was at hand, as both have licences: this was tried on files made like theirs. The names of folders and columns
and the units are those that public code reads.

MuSe-CaR, car reviews in English, raw layout of the challenges MuSe 2020 and 2021; its folders are settings, because
they differ between years and packages. Source: the baselines github.com/lstappen/MuSe2020 and MuSe2021.

    metadata/partition.csv                            a header, then id, ..., and train, devel or test as last column
    raw/audio_norm/32.wav                             whole recordings
    c1_muse_wild/label_segments/arousal/32.csv        timestamp,value,segment_id, timestamps in ms, every 250 ms
    c1_muse_wild/transcription_segments/32/32_1.csv   word,start,end in ms from the recording's start; a segment

IEMOCAP: each utterance is a recording, and its labels hold at all of its steps. Source: Busso et al., "IEMOCAP:
interactive emotional dyadic motion capture database", 2008.

    Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav                  utterances
    Session1/sentences/ForcedAlignment/Ses01F_impro01/Ses01F_impro01_F000.wdseg    words; two utterances have none
    Session1/dialog/EmoEvaluation/Ses01F_impro01.txt                               [s - s] id emotion [V, A, D]
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ser.audio.reader import AUDIO_SUFFIXES, probe
from ser.corpora.conversation_corpus import ConversationCorpus
from ser.corpora.conversations import Conversation, check_label_times, keep_words, warn_about
from ser.errors import ConfigError, DataError, did_you_mean
from ser.features.steps import STEP_S, count_steps
from ser.files import read_text
from ser.text.annotations import read_columns, read_numbers, read_rows, refuse_unsorted
from ser.text.word_vectors import clean_word
from ser.text.words import Word, read_time, read_wdseg

_MUSE_SPLITS = {"train": "train", "devel": "validation", "test": "test"}
_MS = 0.001
_SESSIONS = range(1, 6)
_NAME = re.compile(r"Ses(?P<session>\d\d)[FM]_\w+_(?P<talker>[FM])\d{3}")
_LABEL = re.compile(r"\[[^\]]*\]\t(?P<id>\w+)\t\w+\t\[(?P<values>[^\]]*)\]")


class MuseCarCorpus(ConversationCorpus):
    """MuSe-CaR with the splits of its challenges; the speaker of a recording is unknown, and speaks alone.

    Args:
        root: Folder of the challenge's packages; the other paths are relative to it.
        audio: Folder of the recordings.
        labels: Folder with a folder of labels for each field.
        transcripts: Folder of the words with their times.
        partition: Table of the splits.
        settings: Further arguments of ConversationCorpus.
    """

    label_fields = ("arousal", "valence")

    def __init__(
        self,
        root: str,
        *,
        audio: str = "raw/audio_norm",
        labels: str = "c1_muse_wild/label_segments",
        transcripts: str = "c1_muse_wild/transcription_segments",
        partition: str = "metadata/partition.csv",
        **settings: Any,
    ) -> None:
        super().__init__(root, **settings)
        self.audio = audio
        self.labels = labels
        self.transcripts = transcripts
        self.partition = partition

    def conversations(self) -> list[Conversation]:
        """Read all recordings of the table that have labels, and those of test.

        Raises:
            DataError: Files are missing, malformed, or do not fit together.
        """
        split_of = self._read_partition()
        for key in ("audio", "labels", "transcripts"):
            folder = self.root / getattr(self, key)
            if not folder.is_dir():
                raise DataError(f"{folder}: no such folder. Correct data.root or data.{key}.")
        labels = self.root / self.labels
        unused = [
            name
            for name, split in split_of.items()
            if split != "test"
            and not any((labels / field / f"{name}.csv").exists() for field in self.label_fields)
        ]
        warn_about("recordings of the table are left out, as they have no labels", unused)
        late: list[str] = []
        names = sorted(split_of.keys() - {*unused}, key=lambda name: (len(name), name))
        found = self.read_each({name: partial(self._read, name, split_of[name], late) for name in names})
        if not found:
            raise DataError(
                f"{labels}: has no labels of the {len(split_of)} recordings in {self.root / self.partition}. "
                "Correct data.labels, the folder of arousal/32.csv, or data.partition."
            )
        warn_about("words are left out, as they lie beyond the audio", late)
        warn_about("recordings have no words", [entry.id for entry in found if not entry.words])
        warn_about("recordings of test have no labels", [entry.id for entry in found if not len(entry.times)])
        return found

    def _read_partition(self) -> dict[str, str]:
        path = self.root / self.partition
        rows = [*read_rows(path, ",")][1:]
        for place, row in rows:
            if row[-1] not in _MUSE_SPLITS:
                raise DataError(f"{place}: has the split {row[-1]!r}. {did_you_mean(row[-1], _MUSE_SPLITS)}")
        if not rows:
            raise DataError(f"{path}: has no recordings. Correct data.partition, the table of the splits.")
        return {row[0]: _MUSE_SPLITS[row[-1]] for _, row in rows}

    def _read(self, name: str, split: str, late: list[str]) -> Conversation:
        folder = self.root / self.audio
        files = [folder / f"{name}{suffix}" for suffix in AUDIO_SUFFIXES]
        path = next((file for file in files if file.exists()), files[0])
        duration_s = probe(path).duration_s
        times, values = self._read_labels(name, split, duration_s)
        return Conversation(
            id=name,
            path=path,
            split=split,
            speaker=None,
            words=keep_words(
                self._read_words(name),
                duration_s,
                late,
                name=name,
                place=str(self.root / self.transcripts / name),
            ),
            turns=None,
            times=times,
            values=values,
        )

    def _read_labels(self, name: str, split: str, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
        folder = self.root / self.labels
        paths = [folder / field / f"{name}.csv" for field in self.label_fields]
        if split == "test" and not any(path.exists() for path in paths):
            return np.empty(0), np.empty((0, len(paths)), np.float32)
        columns = [_read_field(path) for path in paths]
        times = columns[0][0]
        for path, (others, _) in zip(paths, columns, strict=True):
            if not np.array_equal(times, others):
                raise DataError(
                    f"{path}: has {len(others)} labels at other times than the {len(times)} of {paths[0]}. "
                    "Copy both from the same package."
                )
        check_label_times(times, duration_s, place=str(paths[0]))
        return times, np.stack([values for _, values in columns], axis=1)

    def _read_words(self, name: str) -> list[Word]:
        words = []
        for path in (self.root / self.transcripts / name).glob("*.csv"):
            segment = path.stem.rpartition("_")[2]
            if not segment.isdecimal():
                raise DataError(
                    f"{path}: is not named like {name}_1.csv. Rename it, or move it out of the folder."
                )
            for place, (start, end, text) in read_columns(path, ("start", "end", "word")):
                if not clean_word(text):  # punctuation has a line of its own
                    continue
                span = read_time(place, start) * _MS, read_time(place, end) * _MS
                if span[1] < span[0]:
                    raise DataError(f"{place}: ends at {end} ms, before its start at {start} ms. Correct it.")
                words.append(Word(clean_word(text), *span, int(segment)))
        return sorted(words, key=lambda word: (word.start, word.end))


def _read_field(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the times in s [L] and the values [L] float32 of a label field."""
    places, times, values = [], [], []
    for place, (time, value) in read_columns(path, ("timestamp", "value")):
        places.append(place)
        times.append(read_time(place, time) * _MS)
        values += read_numbers(place, [value])
    refuse_unsorted(places, times)
    return np.array(times), np.array(values, np.float32)


class IemocapWordsCorpus(ConversationCorpus):
    """IEMOCAP with word times, split by session, so that no speaker is in two splits.

    Args:
        root: Folder that holds Session1 to Session5.
        validation_session: Session for validation.
        test_session: Session for the test; the others are for training.
        settings: Further arguments of ConversationCorpus.

    Raises:
        ConfigError: Both are one session, or there is no such session.
    """

    label_fields = ("arousal", "valence", "dominance")

    def __init__(
        self, root: str, *, validation_session: int = 4, test_session: int = 5, **settings: Any
    ) -> None:
        super().__init__(root, **settings)
        for key, session in (("validation_session", validation_session), ("test_session", test_session)):
            if session not in _SESSIONS:
                raise ConfigError(f"data.{key}={session}: there is no such session. Choose one of 1 to 5.")
        if validation_session == test_session:
            raise ConfigError(
                f"data.validation_session={validation_session}: is the session of the test, too. Choose another one."
            )
        self.split_of = {validation_session: "validation", test_session: "test"}

    def conversations(self) -> list[Conversation]:
        """Read all utterances, sorted by session and name.

        Raises:
            DataError: Files are missing, malformed, or do not fit together.
        """
        late: list[str] = []
        readers: dict[str, partial[Conversation]] = {}
        for session in _SESSIONS:
            folder = self.root / f"Session{session}"
            audio = sorted(folder.glob("sentences/wav/Ses*/Ses*.wav"))
            labels = self._read_labels(folder) if audio else {}
            readers |= {path.stem: partial(self._read, path, session, labels, late) for path in audio}
        if not readers:
            raise DataError(
                f"{self.root}: has no utterance such as Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav. "
                "Give the folder of IEMOCAP with data.root=FOLDER."
            )
        found = self.read_each(readers)
        warn_about("words are left out, as they lie beyond the audio", late)
        warn_about("utterances have no words", [entry.id for entry in found if not entry.words])
        return found

    def _read_labels(self, folder: Path) -> dict[str, list[float]]:
        """Read the labels of a session's utterances: id -> arousal, valence, dominance."""
        for needed in ("dialog/EmoEvaluation", "sentences/ForcedAlignment"):
            if not (folder / needed).is_dir():
                raise DataError(
                    f"{folder / needed}: no such folder. Copy it from IEMOCAP, with the files in it."
                )
        labels = {}
        for path in sorted((folder / "dialog/EmoEvaluation").glob("Ses*.txt")):
            for number, line in enumerate(read_text(path).splitlines(), 1):
                if match := _LABEL.match(line):
                    place = f"{path}, line {number}"
                    values = read_numbers(place, [cell.strip() for cell in match["values"].split(",")])
                    if len(values) != len(self.label_fields):
                        raise DataError(f"{place}: has {len(values)} values, expected [V, A, D]. Correct it.")
                    labels[match["id"]] = [values[1], values[0], values[2]]
        return labels

    def _read(
        self, path: Path, session: int, labels: dict[str, list[float]], late: list[str]
    ) -> Conversation:
        name, duration_s = path.stem, probe(path).duration_s
        match = _NAME.fullmatch(name)
        if match is None:
            raise DataError(f"{path}: is not named like Ses01F_impro01_F000.wav. Move it out of the folder.")
        if name not in labels:
            evaluation = self.root / f"Session{session}/dialog/EmoEvaluation/{path.parent.name}.txt"
            raise DataError(
                f"{evaluation}: has no label of {name}. Copy it again, or leave out the recording."
            )
        words = self.root / f"Session{session}/sentences/ForcedAlignment/{path.parent.name}/{name}.wdseg"
        times = STEP_S * np.arange(count_steps(duration_s))
        return Conversation(
            id=name,
            path=path,
            split=self.split_of.get(session, "train"),
            speaker=match["session"] + match["talker"],
            words=keep_words(
                read_wdseg(words) if words.exists() else [], duration_s, late, name=name, place=str(words)
            ),
            turns=None,
            times=times,
            values=np.tile(np.array(labels[name], np.float32), (len(times), 1)),
        )
