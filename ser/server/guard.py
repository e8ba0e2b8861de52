"""Keep other sites' pages out, and let a page of this server load nothing from elsewhere."""

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self),camera=(),geolocation=()",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuse requests that come from a page of another site, or by a name that is not this machine's.

    A browser names the page's site in `Origin`. A site may also let its own name point to this machine (DNS
    rebinding), so that only addresses and known names are taken as `Host`.

    Args:
        app: What is guarded.
        names: Further host names of this machine.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self.app = app
        self.names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 403, or call the app and add headers."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        if refusal is None:
            await self.app(scope, receive, send_with_headers)
        elif scope["type"] == "websocket":
            await send(
                {"type": "websocket.close", "code": 1008, "reason": refusal[:100]}
            )  # before it is accepted: 403
        else:
            await JSONResponse({"error": refusal}, 403)(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers) -> str | None:
        """Return why a request is refused, or None."""
        host, origin = headers.get("host", ""), headers.get("origin")
        name = urlsplit(f"//{host}").hostname or "" if _is_place(host) else ""
        if not _is_address(name) and name not in self.names:
            return (
                "this server is not known by the name in the request. Start it with names=[NAME], or open it by its "
                "address."
            )
        if origin is not None and (not _is_place(origin) or urlsplit(origin).netloc.lower() != host.lower()):
            return "the request comes from a page of another site. Open the page of this server."
        return None


def _is_place(text: str) -> bool:
    """Return whether a text can be split as a URL or as its host."""
    try:
        urlsplit(text if "//" in text else f"//{text}").port  # noqa: B018
    except ValueError:
        return False
    return True


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
