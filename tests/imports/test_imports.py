"""Data that other toolkits wrote, by their own packages where they have one, is read back equal."""

import io
import json
import logging
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser.audio.reader import read_audio
from ser.corpora import ImportedCorpus, Manifest
from ser.corpora.imported import detect_format
from ser.errors import DataError
from ser.imports.columns import make_utterance
from ser.splits import Default

RATE = 8_000
WAVES = {name: np.random.default_rng(seed).uniform(-0.5, 0.5, RATE) for seed, name in enumerate("abc")}
SPEAKERS = {"a": "s1", "b": "s2", "c": "s1"}
EMOTIONS = {"a": "anger", "b": "joy", "c": "anger"}


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    for name, wave in WAVES.items():
        (tmp_path / "audio").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "audio" / f"{name}.wav", wave, RATE, subtype="FLOAT")
    return tmp_path / "audio"


def read(path: Path, **settings: object) -> Manifest:
    corpus = ImportedCorpus(str(path), split=Default(), label="emotion", **settings)  # type: ignore[arg-type]
    return corpus.utterances()


def facts(manifest: Manifest) -> dict[str, tuple[object, ...]]:
    return {Path(u.id).name: (u.speaker, u.labels.get("emotion"), u.split, u.start, u.end) for u in manifest}


def sounds_equal(manifest: Manifest) -> bool:
    return all(
        np.allclose(read_audio(u.path, RATE, start=u.start, end=u.end), WAVES[Path(u.id).name], atol=1e-4)
        for u in manifest
    )


