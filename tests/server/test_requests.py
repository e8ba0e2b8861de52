"""POST /predict: the numbers of predict.py, and a clear answer to whatever is sent instead of a recording."""

import base64
import contextlib
import csv
import http.client
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from ser.errors import DataError
from ser.inference.stream import Stream
from ser.server import uploads
from ser.server.answers import ServedModel
from tests.commands import run
from tests.inference.test_stream import RATE
from tests.server.conftest import HOP_S, WINDOW_S, client_of, served, to_wav, waveform_of, with_limits


@pytest.fixture(scope="module")
def client(models: dict[str, ServedModel]) -> Iterator[TestClient]:
    with client_of(models["windows"]) as client:
        yield client


def predict(client: TestClient, content: bytes, path: str = "/predict") -> dict[str, Any]:
    answer = client.post(path, content=content)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("kind", ["windows", "frames"])
def test_a_recording_gets_the_numbers_of_predict(
    kind: str, models: dict[str, ServedModel], runs: dict[str, Path], tmp_path: Path
) -> None:
    content = to_wav(waveform_of(1.3))
    (tmp_path / "x.wav").write_bytes(content)
    run("predict.py", f"ckpt={runs[kind]}", "input=x.wav", "output=x.csv", cwd=tmp_path)
    (row,) = csv.DictReader((tmp_path / "x.csv").read_text().splitlines())
    with client_of(models[kind]) as client:
        found = [
            predict(client, content),
            client.post("/predict", files={"file": ("x.wav", content)}).json(),
        ]
    for answer in found:
        assert answer["label"] == row["label"]
        expected = {name: float(row[f"p_{name}"]) for name in answer["probabilities"]}
        assert answer["probabilities"] == pytest.approx(expected, abs=1e-4)
        assert answer["duration_s"] == pytest.approx(1.3)


def test_windows_are_answered_as_recordings_of_their_own(client: TestClient) -> None:
    waveform = waveform_of(1.3)
    found = predict(client, to_wav(waveform), "/predict?detail=true")["over_time"]
    starts = [0, 2000, 4000, 6000]
    assert found["times_s"] == pytest.approx([start / RATE + WINDOW_S / 2 for start in starts])
    alone = [predict(client, to_wav(waveform[start : start + 4000])) for start in starts]
    expected = [[*answer["probabilities"].values()] for answer in alone]
    np.testing.assert_allclose(found["values"], expected, atol=1e-4)
    np.testing.assert_allclose(found["positions"], [answer["position"] for answer in alone], atol=1e-3)


def test_a_short_recording_is_one_window(client: TestClient) -> None:
    found = predict(client, to_wav(waveform_of(0.3)), "/predict?detail=true")
    assert found["over_time"]["times_s"] == pytest.approx([0.15])
    np.testing.assert_allclose(found["over_time"]["values"], [[*found["probabilities"].values()]], atol=1e-5)


def test_frames_over_time_are_the_decisions_of_a_stream(models: dict[str, ServedModel]) -> None:
    waveform = waveform_of(1.3)
    stream = Stream(models["frames"].predictor.models)
    decisions = [*stream.push(waveform), *stream.finish()]
    with client_of(models["frames"]) as client:
        found = predict(client, to_wav(waveform), "/predict?detail=true")["over_time"]
    np.testing.assert_allclose(found["times_s"], [own.time_s for own in decisions], atol=1e-5)
    np.testing.assert_allclose(found["values"], [own.probabilities for own in decisions], atol=1e-5)


def test_curves_are_the_values_of_each_step(models: dict[str, ServedModel]) -> None:
    waveform = waveform_of(2)
    expected = models["curves"].predictor.predict(waveform, RATE)
    with client_of(models["curves"]) as client:
        answer = predict(client, to_wav(waveform), "/predict?detail=true")
    found = answer["over_time"]
    assert answer["label"] is None
    assert found["times_s"] == answer["times_s"] == pytest.approx(expected.times.tolist())  # type: ignore[union-attr]
    np.testing.assert_allclose(np.transpose(found["values"]), [*expected.values.values()], atol=1e-5)


def test_the_spectrogram_shows_a_tone_at_its_pitch(client: TestClient) -> None:
    tone = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.float32)
    picture = predict(client, to_wav(tone), "/predict?detail=true")["spectrogram"]
    levels = np.frombuffer(base64.b64decode(picture["decibels"]), dtype=np.int8).reshape(-1, picture["bins"])

    def mel(hertz: float) -> float:  # O'Shaughnessy's formula, as HTK has it
        return float(2595 * np.log10(1 + hertz / 700))

    expected = mel(1000) / mel(picture["highest_hz"]) * (picture["bins"] + 1) - 1
    assert {*np.abs(levels.argmax(1) - expected).round()} <= {0, 1}
    assert len(levels) * picture["step_s"] == pytest.approx(1, abs=0.03)


def one_hertz() -> bytes:
    content = bytearray(to_wav(waveform_of(0.5), subtype="PCM_16"))
    content[24:28] = struct.pack("<I", 1)
    return bytes(content)


