"""Where answers are computed: one thread for recordings, one for streams, beside the thread that serves."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from ser.server.limits import Limits, RequestError


class Work:
    """Count what is computed, and refuse more than the limits.

    A recording may take seconds, so streams have a thread of their own. In each, one computation follows the other.

    Args:
        limits: Limits of requests and streams.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests = 0
        self.streams = 0
        self._of_recordings = _start_thread("recordings", torch.get_num_threads())
        # A chunk of 100 ms costs 2 ms of one core. Where others compute, too, a second one costs 100 ms of waiting.
        self._of_streams = _start_thread("streams", 1)

    def begin_request(self) -> Callable[[], None]:
        """Take a place for a recording, and return what gives it back.

        Raises:
            RequestError: All places are taken.
        """
        if self.requests >= self.limits.max_requests:
            raise RequestError(
                429,
                f"{self.requests} recordings are waiting or being computed. Send this one again in a moment.",
            )
        self.requests += 1
        is_free = threading.Event()

        def end() -> None:
            if not is_free.is_set():
                is_free.set()
                self.requests -= 1

        return end

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Hold a place for a stream.

        Raises:
            RequestError: All places are taken.
        """
        if self.streams >= self.limits.max_streams:
            raise RequestError(
                429, f"{self.streams} streams are open, as many as are allowed. Try again later."
            )
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    async def compute(self, function: Callable[[Callable[[], None]], Any], end: Callable[[], None]) -> Any:
        """Compute the answer to a recording, and give its place back when the computation has really ended.

        Args:
            function: Takes a function that raises once the time is over.
            end: What `begin_request` has returned.

        Raises:
            RequestError: It takes too long.
        """
        loop = asyncio.get_running_loop()
        is_late = threading.Event()
        late = RequestError(
            503,
            f"the answer takes longer than {self.limits.timeout_s:g} s. Send a shorter recording, or try again when "
            "fewer others do.",
        )

        def check_time() -> None:
            if is_late.is_set():
                raise late

        def run() -> Any:
            check_time()
            return function(check_time)

        future = loop.run_in_executor(self._of_recordings, run)

        def finish(done: asyncio.Future[Any]) -> None:
            end()
            if not done.cancelled():
                done.exception()  # nobody waits for that of a late answer, which asyncio would report

        future.add_done_callback(finish)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.limits.timeout_s)
        except TimeoutError:
            raise late from None
        finally:
            is_late.set()

    async def step(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Compute the next answers of a stream."""
        return await asyncio.get_running_loop().run_in_executor(self._of_streams, function, *arguments)

    def close(self) -> None:
        """End the threads, without what waits for them."""
        for executor in (self._of_recordings, self._of_streams):
            executor.shutdown(wait=False, cancel_futures=True)


def _start_thread(name: str, cores: int) -> ThreadPoolExecutor:
    """Start a thread whose computations use a number of cores."""
    executor = ThreadPoolExecutor(1, name)
    executor.submit(_set_cores, cores).result()
    return executor


def _set_cores(cores: int) -> None:
    torch.set_num_threads(cores)
    torch.get_num_threads()  # keeps the number for this thread, whatever others set later
