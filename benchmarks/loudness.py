"""Show the loudness trap: each language has its own level, and another one in test. Draws docs/loudness_trap.png.

python -m benchmarks.loudness       5 minutes on two cores

Validation has the levels of train, so a network that uses them has high scores there, but not on test. Amplitude
normalisation of each clip removes the levels. The speech is generated: it shows the trap, not properties of languages.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.measure import ROOT, run_python

PLOT = ROOT / "docs" / "loudness_trap.png"
NORMALIZE = {"none": "as recorded", "peak": "each clip to peak 1"}
_SETTINGS = (
    "data.gain_by_language=true",
    "data.clips=[300,100]",
    "callbacks=default",
    "trainer.max_epochs=15",
)


def main() -> None:
    """Train with and without normalisation, print the scores, draw the curves."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        runs = {name: train(name, root) for name in NORMALIZE}
        scores = {name: json.loads((run / "metrics.json").read_text()) for name, run in runs.items()}
        curves = {name: curve(run) for name, run in runs.items()}
    for name, words in NORMALIZE.items():
        validation, test = (scores[name][f"{split}/accuracy"] for split in ("validation", "test"))
        print(f"{words:22} validation {validation:.1%}, test {test:.1%}")
    draw(curves, {name: found["test/accuracy"] for name, found in scores.items()})
    print(f"written: {PLOT.relative_to(ROOT)}")


def train(normalize: str, root: Path) -> Path:
    """Train on languages of different loudness; return the run's folder."""
    run = root / normalize
    words = (
        *_SETTINGS,
        f"data.root={root / 'data'}",
        f"features.normalize={normalize}",
        f"hydra.run.dir={run}",
    )
    run_python(ROOT / "train.py", "experiment=language_id", *words, "trainer.enable_progress_bar=false")
    return run


def curve(run: Path) -> dict[int, float]:
    """Read the validation accuracy by epoch."""
    progress = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["ser_progress"]
    found: dict[int, float] = progress["curves"]["validation/accuracy"]
    return found


def draw(curves: dict[str, dict[int, float]], tests: dict[str, float]) -> None:
    """Plot validation by epoch as a solid line and test as a dashed line, with a colour for each normalisation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    for color, (name, words) in zip(("#d95f02", "#1b6ca8"), NORMALIZE.items(), strict=True):
        epochs, values = zip(*sorted(curves[name].items()), strict=True)
        axes.plot(epochs, values, color=color, label=f"{words}, validation")
        axes.axhline(tests[name], color=color, linestyle="--", label=f"{words}, test: {tests[name]:.1%}")
    axes.axhline(1 / 6, color="grey", linewidth=1, linestyle=":", label="floor")
    axes.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1), title="Languages with a loudness of their own")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(PLOT)


if __name__ == "__main__":
    main()
