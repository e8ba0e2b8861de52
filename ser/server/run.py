"""Open the port, and serve until the program is ended."""

import contextlib
import errno
import ipaddress
import socket
from typing import Any

import uvicorn
from starlette.applications import Starlette

from ser.errors import ConfigError, setting
from ser.server.limits import MESSAGE_BYTES, Limits

_CONNECTIONS = 64  # beside streams and requests: files of the page, clients that are refused
_HIGHEST_PORT = 65_535


def open_socket(host: str, port: int) -> socket.socket:
    """Bind a socket.

    Args:
        host: Address or name of this machine.
        port: Port; 0 for a free one.

    Raises:
        ConfigError: The port is in use or not allowed, or the host is none of this machine's.
    """
    if not 0 <= port <= _HIGHEST_PORT:
        raise ConfigError(
            f"port={port}: expected 0 to {_HIGHEST_PORT}. Use port=8000, or port=0 for a free one."
        )
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name, such as a..b
        raise _unknown_host(host) from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise _bind_error(host, port, error) from error
    return listener


def _bind_error(host: str, port: int, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"port={port}: another program listens there on {host}. Give another port, or port=0 for a free one."
        )
    if error.errno == errno.EACCES:
        return ConfigError(
            f"port={port}: only administrators may use it. Use port=8000, or port=0 for a free one."
        )
    return _unknown_host(host)


def _unknown_host(host: str) -> ConfigError:
    return ConfigError(
        f"{setting('host', host)}: is no address of this machine. Use host=127.0.0.1, or host=0.0.0.0 for all of its "
        "addresses."
    )


def describe_address(listener: socket.socket, host: str) -> list[str]:
    """Return lines with the address of the page, and a warning if other machines reach it."""
    address, port, *_ = listener.getsockname()
    lines = []
    if not ipaddress.ip_address(address).is_loopback:
        lines = [f"host={host}: every machine that reaches this one can use the model, without a password."]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return [*lines, f"Open http://{shown}:{port}  (Ctrl-C ends)"]


def options_of(limits: Limits) -> dict[str, Any]:
    """Return settings of uvicorn: neither requests nor their content are logged."""
    return {
        "access_log": False,
        "log_level": "warning",
        "server_header": False,
        "ws_max_size": MESSAGE_BYTES,
        "ws_per_message_deflate": False,  # samples hardly shrink, and a small message could become a large one
        "limit_concurrency": limits.max_streams + limits.max_requests + _CONNECTIONS,
        "timeout_graceful_shutdown": 2,
    }


def serve(app: Starlette, listener: socket.socket, limits: Limits) -> None:
    """Serve until SIGINT or SIGTERM."""
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how a server ends
        uvicorn.Server(uvicorn.Config(app, **options_of(limits))).run(sockets=[listener])
