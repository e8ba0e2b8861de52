"""The WebSocket: what a stream says is what a recording says, and no client keeps a place that it does not use."""

import base64
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from ser.audio.reader import resample
from ser.audio.resampler import Resampler
from ser.inference.stream import Stream
from ser.server import sockets
from ser.server.answers import ServedModel
from tests.commands import documented
from tests.inference.test_stream import RATE
from tests.server.conftest import client_of, served, to_wav, waveform_of, with_limits
from tests.server.test_requests import predict, wait_for

URL = "ws://127.0.0.1/stream"
HALF = b"\x82\xfe\x10\x00\0\0\0\0half of a message"
FLOATS = {"sample_rate": RATE, "format": "float32"}


@pytest.fixture(scope="module", params=["frames", "windows"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(models: dict[str, ServedModel], kind: str) -> Iterator[TestClient]:
    with client_of(models[kind]) as client:
        yield client


def stream(client: TestClient, settings: dict[str, Any], chunks: list[bytes]) -> list[dict[str, Any]]:
    """Send a stream of chunks, and return all messages after the first."""
    with client.websocket_connect(URL) as socket:
        socket.send_json(settings)
        assert socket.receive_json()["type"] == "ready"
        for chunk in chunks:
            socket.send_bytes(chunk)
        socket.send_json({"end": True})
        found: list[dict[str, Any]] = []
        while not found or found[-1]["type"] == "answers":
            found.append(socket.receive_json())
    return found


def joined(messages: list[dict[str, Any]], key: str) -> list[Any]:
    return [each for message in messages for each in message[key]]


def in_bytes(waveform: np.ndarray, size: int) -> list[bytes]:
    return [waveform[start : start + size].tobytes() for start in range(0, len(waveform), size)]


@pytest.mark.parametrize("size", [77, 800, 9_000])
def test_a_stream_says_what_the_recording_says(
    size: int, client: TestClient, models: dict[str, ServedModel], kind: str
) -> None:
    waveform = waveform_of(1.6)
    found = stream(client, FLOATS, in_bytes(waveform, size))
    recording = predict(client, to_wav(waveform), "/predict?detail=true")
    over_time = recording["over_time"]
    assert found[-1]["type"] == "end"
    assert found[-1]["samples"] == len(waveform)
    np.testing.assert_allclose(joined(found, "times_s"), over_time["times_s"], atol=1e-5)
    np.testing.assert_allclose(joined(found, "values"), over_time["values"], atol=1e-5)
    if kind == "frames":
        expected = [*recording["probabilities"].values()]
    else:
        expected = np.mean(over_time["values"], axis=0).tolist()
    np.testing.assert_allclose(found[-1]["so_far"], expected, atol=1e-4)
    assert found[-1]["label"] == models[kind].names[int(np.argmax(expected))]


def test_integers_are_read_as_numbers_up_to_one(client: TestClient) -> None:
    whole = np.round(waveform_of(0.8) * 32768).clip(-32768, 32767).astype("<i2")
    floats = whole.astype(np.float32) / 32768
    found = [
        stream(client, {"sample_rate": RATE, "format": "int16"}, in_bytes(whole, 500)),
        stream(client, FLOATS, in_bytes(floats, 500)),
    ]
    np.testing.assert_allclose(*(joined(messages, "values") for messages in found), atol=1e-6)


def test_another_rate_is_resampled_as_a_recording_is(client: TestClient) -> None:
    waveform = resample(waveform_of(1.2), RATE, 44_100)
    settings = {"sample_rate": 44_100, "spectrogram": True}
    found = stream(client, settings, in_bytes(waveform, 4_410))
    expected = predict(client, to_wav(waveform, 44_100), "/predict?detail=true")
    np.testing.assert_allclose(joined(found, "values"), expected["over_time"]["values"], atol=1e-4)
    pictures = [base64.b64decode(message["spectrogram"]["decibels"]) for message in found]
    assert b"".join(pictures) == base64.b64decode(expected["spectrogram"]["decibels"])


def test_chunks_are_resampled_as_one_piece() -> None:
    waveform = waveform_of(0.7)
    resampler = Resampler(RATE, 22_050)
    pieces = [resampler.push(waveform[start : start + 333]) for start in range(0, len(waveform), 333)]
    pieces.append(resampler.push(np.empty(0, np.float32), last=True))
    np.testing.assert_array_equal(np.concatenate(pieces), resample(waveform, RATE, 22_050))


def test_a_stream_shorter_than_a_window_gets_one_answer(models: dict[str, ServedModel]) -> None:
    waveform = waveform_of(0.3)
    with client_of(models["windows"]) as client:
        found = stream(client, FLOATS, in_bytes(waveform, 800))
        expected = predict(client, to_wav(waveform))["probabilities"]
    assert [message["so_far"] for message in found[:-1]] == [None] * (len(found) - 1)
    np.testing.assert_allclose(found[-1]["so_far"], [*expected.values()], atol=1e-4)


def test_a_stream_shorter_than_a_frame_ends_with_a_reason(models: dict[str, ServedModel]) -> None:
    with client_of(models["windows"]) as client, client.websocket_connect(URL) as socket:
        socket.send_json(FLOATS)
        socket.send_bytes(bytes(40))
        socket.send_json({"end": True})
        found = [socket.receive_json()["type"], socket.receive_json()["type"]]
        message = socket.receive_json()
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_json()
    assert (found, ended.value.code) == (["ready", "answers"], 1003)
    assert message["type"] == "error"
    assert message["error"].startswith("the stream: 1.2 ms (10 samples at 8000 Hz) are too short")


def test_streams_side_by_side_do_not_mix(models: dict[str, ServedModel]) -> None:
    waveforms = [waveform_of(0.6, seed) for seed in range(4)]
    found: list[list[Any]] = [[] for _ in waveforms]
    with client_of(models["frames"]) as client, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(client.websocket_connect(URL)) for _ in waveforms]
        for own in streams:
            own.send_json(FLOATS)
            own.receive_json()
        for start in range(0, len(waveforms[0]), 400):
            for own, waveform, values in zip(streams, waveforms, found, strict=True):
                own.send_bytes(waveform[start : start + 400].tobytes())
                values += own.receive_json()["values"]
    for waveform, values in zip(waveforms, found, strict=True):
        alone = Stream(models["frames"].predictor.models).push(waveform)
        np.testing.assert_allclose(values, [own.probabilities for own in alone], atol=1e-5)


REFUSED: dict[str, tuple[list[str | bytes], int, str]] = {
    "samples_first": ([b"1234"], 1003, "the first message has to be the settings"),
    "no_json": (["hello"], 1003, "the first message has to be the settings"),
    "a_list": (["[16000]"], 1003, "the first message has to be the settings"),
    "deep": (["[" * 100_000], 1003, "the first message has to be the settings"),
    "unknown_key": (['{"sample_rate": 8000, "rate": 1}'], 1003, "the first message has to be the settings"),
    "no_rate": (["{}"], 1003, "sample_rate is null"),
    "one_hertz": (['{"sample_rate": 1}'], 1003, "sample_rate is 1, expected 1000 to 1000000 Hz"),
    "a_format": (['{"sample_rate": 8000, "format": "mp3"}'], 1003, 'format is "mp3"'),
    "a_list_of_formats": (['{"sample_rate": 8000, "format": ["int16"]}'], 1003, 'format is ["int16"]'),
    "an_object": (['{"sample_rate": 8000, "format": {}}'], 1003, "format is {}"),
    "half_a_sample": ([json.dumps(FLOATS), b"12345"], 1003, "ends within a sample"),
    "not_finite": ([json.dumps(FLOATS), b"\xff" * 8], 1003, "is NaN or infinite"),
    "other_text": ([json.dumps(FLOATS), '{"end": false}'], 1003, "a text message is none of the stream"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_message_ends_the_stream_with_a_reason(case: str, client: TestClient) -> None:
    sent, code, message = REFUSED[case]
    with client.websocket_connect(URL) as socket:
        for each in sent:
            socket.send_text(each) if isinstance(each, str) else socket.send_bytes(each)
        found = socket.receive_json()
        while found["type"] != "error":
            found = socket.receive_json()
        assert message in found["error"]
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_json()
    assert ended.value.code == code
    assert client.get("/health").json()["streams"] == 0


def refusal(client: TestClient) -> tuple[str, int]:
    with client.websocket_connect(URL) as socket:
        message = socket.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_json()
    return message, ended.value.code


def test_a_model_of_curves_says_that_it_cannot_stream(models: dict[str, ServedModel]) -> None:
    with client_of(models["curves"]) as client:
        message, _ = refusal(client)
        assert client.get("/model").json()["mode"] == "curves"
    assert "POST the recording to /predict" in message


def test_more_streams_than_places_are_refused_until_one_is_free(models: dict[str, ServedModel]) -> None:
    with client_of(with_limits(models["frames"], max_streams=1)) as client:
        with client.websocket_connect(URL) as first:
            first.send_json(FLOATS)
            first.receive_json()
            message, code = refusal(client)
            assert ("1 streams are open" in message, code) == (True, 1013)
        wait_for(lambda: client.get("/health").json()["streams"] == 0)
        assert stream(client, FLOATS, [])[-1]["samples"] == 0


def test_a_stream_has_a_longest_duration(models: dict[str, ServedModel]) -> None:
    with (
        client_of(with_limits(models["frames"], max_stream_s=0.1)) as client,
        client.websocket_connect(URL) as socket,
    ):
        socket.send_json(FLOATS)
        socket.receive_json()
        socket.send_bytes(waveform_of(0.2).tobytes())
        assert socket.receive_json()["type"] == "answers"
        socket.send_bytes(waveform_of(0.2).tobytes())
        assert "longer than 0.1 s" in socket.receive_json()["error"]


def test_a_silent_client_loses_its_place(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "IDLE_S", 0.05)
    message, code = refusal(client)
    assert ("no message came for 0.05 s" in message, code) == (True, 1008)


@pytest.mark.parametrize("headers", [{"origin": "http://evil.example"}, {"host": "evil.example"}])
def test_a_page_of_another_site_gets_no_stream(headers: dict[str, str], client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(URL, headers=headers) as socket,
    ):
        socket.receive_json()


# ---- on a port: clients that break off ----


@pytest.fixture(scope="module")
def server(models: dict[str, ServedModel]) -> Iterator[tuple[str, Any]]:
    with served(models["frames"]) as found:
        yield found


def test_the_documented_client_gets_answers(
    server: tuple[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    code = documented("serve.md", "python").replace("127.0.0.1:8000", server[0])
    exec(code, {})
    first, *rows = capsys.readouterr().out.splitlines()
    assert first == "['en', 'hi', 'cmn']"
    assert rows[-1].startswith("48000 [")


@contextlib.contextmanager
def begin(address: str) -> Iterator[ClientConnection]:
    with connect(f"ws://{address}/stream", proxy=None, close_timeout=0.1) as own:
        own.send(json.dumps(FLOATS))
        assert json.loads(own.recv(timeout=20))["type"] == "ready"
        yield own


def test_a_message_that_is_too_large_ends_the_stream(server: tuple[str, Any]) -> None:
    address, work = server
    with begin(address) as own:
        with contextlib.suppress(ConnectionClosed):
            own.send(b"\0" * 300_000)
        with pytest.raises(ConnectionClosed) as ended:
            own.recv(timeout=20)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1009
    wait_for(lambda: work.streams == 0)


def test_a_stream_without_sound_does_not_keep_a_place(
    models: dict[str, ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "IDLE_S", 0.3)
    with served(with_limits(models["frames"], max_stream_s=0.1)) as (address, work), begin(address) as own:
        messages = []
        while not messages or "error" not in messages[-1]:
            own.send(b"")
            messages.append(own.recv(timeout=20))
            time.sleep(0.02)
        assert "longer than 0.1 s" in messages[-1]
        wait_for(lambda: work.streams == 0)


@pytest.mark.parametrize("what", ["between", "within"])
def test_a_client_that_breaks_off_frees_its_place(what: str, server: tuple[str, Any]) -> None:
    address, work = server
    with begin(address) as own:
        own.send(waveform_of(0.2).tobytes())
        assert work.streams == 1
        if what == "within":
            own.socket.sendall(HALF)
        own.socket.shutdown(socket.SHUT_RDWR)
        wait_for(lambda: work.streams == 0)


def test_half_a_message_does_not_keep_a_place(
    server: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, work = server
    with begin(address) as own:
        monkeypatch.setattr(sockets, "IDLE_S", 0.2)
        own.send(waveform_of(0.1).tobytes())
        own.socket.sendall(HALF)
        assert json.loads(own.recv(timeout=20))["type"] == "answers"
        assert "no message came" in own.recv(timeout=20)
        wait_for(lambda: work.streams == 0)


def test_a_client_that_stops_reading_loses_its_place(
    server: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SEND_S", 0.3)
    address, work = server
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        key = base64.b64encode(b"0" * 16).decode()
        lines = (
            "GET /stream HTTP/1.1",
            f"Host: {address}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        raw.sendall("\r\n".join([*lines, "", ""]).encode())
        assert b"101" in raw.recv(1000)
        settings = json.dumps({**FLOATS, "spectrogram": True}).encode()
        raw.sendall(bytes([0x81, 0x80 | len(settings)]) + b"\0\0\0\0" + settings)
        raw.settimeout(1)
        samples = np.zeros(16_000, np.float32).tobytes()
        message = b"\x82\xff" + len(samples).to_bytes(8) + b"\0\0\0\0" + samples
        try:
            for _ in range(400):
                raw.sendall(message)
        except OSError:  # the server reads no more, or has closed the connection
            pass
        wait_for(lambda: work.streams == 0)
    with begin(address):
        assert work.streams == 1
