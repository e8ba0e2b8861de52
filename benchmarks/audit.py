"""Measure how fast `ser describe` checks recordings, as times real time on two threads.

The recordings are all of RAVDESS, where they are beside the checkout, and generated speech with noise in any case.
"""

import time
from pathlib import Path

import numpy as np

from benchmarks.measure import ROOT, Goal, Options, Ratio, Result, main

RAVDESS = ROOT.parent / "shared" / "data" / "ravdess"
UTTERANCES, QUICK = 300, 40
_RATE, _THREADS = 16_000, 2


def audit(options: Options) -> Result:
    """Check each set of recordings once."""
    import torch

    torch.set_num_threads(_THREADS)
    count = QUICK if options.quick else UTTERANCES
    sets = {f"{count} generated utterances": speak(options.folder / f"audit-{count}", count)}
    notes = []
    if RAVDESS.is_dir():
        sets["RAVDESS"] = sorted(RAVDESS.rglob("*.flac"))[: count if options.quick else None]
    else:
        notes.append("RAVDESS: skipped, as it is not beside the checkout")
    rows, speeds = [], []
    for name, paths in sets.items():
        minutes, seconds = check(paths)
        speeds.append(60 * minutes / seconds)
        rows.append([name, str(len(paths)), f"{minutes:.1f}", f"{seconds:.1f}", f"{speeds[-1]:.0f}"])
    return Result(
        name="audit",
        headline="check of recordings, times real time on two threads",
        ratio=Ratio(speeds[-1], speeds[-1], speeds[-1]),
        columns=["recordings", "files", "minutes of speech", "s", "x real time"],
        rows=rows,
        goals=[
            Goal(f"{name}: times real time", speed, ">=", 200)
            for name, speed in zip(sets, speeds, strict=True)
        ],
        notes=notes,
    )


def check(paths: list[Path]) -> tuple[float, float]:
    """Check recordings, duplicates included; return their minutes and the seconds that it took."""
    from ser.audit.recordings import audit as check_recordings
    from ser.data.manifest import Manifest, Utterance

    manifest = Manifest(tuple(Utterance(path.stem, path) for path in paths), "benchmark")
    begin = time.perf_counter()
    found = check_recordings(manifest, [None] * len(paths))
    seconds = time.perf_counter() - begin
    return sum(each.measures.seconds for each in found.recordings if each.measures) / 60, seconds


def speak(folder: Path, count: int) -> list[Path]:
    """Write generated sentences with noise at -50 dB, or reuse them."""
    import soundfile

    from ser.synthetic import espeak
    from ser.synthetic.sentences import sentence

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04}.wav" for number in range(count)]
    synthesizer = espeak.Synthesizer()
    for number, path in enumerate(paths):
        if not path.exists():
            rng = np.random.default_rng(number)
            words = " ".join(sentence("en", "train", rng)).split()
            spoken = synthesizer.synthesize_words(words, voice="en+m3", pitch=50, pitch_range=50, rate=160)
            speech = espeak.resample(spoken.waveform, _RATE, whole_s=0.1)
            soundfile.write(path, 0.5 * speech + 0.003 * rng.normal(size=len(speech)), _RATE)
    return paths


if __name__ == "__main__":
    main(audit)
