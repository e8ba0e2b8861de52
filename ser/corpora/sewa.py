"""Read the layout of AVEC 2017, in which SEWA was published.

    audio/Train_01.wav                           recordings, named Train_, Devel_ or Test_ and a number
    labels/Train_01.csv                          name;time;arousal;valence;liking, without a header
    turns/Train_01.csv                           start;end of the subject's turns; the folder is optional
    speech2vec/segmentation/Train_01.csv         s0w0;start;end;word, or words/Train_01.csv with start,end,word
    transcriptions/Train_01.csv                  start;end;'text', from which `ser align` makes the word times

Source: the layout as used by Tzirakis, Nguyen, Zafeiriou, Schuller, "Speech emotion recognition using semantic
information", ICASSP 2021. The corpus itself has a licence, and was not at hand: the reader was tried on files made
like it.
"""

import re
from pathlib import Path

import numpy as np

from ser.audio.find import find_audio, find_files
from ser.corpora.conversation_corpus import ConversationCorpus
from ser.corpora.conversations import (
    Conversation,
    duration_of,
    read_numbers,
    read_table,
    read_turns,
    refuse_unsorted,
    warn_about,
    words_inside,
)
from ser.errors import DataError, program, setting
from ser.text.transcripts import read_transcript
from ser.text.words import Word, read_time, read_words

_SPLITS = {"Train": "train", "Devel": "validation", "Test": "test"}
_NAME = re.compile(r"(Train|Devel|Test)_.+")
_WORD_FOLDERS = ("speech2vec/segmentation", "words")


class SewaCorpus(ConversationCorpus):
    """Corpus in the layout of AVEC 2017, with its splits.

    Args: See ConversationCorpus; `root` holds audio/ and labels/.
    """

    label_fields = ("arousal", "valence", "liking")

    def conversations(self) -> list[Conversation]:
        """Read all recordings; only those of the test split may lack labels.

        Raises:
            DataError: Files are missing, malformed, or do not fit together.
        """
        audio = self._find_audio()
        warn_about(
            "label files have no recording",
            [
                file.name
                for file in find_files(self._folder("labels"), ".csv")
                if file.stem not in {path.stem for path in audio}
            ],
        )
        self._late_words: list[str] = []
        found = [self._read(path) for path in audio]
        warn_about("words lie beyond the audio and are left out", self._late_words)
        warn_about(
            "recordings have no words",
            [conversation.id for conversation in found if not conversation.words],
        )
        return found

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        if not folder.is_dir():
            raise DataError(
                f"{folder}: no such folder. Give the folder that holds audio/ and labels/ with data.root=FOLDER."
            )
        return folder

    def _find_audio(self) -> list[Path]:
        files = find_audio(self._folder("audio"))
        known: dict[str, Path] = {}
        for file in files:
            if _NAME.fullmatch(file.stem):
                if file.stem in known:
                    raise DataError(
                        f"{file}: {known[file.stem]} is a recording of the same name. Remove one of them."
                    )
                known[file.stem] = file
        if not known:
            raise DataError(
                f"{self.root / 'audio'}: has no recording named as Train_01.wav, Devel_01.wav or Test_01.wav. "
                "Name each one by its split and a number."
            )
        warn_about(
            "recordings are of no split and left out, as their names do not begin with Train_, Devel_ or Test_",
            [file.name for file in files if file not in known.values()],
        )
        return [known[name] for name in sorted(known)]

    def _read(self, path: Path) -> Conversation:
        name, duration_s = path.stem, duration_of(path)
        split = _SPLITS[name.partition("_")[0]]
        times, values = self._read_labels(name, split)
        turns = self.root / "turns"
        words = self._read_words(name)
        inside = words_inside(words, duration_s)
        self._late_words += [f"{name} {word.text!r}" for word in words[len(inside) :]]
        return Conversation(
            id=name,
            path=path,
            split=split,
            speaker=None,
            words=inside,
            turns=read_turns(turns / f"{name}.csv", duration_s) if turns.is_dir() else None,
            times=times,
            values=values,
        )

    def _read_labels(self, name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
        path = self.root / "labels" / f"{name}.csv"
        if not path.exists():
            if split != "test":
                raise DataError(
                    f"{path}: no such file, but {name} is for {split}. Add its labels, or move the recording away."
                )
            return np.empty(0), np.empty((0, len(self.label_fields)), np.float32)
        lines, times, values = [], [], []
        for number, row in read_table(path, ";"):
            place = f"{path}, line {number}"
            if len(row) != 2 + len(self.label_fields):
                expected = ";".join(["name", "time", *self.label_fields])
                raise DataError(f"{place}: has {len(row)} values, expected {expected}. Correct it.")
            if (other := row[0].strip().strip("'\"")) != name:
                raise DataError(
                    f"{place}: is a label of {other!r}, expected {name!r}. Give the labels of this recording."
                )
            lines.append(number)
            times.append(read_time(place, row[1]))
            values.append(read_numbers(place, row[2:]))
        refuse_unsorted(path, lines, times)
        return np.array(times), np.array(values, np.float32)

    def _read_words(self, name: str) -> list[Word]:
        folders = [self.root / folder for folder in _WORD_FOLDERS if (self.root / folder).is_dir()]
        for folder in folders:
            if (folder / f"{name}.csv").exists():
                return read_words(folder / f"{name}.csv")
        transcript = self.root / "transcriptions" / f"{name}.csv"
        if not transcript.exists():
            return []
        read_transcript(transcript)  # one without words cannot be aligned
        folder = self.root / _WORD_FOLDERS[0]
        command = " ".join(
            [
                f"{program('ser')} align",
                setting("audio", str(self.root / "audio")),
                setting("transcript", str(self.root / "transcriptions")),
                setting("output", str(folder)),
                "layout=segmentation language=de overwrite=true",
            ]
        )
        raise DataError(
            f"{folder / name}.csv: no such file, so the words of {name} have no times. Run: {command}"
        )