@pytest.mark.parametrize("storage", ["csv", "parquet"])
def test_a_database_of_audformat_is_joined_from_its_tables(audio: Path, storage: str) -> None:
    audformat = pytest.importorskip("audformat")
    db = audformat.Database("mine", languages=["de"])
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "joy"])
    db.schemes["speaker"] = audformat.Scheme(labels={"s1": {"gender": "female"}, "s2": {"gender": "male"}})
    db.schemes["arousal"] = audformat.Scheme("float")
    db.splits["train"] = audformat.Split("train")
    db.splits["test"] = audformat.Split("test")
    for split, names in (("train", "ab"), ("test", "c")):
        files = audformat.filewise_index([f"{name}.wav" for name in names])
        table = db[f"emotion.{split}"] = audformat.Table(files, split_id=split)
        table["emotion"] = audformat.Column(scheme_id="emotion")
        table["emotion"].set([EMOTIONS[name] for name in names])
    files = audformat.filewise_index([f"{name}.wav" for name in "abc"])
    db["files"] = audformat.Table(files)
    db["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["files"]["speaker"].set([SPEAKERS[name] for name in "abc"])
    segments = audformat.segmented_index(["c.wav", "c.wav"], [0, 0.25], [0.25, 1.0])
    db["segments"] = audformat.Table(segments)
    db["segments"]["arousal"] = audformat.Column(scheme_id="arousal")
    db["segments"]["arousal"].set([0.5, -0.25])
    db.save(audio, storage_format=storage)
    manifest = read(audio)
    assert facts(manifest) == {
        "a": ("s1", "anger", "train", 0.0, None),
        "b": ("s2", "joy", "train", 0.0, None),
        "c#0-0.25": ("s1", "anger", "test", 0.0, 0.25),
        "c#0.25-1": ("s1", "anger", "test", 0.25, 1.0),
    }
    assert [float(u.labels["arousal"]) for u in manifest if "arousal" in u.labels] == [0.5, -0.25]
    assert [u.labels["gender"] for u in manifest] == ["female", "male", "female", "female"]
    assert {u.language for u in manifest} == {"deu"}


@pytest.mark.parametrize("storage", ["csv", "parquet"])
def test_audformat_tables_of_speakers_are_joined_and_others_named(
    tmp_path: Path, storage: str, caplog: pytest.LogCaptureFixture
) -> None:
    audformat = pytest.importorskip("audformat")
    pandas = pytest.importorskip("pandas")
    db = audformat.Database("mine", languages=["de", "en"])
    for name, key, column, values in (
        ("people", "who", "gender", ["female", "male"]),
        ("rooms", "room", "size", [3, 4]),
    ):
        table = db[name] = audformat.MiscTable(pandas.Index(["s1", "s2"], name=key))
        table[column] = audformat.Column()
        table[column].set(values)
    db.schemes["speaker"] = audformat.Scheme("str", labels="people")
    db.schemes["emotion"] = audformat.Scheme("str", labels={"joy": "felt", "anger": "felt"})
    db["files"] = audformat.Table(audformat.filewise_index(["a.wav", "b.wav"]))
    for column, values in (("speaker", ["s2", "s1"]), ("emotion", ["joy", "anger"])):
        db["files"][column] = audformat.Column(scheme_id=column)
        db["files"][column].set(values)
    db.save(tmp_path, storage_format=storage)
    with caplog.at_level(logging.INFO):
        manifest = read(tmp_path)
    assert [(u.speaker, u.language, dict(u.labels)) for u in manifest] == [
        ("s2", None, {"emotion": "joy", "gender": "male"}),
        ("s1", None, {"emotion": "anger", "gender": "female"}),
    ]
    assert "1 tables describe no column of files or segments, and are not read: rooms" in caplog.text
    assert "has the languages deu, eng; no header says of which file" in caplog.text


@pytest.mark.parametrize("labels", ["{p1: {gender: female}, p2: {gender: male, age: 30}}", "people"])
def test_facts_of_audformat_about_listeners_are_kept_apart(
    tmp_path: Path, labels: str, caplog: pytest.LogCaptureFixture
) -> None:
    columns = "{listener: {scheme_id: person}, addressee: {scheme_id: person}, speaker: {scheme_id: person}}"
    (tmp_path / "db.yaml").write_text(
        f"tables: {{files: {{columns: {columns}}}}}\nschemes: {{person: {{labels: {labels}}}}}\n"
        "misc_tables: {people: {}}\n"
    )
    (tmp_path / "db.people.csv").write_text("person,gender,age\np1,female,\np2,male,30\n")
    (tmp_path / "db.files.csv").write_text(
        "file,listener,addressee,speaker\na.wav,p2,p1,p1\nb.wav,p1,,p2\nc.wav,p1,,\n"
    )
    manifest = read(tmp_path)
    genders = [{key: label for key, label in u.labels.items() if key.endswith("gender")} for u in manifest]
    assert genders == [
        {"gender": "female", "listener_gender": "male", "addressee_gender": "female"},
        {"gender": "male", "listener_gender": "female"},
        {"listener_gender": "female"},
    ]
    assert manifest.utterances[0].labels["listener_age"] in (30, "30")
    assert "differ between tables" not in caplog.text


@pytest.mark.parametrize("kind", ["disk", "parquet"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_dataset_of_hugging_face_is_read_with_its_audio(
    audio: Path, tmp_path: Path, kind: str, inside: bool
) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
            "emotion": datasets.ClassLabel(names=["anger", "joy"]),
            "speaker_id": datasets.Value("string"),
            "vector": datasets.Sequence(datasets.Value("float32")),
        }
    )

    def rows(names: str) -> list[dict[str, object]]:
        return [
            {
                "audio": {
                    "bytes": (audio / f"{name}.wav").read_bytes() if inside else None,
                    "path": f"{name}.wav" if inside else str(audio / f"{name}.wav"),
                },
                "emotion": ["anger", "joy"].index(EMOTIONS[name]),
                "speaker_id": SPEAKERS[name],
                "vector": [1.0, 2.0],
            }
            for name in names
        ]

    saved = datasets.DatasetDict(
        {
            split: datasets.Dataset.from_list(rows(names), features=features)
            for split, names in (("train", "ab"), ("test", "c"))
        }
    )
    folder = tmp_path / "saved"
    if kind == "disk":
        saved.save_to_disk(folder)
    else:
        folder.mkdir()
        for split, own in saved.items():
            own.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    manifest = read(folder, cache_dir=str(tmp_path / "cache"))
    assert facts(manifest) == {
        "a": ("s1", "anger", "train", 0.0, None),
        "b": ("s2", "joy", "train", 0.0, None),
        "c": ("s1", "anger", "test", 0.0, None),
    }
    assert sounds_equal(manifest)
    assert all(set(u.labels) == {"emotion"} for u in manifest)
    assert [u.path for u in read(folder, cache_dir=str(tmp_path / "cache"))] == [u.path for u in manifest]


def test_a_folder_of_kaldi_that_lhotse_wrote_is_read(audio: Path, tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    kaldi = pytest.importorskip("lhotse.kaldi")
    recordings = lhotse.RecordingSet.from_recordings(
        lhotse.Recording.from_file(audio / f"{name}.wav") for name in "abc"
    )
    supervisions = lhotse.SupervisionSet.from_segments(
        lhotse.SupervisionSegment(
            id=f"{SPEAKERS[name]}-{name}",
            recording_id=name,
            start=0.25,
            duration=0.5,
            channel=0,
            text=f"words of {name}",
            speaker=SPEAKERS[name],
            language="en",
        )
        for name in "abc"
    )
    folder = tmp_path / "data" / "dev"
    folder.mkdir(parents=True)
    kaldi.export_to_kaldi(recordings, supervisions, folder)
    lines = [f"{SPEAKERS[name]}-{name} {EMOTIONS[name]}" for name in "abc"]
    (folder / "utt2emotion").write_text("\n".join(lines) + "\n")
    manifest = read(tmp_path / "data")
    assert facts(manifest) == {
        f"{SPEAKERS[name]}-{name}": (SPEAKERS[name], EMOTIONS[name], None, 0.25, 0.75) for name in "abc"
    }
    assert {u.text for u in manifest} == {f"words of {name}" for name in "abc"}
    first = manifest.utterances[0]
    expected = WAVES[first.id[-1]][RATE // 4 : 3 * RATE // 4]
    assert read_audio(first.path, RATE, start=first.start, end=first.end) == pytest.approx(expected, abs=1e-4)


def test_a_command_in_wav_scp_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_text("a sox a.sph -t wav - |\n")
    with pytest.raises(DataError, match=r"wav\.scp: a is the output of a command, which is not run here"):
        read(tmp_path)


def write_scp(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "wav.scp").write_text("u1 audio/u1.wav\n")


def test_copies_that_kaldi_made_are_skipped(tmp_path: Path) -> None:
    train = tmp_path / "train"
    write_scp(train, train / "split2" / "1", train / "split2utt" / "1", train / ".backup")
    assert [u.id for u in read(tmp_path)] == ["u1"]


def test_folders_of_kaldi_whose_names_hold_a_split_are_that_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("train_mine", "mine-test", "dev/clean", "train_dev", "extra"):
        write_scp(tmp_path / name)
        (tmp_path / name / "wav.scp").write_text(f"u1 {name}.wav\n")
    with caplog.at_level(logging.WARNING):
        manifest = read(tmp_path)
    assert {u.id: u.split for u in manifest} == {
        **{"train_mine/u1": "train", "mine-test/u1": "test", "clean/u1": "validation"},
        **{"train_dev/u1": None, "extra/u1": None},
    }
    assert "2 of 5 parts tell no split, such as train, dev or test: extra, train_dev" in caplog.text


def test_facts_about_speakers_of_kaldi_are_read_and_the_rest_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {
        **{"wav.scp": "u1 u1.wav\nu2 u2.wav\n", "spk2utt": "s1 u1\ns2 u2\n", "spk2gender": "s1 f\ns2 m\n"},
        **{"spk2lang": "s1 de\ns2 de\n", "utt2lang": "u2 en\n", "utt2emotion": "u1 joy\nu9 joy\n"},
        **{"reco2dur": "u1 1.0\n", "utt2dur": "u1 1.0\n"},
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with caplog.at_level(logging.INFO):
        manifest = read(tmp_path)
    assert [(u.speaker, u.language, dict(u.labels)) for u in manifest] == [
        ("s1", "de", {"emotion": "joy", "gender": "female"}),
        ("s2", "en", {"gender": "male"}),
    ]
    assert "1 lines of 'emotion' are of no utterance of the folder, the first of u9" in caplog.text
    assert "1 files are not read: reco2dur" in caplog.text


def test_missing_speakers_of_kaldi_are_written_into_its_file(tmp_path: Path) -> None:
    write_scp(tmp_path / "train")
    with pytest.raises(DataError, match="Write the speaker of each utterance into the file utt2spk, or"):
        Default().assign(read(tmp_path))
    (tmp_path / "train" / "utt2spk").write_text("u1 s1\n")
    assert [u.speaker for u in read(tmp_path)] == ["s1"]


def test_missing_speakers_of_columns_are_filled_in(tmp_path: Path) -> None:
    row = {"key": "u1", "wav": "u1.wav", "emo": "Angry"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="Fill in 'speaker', 'group' or 'split', or"):
        Default().assign(read(tmp_path / "train.jsonl"))


def test_speech_in_two_folders_of_kaldi_is_refused(tmp_path: Path) -> None:
    write_scp(tmp_path / "train", tmp_path / "train_hires")
    with pytest.raises(DataError, match=r"train_hires/u1 is speech that .*train has, too: audio/u1\.wav"):
        read(tmp_path)


@pytest.mark.usefixtures("audio")
def test_a_fold_of_emobox_is_read_with_its_splits(tmp_path: Path) -> None:
    fold = tmp_path / "data" / "mine" / "fold_1"
    fold.mkdir(parents=True)
    for split, names in (("train", "ab"), ("test", "c")):
        lines = [  # as in EmoBox's own files
            {
                **{"key": f"mine-{name}", "dataset": "mine", "wav": f"audio/{name}.wav", "type": "raw"},
                **{"sample_rate": RATE, "num_frame": 8000.0, "task": "category", "length": 1.0},
                **{"emo": EMOTIONS[name], "channel": 1},
            }
            for name in names
        ]
        text = "\n".join(map(json.dumps, lines))
        (fold / f"mine_{split}_fold_1.jsonl").write_text(text + "\n")
    manifest = read(fold, root=str(tmp_path))
    assert facts(manifest) == {
        "mine-a": (None, "anger", "train", 0.0, None),
        "mine-b": (None, "joy", "train", 0.0, None),
        "mine-c": (None, "anger", "test", 0.0, None),
    }
    assert all(u.path.is_file() for u in manifest)


def test_a_folder_of_no_known_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither db\.yaml \(audformat\), wav\.scp"):
        detect_format(tmp_path)
    with pytest.raises(DataError, match=r"nowhere: no such folder or file\. Check data\.path"):
        detect_format(tmp_path / "nowhere")


def test_a_dataset_without_audio_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    content = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["a"], "label": [1]}), content)
    (tmp_path / "train.parquet").write_bytes(content.getvalue())
    with pytest.raises(DataError, match=r"has no column of audio, only text, label"):
        read(tmp_path)


def test_class_minus_one_is_no_label_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    feature = {"names": ["anger", "joy"], "_type": "ClassLabel"}
    described = json.dumps({"info": {"features": {"emotion": feature}}})
    table = pyarrow.table({"path": ["a.wav", "b.wav", "c.wav"], "emotion": [1, -1, None]})
    parquet.write_table(table.replace_schema_metadata({"huggingface": described}), tmp_path / "a.parquet")
    with caplog.at_level(logging.WARNING):
        manifest = read(tmp_path)
    assert [u.labels for u in manifest] == [{"emotion": "joy"}, {}, {}]
    assert "1 of 3 rows have no label in 'emotion' (class -1)" in caplog.text


def test_columns_keep_unknown_splits_as_labels() -> None:
    columns = {"split": "test2", "subset": "A"}
    utterance = make_utterance("a", Path("a.wav"), columns, dropped=Counter())
    assert (utterance.split, utterance.labels) == (None, {"split_name": "test2", "subset": "A"})
    utterance = make_utterance("a", Path("a.wav"), {"subset": "A", "split": "dev"}, dropped=Counter())
    assert (utterance.split, utterance.labels) == ("validation", {"subset": "A"})


def test_columns_with_lists_are_counted_and_dates_kept() -> None:
    dropped: Counter[str] = Counter()
    columns = {"votes": ["joy"], "day": date(2026, 1, 2), "speaker": None}
    utterance = make_utterance("a", Path("a.wav"), columns, dropped=dropped)
    assert (dropped, utterance.labels) == ({"votes": 1}, {"day": "2026-01-02"})


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_damaged_table_is_refused(tmp_path: Path, name: str) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(DataError, match=rf"{name}: cannot be read as Parquet or Arrow \(ArrowInvalid: "):
        read(tmp_path)


def test_a_single_parquet_file_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"path": ["a.wav"]}), tmp_path / "train.parquet")
    (only,) = read(tmp_path / "train.parquet")
    assert (only.id, only.path, only.split) == ("a", tmp_path / "a.wav", "train")


