"""What one client may ask of the server, and the errors that say so."""

from dataclasses import dataclass

MESSAGE_BYTES = 1 << 18  # largest message of a stream: 1.4 s of float32 at 48 kHz
UPLOAD_S = 60.0  # seconds in which a body has to arrive
IDLE_S = 30.0  # seconds without a whole message after which a stream ends
SEND_S = 10.0  # seconds in which a client has to read an answer of its stream


@dataclass(frozen=True)
class Limits:
    """Limits of requests and streams; what each means stands in conf/serve.yaml."""

    max_mb: float = 20.0
    max_duration_s: float = 300.0
    timeout_s: float = 30.0
    max_requests: int = 8
    max_streams: int = 24
    max_stream_s: float = 3600.0

    @property
    def max_bytes(self) -> int:
        """Return the largest body in bytes."""
        return round(self.max_mb * 1_000_000)


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: Status code of HTTP.
        message: Fact and fix, for the client.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