def long_flac() -> bytes:
    """A file of 400 s whose header has no length."""
    content = BytesIO()
    soundfile.write(content, np.zeros(400 * 1000, np.float32), 1000, format="FLAC")
    data = bytearray(content.getvalue())
    data[21] &= 0xF0  # 36 bits of STREAMINFO
    data[22:26] = bytes(4)
    return bytes(data)


BAD: dict[str, tuple[bytes, int, str]] = {
    "text": (b"dear model, how am I?\n" * 20, 415, "is text, not audio"),
    "one_hertz": (one_hertz(), 415, "claims a sample rate of 1 Hz"),
    "nothing": (b"", 400, "holds 0 bytes"),
    "noise": (bytes(range(256)) * 8, 415, "is not audio that can be read"),
    "cut_off": (to_wav(waveform_of(1))[:2000], 422, "is cut off"),
    "no_sample": (to_wav(np.empty(0, np.float32)), 422, "has 0 samples"),
    "not_finite": (to_wav(np.full(4000, np.nan, np.float32)), 422, "NaN"),
    "unknown_length": (long_flac(), 413, "lasts 301 s or more"),
    "too_long": (to_wav(np.zeros(301 * 1000, np.float32), 1000, "PCM_U8"), 413, "lasts 301 s"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_by_its_name(case: str, client: TestClient) -> None:
    content, status, message = BAD[case]
    for answer in (
        client.post("/predict?detail=true", content=content),
        client.post("/predict", files={"file": ("folder/mine.wav", content)}),
    ):
        assert answer.status_code == status, answer.text
        assert message in answer.json()["error"]
        assert "/proc" not in answer.text
    assert answer.json()["error"].startswith("mine.wav: ")


def test_forms_without_one_file_are_refused(client: TestClient) -> None:
    hundred = [("file", (f"{number}.wav", b"x")) for number in range(100)]
    broken = {"content-type": "multipart/form-data; boundary=x"}
    for given, message in (
        ({"files": hundred}, "several files. Send one file a request"),
        ({"files": {"note": (None, "hello")}}, "holds no file"),
        ({"content": b"--x\r\nhello", "headers": broken}, "holds no file"),
        ({"content": b"hello", "headers": {"content-type": "multipart/form-data"}}, "cannot be read"),
    ):
        answer = client.post("/predict", **given)  # type: ignore[arg-type]
        assert (answer.status_code, message in answer.json()["error"]) == (400, True), answer.text


def test_unknown_paths_and_methods_are_named(client: TestClient) -> None:
    assert client.get("/predict").status_code == 405
    assert "does not take GET" in client.get("/predict").json()["error"]
    answer = client.get("/modle")
    assert (answer.status_code, "there is no /modle" in answer.json()["error"]) == (404, True)
    assert client.get("/static/../app.py").status_code == 404


def test_a_stream_without_a_websocket_and_a_wrong_detail_are_refused(client: TestClient) -> None:
    answer = client.get("/stream")
    assert (answer.status_code, "Open ws://127.0.0.1/stream" in answer.json()["error"]) == (426, True)
    answer = client.post("/predict?detail=1", content=to_wav(waveform_of(1)))
    assert (answer.status_code, "detail is '1', expected true" in answer.json()["error"]) == (400, True)


def test_a_form_in_capitals_is_read_and_a_broken_one_is_not_logged(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    content = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n%b\r\n--x--\r\n'
    headers = {"content-type": "Multipart/Form-Data; boundary=x"}
    answer = client.post("/predict", content=content % to_wav(waveform_of(1)), headers=headers)
    assert answer.status_code == 200, answer.text
    client.post("/predict", content=b"--y\r\nsecret", headers=headers)
    assert not [record for record in caplog.records if record.name.startswith("python_multipart")]


def connect(address: str) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(http.client.HTTPConnection(address, timeout=20))


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_gigabyte_is_cut_at_the_limit(is_declared: bool, models: dict[str, ServedModel]) -> None:
    model = with_limits(models["windows"], max_mb=0.5)
    block = b"\0" * 100_000
    with served(model) as (address, work), connect(address) as connection:
        connection.putrequest("POST", "/predict")
        name, value = ("Content-Length", "1000000000") if is_declared else ("Transfer-Encoding", "chunked")
        connection.putheader(name, value)
        connection.endheaders()
        sent = 0
        try:
            for _ in range(10_000):
                connection.send(block if is_declared else b"%x\r\n%b\r\n" % (len(block), block))
                sent += len(block)
        except OSError:  # the server has closed the connection
            pass
        assert sent < 50_000_000
        wait_for(lambda: work.requests == 0)


def test_a_file_over_the_limit_is_told_so(models: dict[str, ServedModel]) -> None:
    with served(with_limits(models["windows"], max_mb=0.5)) as (address, _):
        for body, headers in (
            (b"\0" * 900_000, {}),
            (iter([b"\0" * 100_000] * 9), {"Transfer-Encoding": "chunked"}),
        ):
            with connect(address) as connection:
                connection.request("POST", "/predict", body, headers, encode_chunked=bool(headers))
                answer = connection.getresponse()
                assert (answer.status, b"is larger than 0.5 MB" in answer.read()) == (413, True)


def test_a_body_that_does_not_come_is_given_up(
    models: dict[str, ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_S", 0.1)
    with served(models["windows"]) as (address, work), connect(address) as connection:
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"RIFF")
        with connection.getresponse() as answer:
            assert answer.status == 408
        assert work.requests == 0


def test_a_client_that_goes_away_frees_its_place(models: dict[str, ServedModel]) -> None:
    with served(models["windows"]) as (address, work), connect(address) as connection:
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"RIFF")
        wait_for(lambda: work.requests == 1)
        connection.close()
        wait_for(lambda: work.requests == 0)


class Slow:
    """A model whose computation ends when it is told to."""

    def __init__(self, model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        answer = model.answer

        def wait(*arguments: Any, **settings: Any) -> Any:
            assert self.go_on.wait(30)
            return answer(*arguments, **settings)

        monkeypatch.setattr(model, "answer", wait)


def test_more_requests_than_places_are_refused_until_one_is_free(
    models: dict[str, ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, content = with_limits(models["windows"], max_requests=2), to_wav(waveform_of(0.5))
    slow = Slow(model, monkeypatch)
    with client_of(model) as client:
        threads = [threading.Thread(target=client.post, args=("/predict",), kwargs={"content": content})]
        threads.append(threading.Thread(target=client.post, args=("/predict",), kwargs={"content": content}))
        for thread in threads:
            thread.start()
        wait_for(lambda: client.get("/health").json()["requests"] == 2)
        refused = client.post("/predict", content=content)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        slow.go_on.set()
        for thread in threads:
            thread.join()
        wait_for(lambda: client.get("/health").json()["requests"] == 0)
        assert client.post("/predict", content=content).status_code == 200


def test_a_late_answer_is_given_up_and_its_place_kept_while_it_computes(
    models: dict[str, ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_limits(models["windows"], timeout_s=0.05)
    slow = Slow(model, monkeypatch)
    with client_of(model) as client:
        answer = client.post("/predict?detail=true", content=to_wav(waveform_of(0.5)))
        assert (answer.status_code, "longer than 0.05 s" in answer.json()["error"]) == (503, True)
        assert client.get("/health").json()["requests"] == 1
        slow.go_on.set()
        wait_for(lambda: client.get("/health").json()["requests"] == 0)


def test_nothing_is_written_to_disk(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a file was made")

    for name in ("TemporaryFile", "NamedTemporaryFile", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    content = to_wav(waveform_of(100))  # 3 MB: more than a parser of forms keeps in memory by itself
    assert client.post("/predict", files={"file": ("x.wav", content)}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[x"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),
        ({"host": "[x"}, 403),
        ({"host": "localhost:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "192.168.1.7"}, 200),
    ],
)
def test_pages_of_other_sites_are_kept_out(headers: dict[str, str], status: int, client: TestClient) -> None:
    assert client.get("/model", headers=headers).status_code == status


def test_every_answer_lets_a_page_load_nothing_from_elsewhere(client: TestClient) -> None:
    for path in ("/", "/docs", "/static/page.js", "/predict", "/none"):
        policy = client.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "http" not in policy


def test_the_description_is_of_this_model(client: TestClient, models: dict[str, ServedModel]) -> None:
    api = client.get("/openapi.json").json()
    assert {*api["paths"]} == {"/predict", "/model", "/health", "/stream"}
    schema = api["components"]["schemas"]["Prediction"]
    answer = predict(client, to_wav(waveform_of(1)), "/predict?detail=true")
    assert {*answer} <= {*schema["properties"]}
    assert {*schema["required"]} <= {*answer}
    assert {*answer["probabilities"]} == {*schema["properties"]["probabilities"]["properties"]}
    assert client.get("/health").json()["status"] == "ok"
    assert "not of streams" not in str(api)
    with client_of(models["curves"]) as other:
        assert "cannot stream" in other.get("/openapi.json").json()["paths"]["/stream"]["get"]["description"]


def test_a_model_that_cannot_hear_is_refused(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import ser
    from ser.server.limits import Limits

    predictor = ser.load(runs["windows"])
    monkeypatch.setattr(predictor, "predict", lambda *_: (_ for _ in ()).throw(DataError("no words")))
    with pytest.raises(DataError, match="no words"):
        ServedModel(predictor, Limits(), window_s=WINDOW_S, hop_s=HOP_S)


def wait_for(condition: Any) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_several_tasks_answer_with_probabilities_values_and_a_place(models: dict[str, ServedModel]) -> None:
    model = models["tasks"]
    names = ["mood_joy", "mood_anger", "arousal", "valence"]
    with client_of(model) as client:
        described = client.get("/model").json()
        assert (described["names"], described["num_probabilities"]) == (names, 2)
        answer = client.post("/predict?detail=true", content=to_wav(waveform_of(2))).json()
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["values"]["mood"] == max(answer["probabilities"], key=answer["probabilities"].get)[5:]
    assert {len(row) for row in answer["over_time"]["values"]} == {4}
    assert len(answer["position"]) == 2
    assert model.summarize([0.4, 0.6, 0.1, -0.3])["label"] == "anger"