@pytest.mark.parametrize(
    "header", ["- a", "tables: [a]", "tables: {a: b}", "{", "tables: {a: {split_id: []}}"]
)
def test_a_malformed_header_of_audformat_is_refused(tmp_path: Path, header: str) -> None:
    (tmp_path / "db.yaml").write_text(header)
    with pytest.raises(DataError, match=r"db\.yaml: is no header of audformat"):
        read(tmp_path)


def test_audformat_reads_empty_tables_and_zero_days(tmp_path: Path) -> None:
    (tmp_path / "db.yaml").write_text("tables: {a: {split_id: x}, b: }\nsplits: {x: }")
    (tmp_path / "db.a.csv").write_text("file,start,end\na.wav,0 days,0 days 00:00:01.5\n")
    (tmp_path / "db.b.csv").write_text("file,emotion\n")
    (only,) = read(tmp_path)
    assert (only.start, only.end, only.labels) == (0.0, 1.5, {"split_name": "x"})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("emotion\njoy", "'a', row 1: has no 'file'"),
        ("file\na.wav,b", "row 1: has no 'file', or too many cells"),
        ("file,start,end\na.wav,x,1", "row 1: has the times x and 1"),
    ],
)
def test_a_malformed_table_of_audformat_is_refused(tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "db.yaml").write_text("tables: {a: {}}")
    (tmp_path / "db.a.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_a_wav_of_emobox_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"key": "a", "wav": 5}')
    with pytest.raises(DataError, match="line 1: is no object with 'key' and the path 'wav'"):
        read(tmp_path)
