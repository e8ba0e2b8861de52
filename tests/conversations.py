"""A tiny corpus in the layout of AVEC 2017: noise whose loudness is the arousal, words whose names are the valence."""

from pathlib import Path

import numpy as np

RATE = 8_000
WORDS = tuple(f"word{letter}" for letter in "abcdefgh")
VALENCE = np.linspace(-1, 1, len(WORDS))
COUNTS = {"Train": 6, "Devel": 2, "Test": 2}
STEPS = 120
TURNS = ((0.0, 4.9), (6.0, 12.0))


def write_sewa(root: Path, *, steps: int = STEPS, constant: bool = False) -> Path:
    """Write recordings with labels, turns and word times; `constant` writes labels of 0 alone."""
    import soundfile

    rng = np.random.default_rng(0)
    for folder in ("audio", "labels", "turns", "speech2vec/segmentation"):
        (root / folder).mkdir(parents=True)
    for split, count in COUNTS.items():
        for number in range(count):
            name = f"{split}_{number:02d}"
            levels = rng.uniform(0.05, 0.9, steps // 20).repeat(20)
            wave = 0.3 * rng.standard_normal(steps * RATE // 10) * levels.repeat(RATE // 10)
            soundfile.write(root / "audio" / f"{name}.wav", wave.clip(-1, 1), RATE)
            spoken = rng.integers(0, len(WORDS), steps // 5)
            values = np.stack([2 * levels - 0.95, VALENCE[spoken].repeat(5), np.zeros(steps)], 1)
            values[:, 2] = values[:, :2].mean(1)
            values *= not constant
            rows = [
                f"{name};{step / 10:.1f};" + ";".join(f"{v:.4f}" for v in row)
                for step, row in enumerate(values)
            ]
            (root / "labels" / f"{name}.csv").write_text("\n".join(rows) + "\n")
            (root / "turns" / f"{name}.csv").write_text("".join(f"{a};{b}\n" for a, b in TURNS))
            words = [
                f"s{place // 8}w{place % 8};{place / 2};{place / 2 + 0.4};{WORDS[word]}\n"
                for place, word in enumerate(spoken)
            ]
            (root / "speech2vec" / "segmentation" / f"{name}.csv").write_text("".join(words))
    return root
