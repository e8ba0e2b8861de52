"""A stream on the console: rows, a picture, and what is said at the end."""

import csv
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ser.errors import ConfigError, DataError
from ser.inference import console
from ser.inference.stream import Stream, chunks_of
from tests.inference.test_stream import RATE, a_model, speech_like


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def pieces(seconds: float = 2.0) -> Iterator[np.ndarray]:
    return chunks_of(speech_like(seconds).numpy(), 333)


def test_every_decision_is_a_row_and_silence_has_no_label(tmp_path):
    output = tmp_path / "x.csv"
    followed = console.follow(Stream(a_model()), pieces(), output, title="x", overwrite=False)
    rows = rows_of(output)
    assert list(rows[0]) == ["time_s", "p_en", "p_hi", "p_cmn", "decision", "so_far"]
    assert [row["time_s"] for row in rows[:3]] == ["0.000", "0.010", "0.020"]
    for row in rows:
        shares = {name: float(row[f"p_{name}"]) for name in ("en", "hi", "cmn")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert row["decision"] in ("", max(shares, key=shares.__getitem__))
    assert {row["decision"] == "" for row in rows} == {True, False}
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert followed.seconds == 2.0
    assert 0 < followed.real_time_factor < 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_ctrl_c_ends_a_stream_like_its_source(tmp_path, capsys):
    def interrupted() -> Iterator[np.ndarray]:
        yield from pieces()
        raise KeyboardInterrupt

    console.follow(Stream(a_model()), interrupted(), tmp_path / "a.csv", title="a", overwrite=False)
    console.follow(Stream(a_model()), pieces(), tmp_path / "b.csv", title="b", overwrite=False)
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert "the decisions so far are written" in capsys.readouterr().err


def test_files_that_exist_are_kept_unless_told(tmp_path):
    (tmp_path / "x.png").write_text("mine")
    with pytest.raises(DataError, match=r"x\.png: exists already"):
        console.follow(Stream(a_model()), pieces(), tmp_path / "x.csv", title="x", overwrite=False)
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("sizes", [[1, 1, 1, 5], [8], [3, 5]])
def test_raw_bytes_become_samples_wherever_they_are_cut(sizes):
    content = np.array([0, 16384, -32768, 32767], dtype="<i2").tobytes()

    class Pipe(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read1(sizes.pop(0) if sizes else 0)

    found = np.concatenate([*console.raw_samples(Pipe(content))])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0, 0.5, -1, 32767 / 32768])


def test_half_a_sample_at_the_end_is_dropped():
    assert [*map(len, console.raw_samples(io.BytesIO(b"\x00\x00\x01")))] == [1]


def test_the_end_says_what_was_decided_how_fast_and_how_late():
    stream = Stream(a_model())
    decisions = stream.push(speech_like()) + stream.finish()
    told = console.summarize_stream(
        console.StreamSummary(3.0, 0.03, decisions[-1]), stream, "x.wav", Path("x.csv")
    )
    best = int(np.argmax(decisions[-1].so_far))
    assert (
        told.splitlines()[0] == f"x.wav, 3.00 s: {stream.class_names[best]}, {max(decisions[-1].so_far):.1%}"
    )
    assert "Real-time factor 0.0100" in told
    assert f"{1000 * stream.look_ahead_s:.0f} ms after the end of its frame" in told
    silent = Stream(a_model())
    last = (silent.push(np.zeros(RATE, dtype=np.float32)) + silent.finish())[-1]
    assert "no speech, so no decision" in console.summarize_stream(
        console.StreamSummary(1, 0.1, last), silent, "x", Path("x")
    )
    assert "too short for a decision" in console.summarize_stream(
        console.StreamSummary(0, 0, None), silent, "x", Path("x")
    )


def test_inputs_that_cannot_be_heard_are_refused(tmp_path):
    stream = Stream(a_model())
    console.check_inputs("-", sample_rate=RATE, stream=stream)
    with pytest.raises(ConfigError, match=r"sample_rate=16000: the model expects 8000 Hz.*sox or ffmpeg"):
        console.check_inputs("-", sample_rate=16_000, stream=stream)
    with pytest.raises(DataError, match=r"stream=true reads one recording\. Give a file, or -"):
        console.check_inputs(str(tmp_path), sample_rate=None, stream=stream)


def test_ctrl_c_in_the_middle_of_a_push_loses_nothing(tmp_path, monkeypatch):
    stream, pushed = Stream(a_model()), []
    push = stream.push

    def interrupted(samples):
        pushed.append(len(samples))
        if len(pushed) == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return push(samples)

    monkeypatch.setattr(stream, "push", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    followed = console.follow(stream, pieces(), tmp_path / "x.csv", title="x", overwrite=False)
    assert len(pushed) == 20
    assert followed.seconds == sum(pushed) / RATE
    alone = Stream(a_model())
    expected = alone.push(speech_like(2.0)[: sum(pushed)]) + alone.finish()
    assert len(rows_of(tmp_path / "x.csv")) == len(expected)
    assert signal.getsignal(signal.SIGINT) is handler


def test_samples_that_are_no_numbers_leave_no_file_behind(tmp_path):
    broken = np.full(1000, np.nan, dtype=np.float32)
    with pytest.raises(DataError, match="is nan"):
        console.follow(Stream(a_model()), [broken], tmp_path / "x.csv", title="x", overwrite=False)
    assert [*tmp_path.iterdir()] == []


def test_decisions_are_written_as_csv_alone(tmp_path):
    with pytest.raises(
        DataError, match=r"x\.png: decisions of a stream are written as \.csv.*Give output=NAME\.csv"
    ):
        console.follow(Stream(a_model()), pieces(), tmp_path / "x.png", title="x", overwrite=False)


def test_silence_that_was_removed_is_no_speech():
    stream = Stream(a_model(mode="remove"))
    assert "no speech, so no decision" in console.summarize_stream(
        console.StreamSummary(60, 1, None), stream, "x", Path("x.csv")
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_stream_with_its_table_written(tmp_path, number, monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setattr("sys.stderr", io.StringIO())

    def stopped() -> Iterator[np.ndarray]:
        yield from pieces()
        os.kill(os.getpid(), number)

    followed = console.follow(Stream(a_model()), stopped(), tmp_path / "a.csv", title="a", overwrite=False)
    sys.stdout.close()
    assert followed.signal == number
    assert len(rows_of(tmp_path / "a.csv")) > 100


def test_two_streams_to_one_output_leave_that_of_the_first(tmp_path):
    output = tmp_path / "a.csv"

    def doubled() -> Iterator[np.ndarray]:
        yield from pieces(1.0)
        with pytest.raises(DataError, match=r"another stream is writing there now"):
            console.follow(Stream(a_model()), pieces(1.0), output, title="b", overwrite=False)
        yield from pieces(1.0)

    console.follow(Stream(a_model()), doubled(), output, title="a", overwrite=False)
    assert len(rows_of(output)) > 150
