"""Waveforms with syllables, pauses and a little noise, which have no faults."""

import numpy as np

RATE = 16_000


def speech(seed: int, *, seconds: float = 2.5) -> np.ndarray:
    """Generate a waveform whose syllables differ in length, pitch, timbre and level."""
    random = np.random.default_rng(seed)
    waveform = 1e-4 * random.standard_normal(round(seconds * RATE))
    place = round(0.2 * RATE)
    while place < len(waveform) - 0.45 * RATE:
        time = np.arange(round(random.uniform(0.1, 0.25) * RATE)) / RATE
        pitch = random.uniform(90, 250) * (1 + random.uniform(-0.5, 0.5) * time)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        harmonics = range(1, 28)
        weights = random.uniform(0, 1, len(harmonics)) / np.array(harmonics)
        voiced = sum(
            weight * np.sin(number * phase + random.uniform(0, 6))
            for number, weight in zip(harmonics, weights, strict=True)
        )
        breath = 0.1 * random.standard_normal(len(time))
        syllable = np.hanning(len(time)) * (voiced + breath) * random.uniform(0.1, 0.3)
        waveform[place : place + len(time)] += syllable
        place += len(time) + round(random.uniform(0.02, 0.12) * RATE)
    return (np.round(0.7 * waveform / np.abs(waveform).max() * 32767) / 32767).astype(np.float32)
