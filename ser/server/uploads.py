"""Read the audio file of a request: at most one, at most so large, in memory alone."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from pathlib import PurePosixPath

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from ser.server.limits import UPLOAD_S, Limits, RequestError

# It warns about forms that it cannot read, with bytes of them: the client is told, and nothing is logged.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
_BODY, _FORM = "the body", "multipart/form-data"
_FORM_BYTES = 1 << 16  # of a form, beside its file
_READ_ON = (
    4  # bodies of so many times the limit are read and dropped, so that the client gets to reading the answer
)
_LONGEST_NAME = 80


async def read_upload(request: Request, limits: Limits) -> tuple[str, bytes]:
    """Return the name and the bytes of the file in a body, which is the file itself or a form with one.

    Raises:
        RequestError: The body is too large, comes too slowly, or holds no file or several.
        ClientDisconnect: The client has gone.
    """
    body = _Body(request, limits)
    try:
        async with asyncio.timeout(UPLOAD_S):
            if request.headers.get("content-type", "").lower().startswith(_FORM):
                name, content = await _read_form(request, body)
            else:
                name, content = _BODY, b"".join([chunk async for chunk in body.chunks()])
    except TimeoutError as error:
        raise RequestError(408, f"the body did not arrive within {UPLOAD_S:g} s. Send it faster.") from error
    except RequestError:
        await body.drop_rest()
        raise
    if not content:
        raise RequestError(400, f"{name}: holds 0 bytes. {_example(request)}")
    return name, content


async def drop_upload(request: Request, limits: Limits) -> None:
    """Read the body of a request that is refused, up to a limit, without keeping anything."""
    await _Body(request, limits).drop_rest()


class _Body:
    """The bytes of a request, up to the limit."""

    def __init__(self, request: Request, limits: Limits) -> None:
        self.request = request
        self.limits = limits
        self.received = 0
        self._stream = request.stream()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of the body.

        Raises:
            RequestError: It is too large.
        """
        self._check(
            int(declared) if (declared := self.request.headers.get("content-length", "")).isdigit() else 0
        )
        async for chunk in self._stream:
            self.received += len(chunk)
            self._check(self.received)
            yield chunk

    async def drop_rest(self) -> None:
        """Read on for a while without keeping anything; a client that is cut off would not see why."""
        try:
            async with asyncio.timeout(UPLOAD_S):
                async for chunk in self._stream:
                    self.received += len(chunk)
                    if self.received > _READ_ON * self.limits.max_bytes:
                        return
        except (TimeoutError, ClientDisconnect):
            return

    def _check(self, size: int) -> None:
        if size > self.limits.max_bytes + _FORM_BYTES:
            raise RequestError(
                413,
                f"the body is larger than {self.limits.max_mb:g} MB. Send a shorter recording, or one as flac.",
            )


class _InMemory(MultiPartParser):
    """A parser that writes no file to the disk: a body is at most as large as the limit."""

    spool_max_size = 0  # SpooledTemporaryFile's word for: never


async def _read_form(request: Request, body: _Body) -> tuple[str, bytes]:
    try:
        form = await _InMemory(request.headers, body.chunks(), max_files=1, max_fields=4).parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise RequestError(400, "the form holds several files. Send one file a request.") from error
        raise RequestError(
            400, f"the form cannot be read ({error.message.rstrip('.')}). {_example(request)}"
        ) from error
    files = [each for each in form.values() if isinstance(each, UploadFile)]
    if not files:
        raise RequestError(400, f"the form holds no file. {_example(request)}")
    content = await files[0].read()
    await form.close()
    return _clean_name(files[0].filename or "the file"), content


def _clean_name(name: str) -> str:
    """Return the name of a file without folders, and in short, for messages."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in PurePosixPath(name).name)
    return printable[:_LONGEST_NAME] or "the file"


def _example(request: Request) -> str:
    return f"Send an audio file, such as: curl -F file=@speech.wav {request.url.replace(query='')}"
