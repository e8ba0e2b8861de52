"""The WebSocket of a stream: settings first, then samples; answers as JSON while they arrive."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from ser.audio.reader import RATES
from ser.errors import SerError
from ser.server.answers import ServedModel
from ser.server.limits import IDLE_S, SEND_S, RequestError
from ser.server.live import Session
from ser.server.work import Work

FORMATS = {"float32": ("<f4", 1.0), "int16": ("<i2", 1 / 32768)}
"""Name -> type of a sample, and the factor that makes it -1..1."""
_EXAMPLE = '{"sample_rate": 16000, "format": "int16"}'
_WAITING = 32  # messages that wait for the computation; then the client has to wait
_AT_ONCE_S = 5.0  # seconds of waiting samples that are computed together
_CODES = {400: 1003, 408: 1008, 413: 1008, 422: 1003, 429: 1013}
"""Status of HTTP -> code with which a WebSocket is closed."""


class _Settings(NamedTuple):
    sample_rate: int
    format: str
    spectrogram: bool


class StreamSocket:
    """Answer one client's stream.

    Args:
        socket: The client.
        model: The served model.
        work: Where answers are computed.
    """

    def __init__(self, socket: WebSocket, model: ServedModel, work: Work) -> None:
        self.socket = socket
        self.model = model
        self.work = work
        self._began = time.monotonic()
        self._waiting: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(_WAITING)

    async def serve(self) -> None:
        """Serve the client until its stream ends, it goes away, or it breaks a rule, which it is told."""
        await self.socket.accept()
        with contextlib.suppress(WebSocketDisconnect, TimeoutError, RuntimeError):
            try:
                with self.work.stream():
                    await self._serve()
                await self.socket.close()
            except RequestError as error:
                await self._send({"type": "error", "error": str(error)})
                await self.socket.close(_CODES.get(error.status, 1008))
            except TimeoutError:
                await asyncio.wait_for(self.socket.close(1008, "the answers are not read"), 1)

    async def _serve(self) -> None:
        if self.model.mode == "curves":
            raise RequestError(
                422,
                "this model predicts values over time of whole recordings, not of streams. POST the recording to "
                "/predict.",
            )
        settings = _read_settings(await self._receive())
        session = await self.work.step(
            lambda: Session(self.model, settings.sample_rate, spectrogram=settings.spectrogram)
        )
        await self._send({"type": "ready", **self.model.describe()})
        reader = asyncio.create_task(self._read())
        try:
            await self._answer(session, settings)
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    async def _answer(self, session: Session, settings: _Settings) -> None:
        """Compute and send the answers to what was read, until the client ends its stream."""
        while True:
            chunks, last = await self._next_chunks(settings)
            samples = _decode(b"".join(chunks), settings.format)
            self._check_length(session)
            if chunks:
                await self._send(await self._step(session.push, samples))
            if isinstance(last, Exception):
                raise last
            if last is None:
                await self._send(await self._step(session.finish))
                return

    async def _step(self, function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        """Compute the next message.

        Raises:
            RequestError: The samples cannot be used, or are too few.
        """
        try:
            answer: dict[str, Any] = await self.work.step(function, *arguments)
            return answer
        except SerError as error:
            raise RequestError(422, str(error)) from error

    async def _next_chunks(self, settings: _Settings) -> tuple[list[bytes], bytes | Exception | None]:
        """Return the messages that wait, and the last thing read: an error, or None for the end of the stream.

        A stream that is behind is computed in longer pieces, which cost less and change no answer.
        """
        most = _AT_ONCE_S * settings.sample_rate * np.dtype(FORMATS[settings.format][0]).itemsize
        chunks: list[bytes] = []
        item = await self._waiting.get()
        while isinstance(item, bytes):
            chunks.append(item)
            if self._waiting.empty() or sum(map(len, chunks)) > most:
                break
            item = self._waiting.get_nowait()
        return chunks, item

    async def _read(self) -> None:
        """Put what the client sends into the queue, and at last None or an error."""
        last: Exception | None = None
        try:
            while (message := await self._receive())["text"] is None:
                await self._waiting.put(message["bytes"])
            if _parse(message["text"]) != {"end": True}:
                last = RequestError(
                    400,
                    'a text message is none of the stream. Send samples as binary messages, or {"end": true}.',
                )
        except (RequestError, WebSocketDisconnect) as error:
            last = error
        await self._waiting.put(last)

    async def _receive(self) -> dict[str, Any]:
        """Return the next message, with `text` or `bytes`.

        Raises:
            RequestError: None comes for a long time.
            WebSocketDisconnect: The client has gone.
        """
        try:
            message = await asyncio.wait_for(self.socket.receive(), IDLE_S)
        except TimeoutError:
            raise RequestError(408, f"no message came for {IDLE_S:g} s. Open another stream.") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        return {"text": message.get("text"), "bytes": message.get("bytes")}

    async def _send(self, message: dict[str, Any]) -> None:
        """Send a message.

        Raises:
            TimeoutError: The client does not read.
        """
        text = json.dumps(message, separators=(",", ":"), allow_nan=False)
        await asyncio.wait_for(self.socket.send_text(text), SEND_S)

    def _check_length(self, session: Session) -> None:
        most = self.model.limits.max_stream_s
        # The time, too: a client that sends hardly any samples would keep its place.
        if session.received_s > most or time.monotonic() - self._began > most + IDLE_S:
            raise RequestError(413, f"the stream is longer than {most:g} s. Open another one.")


def _read_settings(message: dict[str, Any]) -> _Settings:
    """Read the first message of a stream.

    Raises:
        RequestError: It is something else.
    """
    given = _parse(message["text"])
    if not isinstance(given, dict) or given.keys() - {*_Settings._fields}:
        raise RequestError(
            400, f"the first message has to be the settings of the stream, such as {_EXAMPLE}."
        )
    rate, kind = given.get("sample_rate"), given.get("format", "float32")
    lowest, highest = RATES
    if type(rate) is not int or not lowest <= rate <= highest:
        raise RequestError(
            400,
            f"sample_rate is {_short(rate)}, expected {lowest} to {highest} Hz. Send settings such as {_EXAMPLE}.",
        )
    if not isinstance(kind, str) or kind not in FORMATS:
        raise RequestError(400, f"format is {_short(kind)}. Choose one of: {', '.join(FORMATS)}.")
    return _Settings(rate, kind, given.get("spectrogram") is True)


def _decode(content: bytes, kind: str) -> np.ndarray:
    """Return samples [n] float32 of messages.

    Raises:
        RequestError: They end within a sample.
    """
    dtype, factor = FORMATS[kind]
    size = np.dtype(dtype).itemsize
    if len(content) % size:
        raise RequestError(
            400, f"a message ends within a sample: those of {kind} have {size} bytes. Send whole samples."
        )
    return np.frombuffer(content, dtype=dtype).astype(np.float32) * np.float32(factor)


def _parse(text: str | None) -> Any:
    """Return the JSON of a message; None if it is none."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
