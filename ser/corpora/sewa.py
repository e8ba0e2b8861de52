"""Read the layout of AVEC 2017, in which SEWA was published.

    audio/Train_01.wav                      recordings, named Train_, Devel_ or Test_ and a number
    labels/Train_01.csv                     name;time;arousal;valence;liking, without a header
    turns/Train_01.csv                      start;end of the subject's turns; without the folder, only they speak
    speech2vec/segmentation/Train_01.csv    s0w0;start;end;word; or words/Train_01.csv with start,end,word
    transcriptions/Train_01.csv             start;end;'text', from which `ser align` makes the word times

Source: the layout as used by Tzirakis, Nguyen, Zafeiriou, Schuller, "Speech emotion recognition using semantic
information", ICASSP 2021. The corpus has a licence and was not at hand: this was tried on files made like it.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np

from ser.audio.find import find_audio, find_files
from ser.audio.reader import probe
from ser.corpora.conversation_corpus import ConversationCorpus
from ser.corpora.conversations import (
    Conversation,
    check_label_times,
    keep_words,
    warn_about,
)
from ser.errors import DataError, program, setting
from ser.features.steps import Span
from ser.text.annotations import read_numbers, read_rows, read_turns, refuse_unsorted
from ser.text.transcripts import read_transcript
from ser.text.words import Word, read_time, read_words

_SPLITS = {"Train": "train", "Devel": "validation", "Test": "test"}
_NAME = re.compile(r"(Train|Devel|Test)_.+")
_WORD_FOLDERS = ("speech2vec/segmentation", "words")


class SewaCorpus(ConversationCorpus):
    """Corpus in the layout of AVEC 2017, with its splits.

    Speakers are unknown: no file names them.

    Args: See ConversationCorpus; `root` holds audio/ and labels/.
    """

    label_fields = ("arousal", "valence", "liking")

    def conversations(self) -> list[Conversation]:
        """Read all recordings, sorted by name; only those of the test split may lack labels.

        Raises:
            DataError: Files are missing, malformed, or do not fit together.
        """
        audio = self._find_audio()
        labels = find_files(self._folder("labels"), ".csv")
        warn_about(
            "label files are left out, as they have no recording",
            [file.name for file in labels if file.stem not in audio],
        )
        late: list[str] = []
        found = self.read_each({name: partial(self._read, audio[name], late) for name in sorted(audio)})
        warn_about("words are left out, as they lie beyond the audio", late)
        warn_about("recordings have no words", [entry.id for entry in found if not entry.words])
        warn_about("recordings of test have no labels", [entry.id for entry in found if not len(entry.times)])
        return found

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        if not folder.is_dir():
            raise DataError(
                f"{folder}: no such folder. Give the folder that holds audio/ and labels/ with data.root=FOLDER."
            )
        return folder

    def _find_audio(self) -> dict[str, Path]:
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
                f"{self.root / 'audio'}: has no recording named like Train_01.wav, Devel_01.wav or Test_01.wav. "
                "Name each one by its split and a number."
            )
        warn_about(
            "recordings are left out, as their names do not begin with Train_, Devel_ or Test_",
            [file.name for file in files if not _NAME.fullmatch(file.stem)],
        )
        return known

    def _read(self, path: Path, late: list[str]) -> Conversation:
        name, duration_s = path.stem, probe(path).duration_s
        split = _SPLITS[name.partition("_")[0]]
        times, values = self._read_labels(name, split, duration_s)
        return Conversation(
            id=name,
            path=path,
            split=split,
            speaker=None,
            words=keep_words(
                self._read_words(path), duration_s, late, name=name, place=f"{self.root}, words of {name}"
            ),
            turns=self._read_turns(name, duration_s),
            times=times,
            values=values,
        )

    def _read_labels(self, name: str, split: str, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
        path = self.root / "labels" / f"{name}.csv"
        places, times, values = [], [], []
        if not path.exists() and split != "test":
            raise DataError(
                f"{path}: no such file, but {name} is for {split}. Add its labels, or leave out the recording."
            )
        for place, row in read_rows(path, ";") if path.exists() else ():
            if len(row) != 2 + len(self.label_fields):
                expected = ";".join(["name", "time", *self.label_fields])
                raise DataError(f"{place}: has {len(row)} values, expected {expected}. Correct it.")
            if (other := row[0].strip("'\"")) != name:
                raise DataError(
                    f"{place}: is a label of {other!r}, expected {name!r}. Give the labels of this recording."
                )
            places.append(place)
            times.append(read_time(place, row[1]))
            values.append(read_numbers(place, row[2:]))
        refuse_unsorted(places, times)
        check_label_times(np.array(times), duration_s, place=str(path))
        labels = np.array(values, np.float32).reshape(len(times), len(self.label_fields))
        if split != "test" and np.isnan(labels).all():
            raise DataError(
                f"{path}: has no label, but {name} is for {split}. Add some, or leave out the recording."
            )
        return np.array(times), labels

    def _read_turns(self, name: str, duration_s: float) -> tuple[Span, ...] | None:
        folder = self.root / "turns"
        if not folder.is_dir():
            return None
        path = folder / f"{name}.csv"
        if not path.exists():
            raise DataError(
                f"{path}: no such file. Add the turns of {name}, or remove the folder if only the subject speaks."
            )
        return read_turns(path, duration_s)

    def _read_words(self, audio: Path) -> list[Word]:
        name = f"{audio.stem}.csv"
        folders = [self.root / folder for folder in _WORD_FOLDERS]
        for folder in folders:
            if (folder / name).exists():
                return read_words(folder / name)
        transcript = self.root / "transcriptions" / name
        if not transcript.exists():
            return []
        read_transcript(transcript)  # refuses one without words, which cannot be aligned
        pair, output = (audio, transcript), folders[0] / name
        if not any(folder.is_dir() for folder in folders):
            pair, output = (self.root / "audio", self.root / "transcriptions"), folders[0]
        settings = [
            setting("audio", str(pair[0])),
            setting("transcript", str(pair[1])),
            setting("output", str(output)),
        ]
        raise DataError(
            f"{output}: does not exist, so that words have no times. "
            f"Run: {program('ser')} align {' '.join(settings)} layout=segmentation language=de"
        )
