"""Values over time of recordings with words: from the command line, in files and folders, and in Python."""

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ser
from ser.alignment.uniform import Uniform
from ser.batch import Padded
from ser.checkpoints import checkpoint
from ser.config.settings import Predict
from ser.data.manifest import Manifest, Utterance
from ser.errors import ConfigError, DataError
from ser.features.steps import STEP_S, StepLogMel, index_spans, split_roles
from ser.inference import curves, inputs
from ser.inference.conversation_files import ConversationFiles
from ser.text.word_sources import LookupTable
from ser.text.word_vectors import WordVectors
from ser.text.words import Word
from tests.commands import run

soundfile = pytest.importorskip("soundfile")

RATE = 8_000
FIELDS = ("arousal", "valence", "liking")
SPEECH = [(0.0, 0.45, "good"), (0.5, 0.9, "day"), (1.2, 1.9, "zebra")]
LOG_MEL = {"_target_": "ser.features.StepLogMel", "sample_rate": RATE, "num_mel_bins": 6, "floor": 1e-6}


def write_run(
    folder: Path, *, words: bool = True, seed: int = 0, vectors: Path | None = None, **target: Any
) -> Path:
    """A run's folder with a checkpoint of random weights, that predicts values over time."""
    torch.manual_seed(seed)
    table = LookupTable(WordVectors(["good", "bad", "day"], torch.randn(3, 5)), vectors)
    dim = 24 + 5 * words
    fusion = {"text_dim": 5, "fusion": "attention"} if words else {"text_dim": 0, "fusion": "audio_only"}
    config = {
        "features": LOG_MEL,
        "frontend": {"_target_": "ser.models.Frontend", "delta_scale": 0.0},
        "model": {"_target_": "ser.models.FusionEncoder", "dim": 8, "hidden_dim": 8, **fusion},
        "pooling": {"_target_": "ser.models.EveryStep"},
        "head": {"_target_": "ser.models.Head", "normalize": "none"},
        "target": {"_target_": "ser.targets.StepRegression", "fields": [*FIELDS], **target},
    }
    description = checkpoint.describe(config, feature_dim=dim, words=table.state() if words else None)
    model, _ = checkpoint.assemble(description)
    model.frontend.fit([torch.randn(50, dim) * 3 - 3])
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"ser": description, "state_dict": weights}, folder / "checkpoints" / "best.ckpt")
    return folder


