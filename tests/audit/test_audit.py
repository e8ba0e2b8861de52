"""The audit of a corpus: its faults, differences of speakers, files and the table that is read back."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser.audio.reader import read_audio
from ser.audit.confounding import associate_all
from ser.audit.measures import measure
from ser.audit.recordings import Audit, audit, flag_lengths
from ser.audit.report import describe_faults, describe_pairs, measure_table, write_audit
from ser.config.settings import Describe
from ser.data.manifest import Manifest, Utterance
from ser.data.manifest_io import read_manifest
from ser.errors import ConfigError
from ser.scripts.describe import refuse_output, write_table
from tests.audit.faults import COPIES, FAULTS
from tests.audit.speech import RATE, speech
from tests.commands import run


@pytest.fixture
def corpus(tmp_path: Path) -> Manifest:
    """Two speakers and two emotions; speaker s1 is noisy, one file is a copy, one is damaged."""
    utterances = []
    random = np.random.default_rng(0)
    for index in range(16):
        waveform, speaker = speech(index % 15), f"s{index % 2}"
        if index % 2:
            waveform = FAULTS["noisy"](waveform, RATE, random)
        path = tmp_path / "audio" / speaker / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, speech(0) if index == 14 else waveform, RATE)
        emotion = "anger" if index < 8 else "joy"
        utterances.append(
            Utterance(str(index), path, speaker=speaker, labels={"emotion": emotion}, text="a b")
        )
    utterances[15].path.write_bytes(b"RIFF of nothing")
    return Manifest(tuple(utterances), str(tmp_path))


@pytest.fixture
def found(corpus: Manifest) -> Audit:
    return audit(corpus, [str(each.labels["emotion"]) for each in corpus])


def test_faults_are_counted_and_placed(found: Audit) -> None:
    lines = describe_faults(found)
    assert lines[0] == "1 of 16 recordings cannot be read: 15"
    assert lines[1] == "7 of 16 recordings are noisy (speaker s1: 7 of 8): 1, 3, 5, ..."
    assert lines[2] == "1 of 16 recordings are equal to an earlier one: 14"
    assert len(lines) == 3


def test_copies_across_labels_and_splits_are_named(found: Audit) -> None:
    lines = describe_pairs(found, {"0": "train", "14": "test"})
    assert [line.rpartition("different ")[2] for line in lines] == ["labels.", "splits."]


def test_speakers_that_differ_are_shown_and_classes_that_do_not_are_not(found: Audit) -> None:
    header, rows = measure_table(found)
    snr = dict(zip(header, next(row for row in rows if row[0] == "SNR, dB"), strict=True))
    assert snr["by label"] == "alike"
    assert snr["by speaker"].endswith("(s0)")
    assert "(s1) to" in snr["by speaker"]


def test_files_hold_a_row_for_each_recording(found: Audit, corpus: Manifest, tmp_path: Path) -> None:
    write_audit(tmp_path, found, associate_all(corpus, [each.label for each in found.recordings]))
    with (tmp_path / "audit.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert list(rows) == [str(index) for index in range(16)]
    assert (rows["14"]["flags"], rows["14"]["equal_to"]) == ("duplicate", "0")
    assert float(rows["0"]["seconds"]) == 2.5
    assert "15.wav" in rows["15"]["error"]
    summary = json.loads((tmp_path / "audit.json").read_text())
    assert summary["flags"]["duplicate"] == ["14"]
    assert [each["kind"] for each in summary["associations"]] == ["speaker"]


def test_lengths_far_from_the_median_are_unusual() -> None:
    lengths = np.array([2.0, 2.1, 1.9, 2.2, 2.0, 1.8, 0.4, 12.0, 2.1])
    assert flag_lengths(lengths) == ["", "", "", "", "", "", "short", "long", ""]


@pytest.mark.parametrize("inside", [True, False])
def test_the_written_table_is_read_back_equal(
    corpus: Manifest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, inside: bool
) -> None:
    first = corpus.utterances[0]
    segment = Utterance("cut", first.path, start=0.5, end=1.25, speaker="s0", labels={"emotion": "joy"})
    corpus = Manifest((*corpus.utterances, segment), corpus.source)
    path = (tmp_path if inside else tmp_path_factory.mktemp("elsewhere")) / "table.csv"
    command = write_table(path, corpus, ["emotion"])
    assert ("data.root=" in command) is not inside
    command = write_table(path, corpus, ["valence", "activation"], declared=["text"])
    assert "data.fields=[valence,activation]" in command.replace("'", "")
    assert "data.declared_leaks=[text]" in command.replace("'", "")
    back = read_manifest(path, root=None if inside else tmp_path / "audio")
    assert [(u.id, u.speaker, u.labels, u.text, u.start, u.end) for u in back] == [
        (u.id, u.speaker, u.labels, u.text, u.start, u.end) for u in corpus
    ]
    assert [u.path.resolve() for u in back] == [u.path.resolve() for u in corpus]


def test_a_table_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "table.csv").touch()
    settings = Describe.__new__(Describe)
    for name, output, overwrite in (("exists", "table.csv", False), ("no", "table.txt", False)):
        object.__setattr__(settings, "output", str(tmp_path / output))
        object.__setattr__(settings, "overwrite", overwrite)
        with pytest.raises(ConfigError, match="overwrite=true" if name == "exists" else r"is no \.csv"):
            refuse_output(settings)


def test_describe_checks_the_audio_and_writes_a_table(corpus: Manifest, tmp_path: Path) -> None:
    for each in corpus.utterances[-2:]:
        each.path.unlink()
    words = ("data=folder", "data.root=audio", "split=random", "hydra.run.dir=look", "output=table.csv")
    shown = run("ser", "describe", *words, cwd=tmp_path).stdout
    assert "7 of 14 recordings are noisy" in shown
    assert "data=manifest data.path=table.csv data.label=label split=random" in shown
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 15
    assert (tmp_path / "look" / "audit.csv").is_file()


@pytest.mark.shared
@pytest.mark.parametrize(("name", "pattern", "step"), [("emodb", "*.flac", 7), ("ravdess", "*/*.flac", 29)])
def test_planted_faults_in_real_speech_are_found(shared: Path, name: str, pattern: str, step: int) -> None:
    files = sorted((shared / "data" / name).glob(pattern))[::step]
    if not files:
        pytest.skip(f"no {name} there")
    random = np.random.default_rng(0)
    clean = [read_audio(file, RATE) for file in files]
    assert np.mean([bool(measure(waveform, RATE)[0].flags()) for waveform in clean]) <= 0.02
    for flag, plant in FAULTS.items():
        hits = [flag in measure(plant(waveform, RATE, random), RATE)[0].flags() for waveform in clean]
        assert np.mean(hits) >= 0.95, flag


@pytest.mark.shared
def test_planted_copies_of_real_speech_are_found(shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "data" / "ravdess").glob("Actor_0[1-2]/*.flac"))
    if not files:
        pytest.skip("no ravdess there")
    random = np.random.default_rng(0)
    utterances = [Utterance(file.stem, file) for file in files]
    planted = {}
    for index, file in enumerate(files[::6]):
        kind = [*COPIES][index % len(COPIES)]
        path = tmp_path / f"{file.stem}.wav"
        soundfile.write(path, COPIES[kind](read_audio(file, RATE), RATE, random), RATE)
        planted[f"{file.stem}_{kind}"] = file.stem
        utterances.append(Utterance(f"{file.stem}_{kind}", path))
    found = audit(Manifest(tuple(utterances), "shared"), [None] * len(utterances))
    pairs = {(utterances[pair.second].id, utterances[pair.first].id) for pair in found.pairs}
    assert len(pairs & {*planted.items()}) >= 0.95 * len(planted)
    assert len(pairs - {*planted.items()}) <= 0.02 * len(utterances)
