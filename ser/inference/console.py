"""Show a stream on the console: a status line, a row for every decision, and a plot at the end."""

import csv
import io
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ser.errors import ConfigError, DataError
from ser.files import hold
from ser.inference.stream import Decision, Stream
from ser.inference.writers import check_output
from ser.report import figures, stream_plot

_SHOWN_S = 3600  # the plot of a long stream shows the last hour
_BYTES = 2  # bytes of a sample of raw PCM
_MOST_BYTES = 1 << 16  # 2 s at 16 kHz


@dataclass(frozen=True)
class StreamSummary:
    """Summary of a finished stream.

    Args:
        seconds: Seconds of sound.
        busy_s: Seconds of computing.
        last: The last decision; None if there was none.
        signal: Number of the signal that ended the stream before its source did; None if none did.
    """

    seconds: float
    busy_s: float
    last: Decision | None
    signal: int | None = None

    @property
    def real_time_factor(self) -> float:
        """Return the seconds of computing per second of sound."""
        return self.busy_s / self.seconds if self.seconds else 0.0


def follow(
    stream: Stream, source: Iterable[np.ndarray], output: Path, *, title: str, overwrite: bool
) -> StreamSummary:
    """Push everything from a source, and write the decisions; Ctrl-C ends the stream like the end of the source.

    Args:
        stream: New stream.
        source: Chunks [n] of a waveform.
        output: A .csv with the columns time_s, p_<class>, decision, so_far, the last two empty in silence; a plot of
            the same name is written beside it.
        title: Title of the plot.
        overwrite: Whether to replace existing files.

    Raises:
        DataError: A file cannot be written, or the samples are not finite.
    """
    if output.suffix.lower() != ".csv":
        raise DataError(
            f"{output}: decisions of a stream are written as .csv, with a plot .png beside it. Give output=NAME.csv."
        )
    picture = output.parent / f"{output.stem}.png"
    for path in (output, picture):
        check_output(path, overwrite=overwrite)
    shown: deque[Decision] = deque(maxlen=round(_SHOWN_S / stream.shift_s / stream.subsampling))
    samples, busy_s = 0, 0.0
    try:
        with (
            _open_unfinished(output) as (unfinished, file),
            _status() as status,
            _interruptible() as interrupt,
        ):
            write = _writer(file, stream)
            for piece in _until_interrupted(source, interrupt):
                started = time.perf_counter()
                decisions = stream.push(piece) if piece is not None else stream.finish()
                busy_s += time.perf_counter() - started
                samples += 0 if piece is None else len(piece)
                write(decisions)
                shown.extend(decisions)
                if not interrupt.asked:
                    status(shown, stream)
            file.flush()
            unfinished.replace(output)
    except OSError as error:
        raise DataError(
            f"{output}: cannot be written ({error.strerror or error}). Give another output."
        ) from error
    if shown:
        figures.save(_picture(shown, stream, title), picture)
    return StreamSummary(samples / stream.sample_rate, busy_s, shown[-1] if shown else None, interrupt.signal)


@contextmanager
def _open_unfinished(output: Path) -> Iterator[tuple[Path, TextIO]]:
    """Open the hidden file that becomes the output at the end, for one stream at a time.

    Raises:
        DataError: Another stream is writing there.
    """
    path = output.with_name(f".{output.name}.part")
    with path.open(
        "a", newline="", encoding="utf-8"
    ) as file:  # not "w", which would empty the file of another stream
        if not hold(file.fileno()) or not _is_open(path, file):
            raise DataError(f"{output}: another stream is writing there now. Give another output.")
        file.truncate(0)
        try:
            yield path, file
        finally:
            path.unlink(missing_ok=True)


def _is_open(path: Path, file: TextIO) -> bool:
    """Return whether the file of this name is the open one; another stream may have renamed it."""
    return path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino


def raw_samples(file: io.BufferedIOBase) -> Iterator[np.ndarray]:
    """Yield chunks [n] float32 in -1..1 from raw mono PCM, 16 bits, little-endian, as they arrive.

    An incomplete sample at the end is dropped.

    Args:
        file: Input such as standard input, whose `read1` returns available bytes without waiting for more.
    """
    rest = b""
    while piece := file.read1(_MOST_BYTES):
        rest += piece
        whole = len(rest) // _BYTES * _BYTES
        yield np.frombuffer(rest[:whole], dtype="<i2").astype(np.float32) / 32768
        rest = rest[whole:]