def write_words(path: Path, words: Sequence[tuple[float, float, str]] = SPEECH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("start,end,word\n" + "".join(f"{start},{end},{word}\n" for start, end, word in words))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("curves") / "RUN")


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings of 2.05 s, and of 3 s below it."""
    folder = tmp_path_factory.mktemp("audio")
    generator = np.random.default_rng(0)
    for name, seconds in (("a.wav", 2.05), ("more/b.wav", 3.0)):
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(
            folder / name, 0.1 * generator.normal(size=round(RATE * seconds)), RATE, subtype="FLOAT"
        )
    return folder


def predict(trained: Path, *arguments: str, cwd: Path, code: int = 0) -> str:
    told = run("predict.py", f"ckpt={trained}", *arguments, cwd=cwd, code=code)
    return told.stdout if code == 0 else told.stderr


def read_table(path: Path) -> tuple[list[str], np.ndarray]:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, np.array(rows, float)


def expected_values(trained: Path, path: Path, words: Any, turns: Any) -> np.ndarray:
    """The outputs of the model for steps of audio and word that are put together here."""
    loaded = checkpoint.load(trained / "checkpoints" / "best.ckpt")
    waveform = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
    roles = split_roles(waveform, turns, RATE)[None]
    features = StepLogMel(sample_rate=RATE, num_mel_bins=6, floor=1e-6)(
        Padded(roles, torch.tensor([len(waveform)]))
    )
    frames = features.values[0]
    index = index_spans([word[:2] for word in words], len(frames))
    assert loaded.words is not None
    vectors = loaded.words.vectors.lookup([word[2] for word in words])[0]  # type: ignore[attr-defined]
    text = torch.zeros(len(frames), 5)
    text[index >= 0] = vectors[index[index >= 0]]
    with torch.inference_mode():
        rows = loaded.model(Padded(torch.cat([frames, text], 1)[None], torch.tensor([len(frames)])))
    return loaded.target.scores(rows).numpy()


def test_a_recording_with_words_gets_a_row_every_tenth_second(
    trained: Path, audio: Path, tmp_path: Path
) -> None:
    (tmp_path / "turns.csv").write_text("0.0;0.9\n1.5;2.0\n")
    words = write_words(tmp_path / "words.csv")
    told = predict(
        *(trained, f"input={audio / 'a.wav'}", f"words={words}", "turns=turns.csv", "output=a.csv"),
        cwd=tmp_path,
    )
    header, table = read_table(tmp_path / "a.csv")
    assert header == ["time", *FIELDS]
    np.testing.assert_allclose(table[:, 0], STEP_S * np.arange(21), atol=1e-9)
    expected = expected_values(trained, audio / "a.wav", SPEECH, [(0.0, 0.9), (1.5, 2.0)])
    np.testing.assert_allclose(table[:, 1:], expected, atol=2e-5)
    assert "1 of 3 words have no vector, 33.3 %" in told
    assert "'zebra' (1)" in told
    assert (tmp_path / "a.png").is_file()


def test_words_and_turns_change_the_values(trained: Path, audio: Path) -> None:
    model = ser.load(trained)
    answers = [
        model.predict(audio / "a.wav", words=words, turns=turns).values["valence"]
        for words, turns in ((SPEECH, None), (SPEECH[:1], None), (SPEECH, [(0.0, 1.0)]))
    ]
    assert np.abs(answers[0] - answers[1])[12:].max() > 1e-3
    assert np.abs(answers[0] - answers[2]).max() > 1e-3


def test_a_model_of_words_warns_where_none_are_given(
    trained: Path, audio: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ser.load(trained).predict(audio / "a.wav")
    np.testing.assert_allclose(
        np.stack([*answer.values.values()], 1), expected_values(trained, audio / "a.wav", [], None), atol=2e-5
    )
    assert "no words are given, so zeros stand for them" in caplog.text


def test_a_transcript_is_aligned_first(trained: Path, audio: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Good day, zebra!")
    told = predict(trained, f"input={audio / 'a.wav'}", "transcript=a.txt", "align=uniform", cwd=tmp_path)
    third = 2.05 / 3
    words = [
        (index * third, (index + 1) * third, word) for index, word in enumerate(("good", "day", "zebra"))
    ]
    _, table = read_table(tmp_path / "predictions_a.csv")
    np.testing.assert_allclose(
        table[:, 1:], expected_values(trained, audio / "a.wav", words, None), atol=2e-5
    )
    assert "1 recordings, 3 words; 1 rows by uniform." in told


def test_a_folder_gets_a_folder_of_tables(trained: Path, audio: Path, tmp_path: Path) -> None:
    write_words(tmp_path / "words" / "more" / "b.csv")
    write_words(tmp_path / "words" / "c.csv")
    told = predict(trained, f"input={audio}", "words=words", "output=out", cwd=tmp_path)
    assert "1 recordings have no file in words=words, so their words are zeros: a" in told
    assert "1 files in words=words are of no recording: c" in told
    assert "2 recordings: out, a .csv and a .png of each" in told
    for name, words, rows in (("a", [], 21), ("more/b", SPEECH, 30)):
        _, table = read_table(tmp_path / "out" / f"{name}.csv")
        assert table.shape == (rows, 4)
        expected = expected_values(trained, audio / f"{name}.wav", words, None)
        np.testing.assert_allclose(table[:, 1:], expected, atol=2e-5)
        assert (tmp_path / "out" / f"{name}.png").is_file()


def test_vectors_of_new_words_are_looked_up_in_their_file(audio: Path, tmp_path: Path) -> None:
    (tmp_path / "words.vec").write_text("2 5\nzebra 1 0 0 0 0\nhorse 0 1 0 0 0\n")
    model = ser.load(write_run(tmp_path / "RUN", vectors=tmp_path / "words.vec"))
    words = [Word(text, start, end) for start, end, text in SPEECH]
    assert [*curves.describe_words(model.models, [words])] != ["Words: all 3 words have a vector."]
    model.predict(audio / "a.wav", words=words)
    assert [*curves.describe_words(model.models, [words])] == ["Words: all 3 words have a vector."]


def test_several_models_look_words_up_in_tables_of_their_own(
    trained: Path, audio: Path, tmp_path: Path
) -> None:
    other = write_run(tmp_path / "other", seed=1)
    alone = [ser.load(path).predict(audio / "a.wav", words=SPEECH).values for path in (trained, other)]
    both = ser.load([trained, other]).predict(audio / "a.wav", words=SPEECH).values
    for field in FIELDS:
        np.testing.assert_allclose(both[field], (alone[0][field] + alone[1][field]) / 2, atol=1e-5)


def test_values_are_smoothed_and_delayed_as_the_target_says(audio: Path, tmp_path: Path) -> None:
    plain = write_run(tmp_path / "plain")
    delayed = write_run(tmp_path / "delayed", delay_s=0.3)
    values = [
        ser.load(path).predict(audio / "a.wav", words=SPEECH).values["arousal"] for path in (plain, delayed)
    ]
    np.testing.assert_allclose(values[1][3:], values[0][:-3], atol=1e-6)


def test_python_returns_arrays_and_their_times(trained: Path, audio: Path, tmp_path: Path) -> None:
    model = ser.load(trained)
    answers = model.predict(
        [audio / "a.wav", audio / "more" / "b.wav"], words=[write_words(tmp_path / "w.csv"), None]
    )
    assert [answer.times.shape for answer in answers] == [(21,), (30,)]  # type: ignore[union-attr]
    assert [*answers[0].values] == [*FIELDS] == [*model.labels]
    np.testing.assert_allclose(
        np.stack([*answers[0].values.values()], 1),
        expected_values(trained, audio / "a.wav", SPEECH, None),
        atol=2e-5,
    )
    samples = soundfile.read(audio / "a.wav", dtype="float32")[0]
    again = model.predict(samples, RATE, words=SPEECH)
    np.testing.assert_allclose(again.values["liking"], answers[0].values["liking"], atol=1e-6)


def test_values_of_a_recording_do_not_depend_on_others(trained: Path, audio: Path) -> None:
    model = ser.load(trained)
    alone = model.predict(audio / "a.wav", words=SPEECH).values["liking"]
    batch = model.predict([audio / "a.wav", audio / "more" / "b.wav"], words=[SPEECH, SPEECH])
    np.testing.assert_allclose(batch[0].values["liking"], alone, atol=1e-6)


def test_recurrent_layers_are_computed_in_one_thread(trained: Path, audio: Path) -> None:
    model, before, seen = ser.load(trained), torch.get_num_threads(), []
    model.models[0].model.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        model.predict(audio / "a.wav", words=SPEECH)
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_python_refuses_what_it_cannot_answer(trained: Path, audio: Path, tmp_path: Path) -> None:
    model = ser.load(trained)
    path = audio / "a.wav"
    with pytest.raises(ConfigError, match="predicts values over time, so it has no embedding"):
        model.embed(path)
    with pytest.raises(ConfigError, match="stream has not"):
        model.stream()
    with pytest.raises(DataError, match=r"words: one for 1 recordings\. Give a list"):
        model.predict([path], words="w.csv")  # type: ignore[call-overload]
    with pytest.raises(DataError, match=r"words, word 1: is \(1,\), expected start and end in s"):
        model.predict(path, words=[(1,)])  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"word 2: starts at 0\.2 s, before word 1 at 0.5 s"):
        model.predict(path, words=[(0.5, 0.6, "a"), (0.2, 0.3, "b")])
    with pytest.raises(
        DataError, match=r"turns of .*a.wav, turn 2: starts at 0.5 s, before turn 1 ends at 1 s"
    ):
        model.predict(path, turns=[(0.0, 1.0), (0.5, 2.0)])
    with pytest.raises(DataError, match=r"turns of .*: expected pairs of start and end in s"):
        model.predict(path, turns=[1.0])  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"turns of .*: one ends at 9 s, but the audio is 2.05 s long"):
        model.predict(path, turns=[(0.0, 9.0)])
    with pytest.raises(DataError, match="expected the samples of one channel"):
        model.predict(np.zeros((5, 24), np.float32), RATE)
    alone = ser.load(write_run(tmp_path / "alone", words=False))
    with pytest.raises(ConfigError, match=r"words: .* was trained on audio alone\. Leave words out\."):
        alone.predict(path, words=SPEECH)
    assert alone.predict(path).values["arousal"].shape == (21,)


def read(audio: Path, *, on_error: Any = "raise", **files: Path) -> tuple[Manifest, dict[str, Any]]:
    """Read the words and turns of the recordings `a` and `b`."""
    paths = {"a": audio / "a.wav", "b": audio / "more" / "b.wav"}
    names = ["a", "b"] if any(path.is_dir() for path in files.values()) else ["a"]
    manifest = Manifest(tuple(Utterance(name, paths[name]) for name in names), "input")
    return ConversationFiles(**files).read(manifest, on_error=on_error)


def test_words_past_the_audio_are_counted_and_left_out(
    audio: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_words(tmp_path / "w.csv", [*SPEECH, (2.5, 2.8, "late")])
    _, words = read(audio, words=path)
    assert [word.text for word in words["a"]] == ["good", "day", "zebra"]
    assert "1 words lie beyond the audio and are left out: 'late' of a at 2.5 s" in caplog.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [(5.0, 5.5, "a"), (6.0, 6.5, "b")],
            r"w\.csv: has words from 5 s on, but a is 2\.05 s long\. Give the words",
        ),
        (
            [(0.5, 0.9, "a"), (0.1, 0.3, "b")],
            r"w\.csv, word 2: starts at 0\.1 s, before word 1 at 0\.5 s\. Sort",
        ),
        (
            [(0.5, 0.9, "a"), (0.7, 1.3, "b")],
            r"w\.csv, word 2: starts at 0\.7 s, before word 1 ends at 0\.9 s",
        ),
        ([], r"w\.csv: has no words\. Export it again\."),
    ],
)
def test_words_of_another_order_or_recording_are_refused(
    audio: Path, tmp_path: Path, words: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(audio, words=write_words(tmp_path / "w.csv", words))


def test_turns_that_overlap_are_refused(audio: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("0.0;1.0\n0.5;1.5\n")
    with pytest.raises(DataError, match=r"t\.csv, turn 2: starts at 0\.5 s, before turn 1 ends at 1 s"):
        read(audio, turns=tmp_path / "t.csv")


def test_a_recording_whose_words_are_broken_can_be_skipped(
    audio: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_words(tmp_path / "w" / "a.csv", [(5.0, 5.5, "late")])
    write_words(tmp_path / "w" / "b.csv")
    manifest, words = read(audio, words=tmp_path / "w", on_error="skip")
    assert [utterance.id for utterance in manifest] == [*words] == ["b"]
    assert "1 recordings are skipped: " in caplog.text
    write_words(tmp_path / "w" / "b.csv", [(5.0, 5.5, "late")])
    with pytest.raises(
        DataError, match=r"input: no recording can be used\. The first one: .*a\.csv: has words from 5 s"
    ):
        read(audio, words=tmp_path / "w", on_error="skip")


def test_one_file_of_words_for_several_recordings_is_refused(audio: Path, tmp_path: Path) -> None:
    manifest = Manifest((Utterance("a", audio / "a.wav"), Utterance("b", audio / "more" / "b.wav")), "input")
    files = ConversationFiles(words=write_words(tmp_path / "w.csv"))
    with pytest.raises(ConfigError, match=r"is one file, but there are 2 recordings\. Give a folder"):
        files.read(manifest)
    write_words(tmp_path / "w" / "c.csv")
    with pytest.raises(
        DataError, match=r"w: has no file of the 2 recordings in input\. Name each .* such as a\.csv"
    ):
        replace(files, words=tmp_path / "w").read(manifest)


def test_words_of_a_part_of_a_recording_are_refused(audio: Path, tmp_path: Path) -> None:
    manifest = Manifest((Utterance("x", audio / "a.wav", start=1.0, end=2.0),), "table.csv")
    with pytest.raises(
        ConfigError, match=r"utterance 'x': is a part of .*a\.wav, but words is for whole recordings"
    ):
        ConversationFiles(words=write_words(tmp_path / "w.csv")).read(manifest)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["words=w.csv", "stream=true"],
            "words=w.csv: is for recordings, but the input is a stream. Leave it out.",
        ),
        (["stream=true"], "neither streamed nor exported. Predict whole recordings, without a stream."),
        (["words=none.csv"], "words=none.csv: "),
    ],
)
def test_a_command_that_does_not_fit_is_refused(
    trained: Path, audio: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    write_words(tmp_path / "w.csv")
    told = predict(trained, f"input={audio / 'a.wav'}", *arguments, cwd=tmp_path, code=1)
    assert message in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"words": "w.csv", "transcript": "t.txt"}, "is aligned to get words, but words=w.csv is given, too"),
        ({"language": "en"}, "language=en: is for the alignment of a transcript, and none is given"),
        ({"align": "dtw"}, "align=dtw: is for the alignment of a transcript, and none is given"),
        ({"transcript": "t.txt"}, "language=null: the text is spoken in its language. Set language=en"),
        (
            {"transcript": "t.txt", "align": "pocketsphinx", "language": "de"},
            "Set align=dtw for other languages.",
        ),
    ],
)
def test_files_that_contradict_each_other_are_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)), inputs.predict_remedies():
        ConversationFiles.of(Predict.of(given))


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (
            {"window_s": 5.0},
            "recordings",
            "predicts a value every 0.1 s of a whole recording. Leave window_s out.",
        ),
        ({"scores": True}, "recordings", "predicts values, so there are no class probabilities"),
        (
            {"input": "a.npy"},
            "clips",
            "input=a.npy: is an array of clips, but RUN predicts recordings. Give a file",
        ),
        ({"input": "a.json"}, "frames", "input=a.json: is a file of features, but RUN predicts recordings."),
    ],
)
def test_settings_for_other_models_are_refused(given: dict[str, Any], kind: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        inputs.refuse_unfit(Predict.of(given), kind, Path("RUN"), over_time=True)


@pytest.mark.parametrize("name", ["words", "transcript", "turns", "language", "align"])
def test_words_for_a_model_without_steps_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}=x: RUN has no steps with words\. Leave {name} out\."):
        inputs.refuse_unfit(Predict.of({name: "x"}), "recordings", Path("RUN"), over_time=False)


@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_an_empty_transcript_is_refused(audio: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_text("\n" if suffix == ".txt" else "0.0;1.0;'<filler>'\n")
    with pytest.raises(DataError, match=r"the file is empty|has no words"):
        ConversationFiles(transcript=path, aligners=[Uniform()]).read(
            Manifest((Utterance("a", audio / "a.wav"),), "input")
        )


def test_a_transcript_in_another_language_is_named(audio: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("ich bin nicht der mann und das ist auch nicht die frau")
    files = ConversationFiles(transcript=path, aligners=[Uniform()], language="en")
    files.read(Manifest((Utterance("a", audio / "a.wav"),), "input"))
    assert any("reads like language=de, not en" in line for line in files.remarks())


def test_outputs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"values over time are written as \.csv, with a plot .*\. Give output=.*a\.csv"
    ):
        curves.name_outputs(["a"], tmp_path / "a.json", is_file=True)
    with pytest.raises(
        DataError, match=r"is for one recording, but each of several has a table of its own\. Give"
    ):
        curves.name_outputs(["a", "b"], tmp_path / "out.csv", is_file=False)
    with pytest.raises(DataError, match=r"a\.csv: '\.\./a' and 'a' would both be written there"):
        curves.name_outputs(["../a", "a"], tmp_path / "out", is_file=False)
    (path,) = curves.name_outputs(["/data/x.wav"], tmp_path / "out", is_file=False)
    assert path == tmp_path / "out" / "data" / "x.csv"
    (tmp_path / "out").touch()
    with pytest.raises(DataError, match=r"out: is a file, but each of several recordings has a table"):
        curves.check_outputs([path], tmp_path / "out", overwrite=False)
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"a\.png: exists already\. Set overwrite=true"):
        curves.check_outputs([tmp_path / "a.csv"], tmp_path / "a.csv", overwrite=False)


def test_models_of_values_over_time_are_not_averaged_with_others(trained: Path) -> None:
    one = checkpoint.load(trained / "checkpoints" / "best.ckpt")
    other = replace(one, target=type("Other", (), {"labelled_at": "utterance"})())
    assert curves.predicts_curves([one, one])
    with pytest.raises(ConfigError, match=r"predicts values over time, and .* does not"):
        curves.predicts_curves([one, other])
