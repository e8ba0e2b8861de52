"""Speak texts with the times of their words in a fresh process, so that the same texts always sound the same."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np

from ser.errors import DataError, SerError, install_command
from ser.synthetic.espeak import SpokenWords, Synthesizer


def speak_words(texts: Sequence[Sequence[str]], *, voice: str) -> list[SpokenWords]:
    """Speak texts one after the other in a fresh process, at the voice's own pitch and rate.

    Args:
        texts: Words of each text, one at least, with punctuation.
        voice: Language and variant, such as "en+f3".

    Raises:
        ConfigError: espeak-ng is not installed.
        DataError: The process fails.
    """
    command = [sys.executable, "-m", __name__]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # so that it imports the same ser
    order = json.dumps({"texts": [list(words) for words in texts], "voice": voice})
    done = subprocess.run(command, input=order.encode(), capture_output=True, env=environment, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or "no message"
        raise DataError(
            f"espeak-ng, voice '{voice}': ended with code {done.returncode} ({reason}). Run it again; if it still "
            f"fails, run: {install_command('demo', '--force-reinstall')}"
        )
    with np.load(BytesIO(done.stdout)) as arrays:
        return [_unpack(arrays, index) for index in range(len(texts))]


def _unpack(arrays: Any, index: int) -> SpokenWords:
    waveform = arrays[f"waveform_{index}"].astype(np.float32) / 32768
    starts, is_exact = (arrays[f"{name}_{index}"].tolist() for name in ("starts", "is_exact"))
    return SpokenWords(waveform, tuple(starts), tuple(is_exact))


def _main() -> None:
    """Speak the texts on standard input, and write arrays to standard output."""
    order = json.load(sys.stdin)
    synthesizer = Synthesizer()
    arrays: dict[str, Any] = {}
    for index, words in enumerate(order["texts"]):
        spoken = synthesizer.synthesize_words(words, voice=order["voice"])
        arrays[f"waveform_{index}"] = np.round(spoken.waveform * 32768).astype(np.int16)
        arrays[f"starts_{index}"] = np.array(spoken.starts)
        arrays[f"is_exact_{index}"] = np.array(spoken.is_exact)
    content = BytesIO()
    np.savez(content, **arrays)
    sys.stdout.buffer.write(content.getvalue())


if __name__ == "__main__":
    try:
        _main()
    except SerError as error:
        sys.exit(str(error))
