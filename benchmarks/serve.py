"""Measure the server: first answer to a file, answers of streams, bad requests.

The models are the stream of experiment=language_id_stream, which answers each frame, and the CNN, which is asked about
windows of 2 s, both after two steps of training on noise: training changes nothing about time. The server has a process
of its own. Twenty clients in another one send pieces of 100 ms in real time.
"""

import asyncio
import contextlib
import io
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import ROOT, Goal, Options, Result, main, run_python, spread, timed
from benchmarks.noise_runs import RATE, train_on_noise
from benchmarks.streaming import sound

STREAMS, SECONDS = 20, 60
BAD_REQUESTS = 200
_PIECE_S = 0.1
_PIECE = round(_PIECE_S * RATE)
_CLIENTS = "import sys; from benchmarks.serve import run_clients; run_clients(*sys.argv[1:])"


def serve(options: Options) -> Result:
    """Measure the seconds of answers; the headline is one stream against twenty."""
    seconds = 2 if options.quick else SECONDS
    bad = 10 if options.quick else BAD_REQUESTS
    run = train_on_noise(options.folder, "stream", "experiment=language_id_stream")
    with server(run) as (process, address):
        content = wav(sound(3))
        first = timed(lambda: request(address, content))
        later = spread([timed(lambda: request(address, content)) for _ in range(options.repetitions)])
        alone, lost_alone = stream_clients(address, 1, seconds)
        before = memory_mib(process.pid), descriptors(process.pid)
        statuses = [bad_request(address, number) for number in range(bad)]
        after = memory_mib(process.pid), descriptors(process.pid)
        together, lost = stream_clients(address, STREAMS, seconds)
    with server(train_on_noise(options.folder, "cnn", "model=cnn")) as (_, address):
        windows, lost_windows = stream_clients(address, STREAMS, seconds)
    slow = [float(np.percentile(delays, 95)) for delays in (alone, together, windows)]
    return Result(
        name="serve",
        headline=f"{STREAMS} streams / one stream, 95th percentile of the time to an answer",
        ratio=spread([slow[1] / slow[0]]),
        columns=["what", "median, ms", "95th percentile, ms", "longest, ms"],
        rows=[
            ["first answer to a file of 3 s", *[f"{1e3 * first:.0f}"] * 3],
            ["later ones", f"{1e3 * later.median:.0f}", "", f"{1e3 * later.high:.0f}"],
            row("one stream", alone),
            row(f"{STREAMS} streams", together),
            row(f"{STREAMS} streams of windows", windows),
        ],
        goals=[
            Goal("first answer to a file, s", first, "<=", 1),
            Goal(f"{STREAMS} streams, 95th percentile, ms", 1e3 * slow[1], "<=", 200),
            Goal(f"{STREAMS} streams of windows, 95th percentile, ms", 1e3 * slow[2], "<=", 200),
            Goal("pieces lost", float(lost_alone + lost + lost_windows), "<=", 0),
            Goal(
                f"{bad} bad requests, answered with 5xx",
                float(sum(code >= 500 for code in statuses)),
                "<=",
                0,
            ),
            Goal(f"{bad} bad requests, memory added, MiB", after[0] - before[0], "<=", 5),
            Goal(f"{bad} bad requests, descriptors added", float(after[1] - before[1]), "<=", 0),
        ],
        notes=[f"streams of {seconds} s; pieces answered: {len(alone)}, {len(together)}, {len(windows)}"],
    )


def row(name: str, delays: np.ndarray) -> list[str]:
    """Return a row of the table from delays in s."""
    figures = (np.median(delays), np.percentile(delays, 95), delays.max())
    return [name, *(f"{1e3 * float(figure):.0f}" for figure in figures)]


@contextlib.contextmanager
def server(run: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start `ser serve` on a free port; yield its process and address, HOST:PORT."""
    command = [sys.executable, "-m", "ser", "serve", f"ckpt={run}", "port=0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        yield process, next(found[1] for line in lines if (found := re.search("http://([^ ]+)", line)))
    finally:
        process.terminate()
        process.wait()


def request(address: str, content: bytes) -> Any:
    """Return the answer to a recording, with all that the page shows."""
    url = f"http://{address}/predict?detail=true"
    with urllib.request.urlopen(urllib.request.Request(url, content)) as answer:
        return json.load(answer)


def bad_request(address: str, number: int) -> int:
    """Send something that is no recording; return the status of the answer."""
    bodies = [b"", b"text", b"RIFF" + bytes(4096), wav(sound(1))[:100], wav(sound(1), sample_rate=1)]
    try:
        request(address, bodies[number % len(bodies)])
    except urllib.error.HTTPError as error:
        return error.code
    return 200


def stream_clients(address: str, streams: int, seconds: int) -> tuple[np.ndarray, int]:
    """Run the clients in a process of their own; return delays of answers in s, and the number of lost pieces."""
    delays, lost = json.loads(run_python("-c", _CLIENTS, address, str(streams), str(seconds)))
    return np.array(delays), int(lost)


def run_clients(address: str, streams: str, seconds: str) -> None:
    """Print the delays of all clients, which begin one after the other within one piece."""

    async def run() -> list[tuple[list[float], int]]:
        count = int(streams)
        starts = (place * _PIECE_S / count for place in range(count))
        return await asyncio.gather(*(run_client(address, int(seconds), start) for start in starts))

    found = asyncio.run(run())
    print(json.dumps([[delay for delays, _ in found for delay in delays], sum(lost for _, lost in found)]))


async def run_client(address: str, seconds: int, start_s: float) -> tuple[list[float], int]:
    """Stream in real time; return the seconds from each piece to the answer that includes it, and the pieces lost."""
    from websockets.asyncio.client import connect

    pieces = [piece.tobytes() for piece in np.split(sound(seconds), round(seconds / _PIECE_S))]
    sent: list[float] = []
    delays: list[float] = []
    async with connect(f"ws://{address}/stream") as socket:
        await socket.send(json.dumps({"sample_rate": RATE, "format": "float32"}))
        await socket.recv()
        await asyncio.sleep(start_s)

        async def send() -> None:
            begin = time.perf_counter()
            for place, piece in enumerate(pieces):
                await asyncio.sleep(max(0.0, begin + place * _PIECE_S - time.perf_counter()))
                sent.append(time.perf_counter())
                await socket.send(piece)
            await socket.send('{"end": true}')

        sending = asyncio.create_task(send())
        async for message in socket:
            now = time.perf_counter()
            answered = json.loads(message)["samples"] // _PIECE
            delays += [now - moment for moment in sent[len(delays) : answered]]
        await sending
    return delays, len(pieces) - len(delays)


def wav(waveform: np.ndarray, sample_rate: int = RATE) -> bytes:
    """Return the bytes of a WAV file."""
    import soundfile

    content = io.BytesIO()
    soundfile.write(content, waveform, sample_rate, format="WAV")
    return content.getvalue()


def memory_mib(pid: int) -> float:
    """Return the memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def descriptors(pid: int) -> int:
    """Return the number of open files of a process."""
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


if __name__ == "__main__":
    main(serve)