def summarize_stream(followed: StreamSummary, stream: Stream, name: str, output: Path) -> str:
    """Summarise a finished stream in a few lines."""
    if followed.last is None:
        said = "no speech, so no decision" if stream.features.removes else "too short for a decision"
    elif followed.last.so_far is None:
        said = "no speech, so no decision"
    else:
        best = int(np.argmax(followed.last.so_far))
        said = f"{stream.class_names[best]}, {followed.last.so_far[best]:.1%}"
    latency = f"{1000 * stream.look_ahead_s:.0f} ms after the end of its frame at most"
    lines = [
        f"{name}, {followed.seconds:.2f} s: {said}",
        f"Real-time factor {followed.real_time_factor:.4f}; a decision comes {latency}.",
        f"Every decision: {output}",
    ]
    return "\n".join(lines)


def check_inputs(source: str, *, sample_rate: int | None, stream: Stream) -> None:
    """Refuse inputs that cannot be streamed.

    Raises:
        ConfigError: Raw sound has another rate than that of the models.
        DataError: A recording is not a file.
    """
    if source == "-" and sample_rate not in (None, stream.sample_rate):
        raise ConfigError(
            f"sample_rate={sample_rate}: the model expects {stream.sample_rate} Hz, and raw samples are not resampled. "
            f"Pipe them through a program that does, such as sox or ffmpeg, at {stream.sample_rate} Hz."
        )
    if source != "-" and not Path(source).is_file():
        raise DataError(f"{source}: stream=true reads one recording. Give a file, or - for standard input.")


class _Interrupt:
    """Handle Ctrl-C and similar signals: the first one ends the source, immediately only while waiting for it."""

    def __init__(self) -> None:
        self.asked = self.waiting = False
        self.signal: int | None = None

    def __call__(self, signum: int, *_: object) -> None:
        self.signal = signum
        if signum not in (signal.SIGINT, signal.SIGTERM):  # the terminal is gone: nothing can be printed
            sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
        if self.waiting or self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def _interruptible() -> Iterator[_Interrupt]:
    """Make Ctrl-C, SIGTERM and SIGHUP end the source instead of the program, in the main thread only."""
    interrupt = _Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    # Windows has no SIGHUP.
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), interrupt) for name in names}
    try:
        yield interrupt
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _until_interrupted(source: Iterable[np.ndarray], interrupt: _Interrupt) -> Iterator[np.ndarray | None]:
    """Yield the chunks of the source, and None at its end or after Ctrl-C."""
    pieces = iter(source)
    piece: np.ndarray | None = None
    while not interrupt.asked:
        try:
            interrupt.waiting = True
            piece = next(pieces, None)
        except KeyboardInterrupt:
            interrupt.asked = True
        finally:
            interrupt.waiting = False
        if interrupt.asked or piece is None:
            break
        yield piece
    if interrupt.asked:
        print("Interrupted: the decisions so far are written.", file=sys.stderr)
    yield None


def _writer(file: TextIO, stream: Stream) -> Any:
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["time_s", *(f"p_{name}" for name in stream.class_names), "decision", "so_far"])

    def write(decisions: list[Decision]) -> None:
        table.writerows(
            [
                f"{decision.time_s:.3f}",
                *(f"{value:.6f}" for value in decision.probabilities),
                label_of(decision.probabilities if decision.is_speech else None, stream),
                label_of(decision.so_far, stream),
            ]
            for decision in decisions
        )

    return write


def label_of(probabilities: tuple[float, ...] | None, stream: Stream) -> str:
    """Return the most probable class; empty if there is no decision."""
    return "" if probabilities is None else stream.class_names[int(np.argmax(probabilities))]


@contextmanager
def _status() -> Iterator[Any]:
    """Show a status line, if the output is a terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), refresh_per_second=10, transient=True) as live:

        def status(shown: deque[Decision], stream: Stream) -> None:
            if shown:
                live.update(Text(_line(shown[-1], stream)))

        yield status


def _line(decision: Decision, stream: Stream) -> str:
    """Format a status line, such as `12.30 s  en 83%  hi 12%  cmn 5%  so far: en`."""
    shares = zip(stream.class_names, decision.probabilities, strict=True)
    now = "  ".join(f"{name} {value:4.0%}" for name, value in shares) if decision.is_speech else "silence"
    return f"{decision.time_s:8.2f} s  {now}  so far: {label_of(decision.so_far, stream) or '-'}"


def _picture(shown: deque[Decision], stream: Stream, title: str) -> Any:
    nothing = (np.nan,) * len(stream.class_names)
    return stream_plot.probabilities(
        np.array([decision.time_s for decision in shown]),
        np.array([decision.probabilities for decision in shown]),
        np.array([decision.so_far or nothing for decision in shown]),
        np.array([not decision.is_speech for decision in shown]),
        class_names=stream.class_names,
        title=title,
    )
