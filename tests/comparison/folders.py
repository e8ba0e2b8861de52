"""Folders as trainings leave them, with predictions that are drawn rather than learnt."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ser.runs.predictions_file import write_predictions
from ser.runs.sweep import record_status

CLASSES = ("anger", "calm", "fear", "sadness")


def write_run(
    folder: Path,
    *,
    accuracy: float = 0.6,
    speakers: Sequence[str | None] = tuple("abcdefghijkl"),
    items: int = 20,
    seed: int = 0,
    fold: int | None = None,
    split: str = "test",
    settings: Mapping[str, Any] | None = None,
    draw: int = 0,
) -> Path:
    """Write the folder of a run.

    Args:
        folder: The folder.
        accuracy: Share of correct predictions, on average.
        speakers: Speakers that are scored.
        items: Items of each speaker.
        seed: Setting `seed`.
        fold: Setting `data.split.fold`.
        split: Split that is scored.
        settings: Further settings that were typed, by key.
        draw: Seed of the predictions.
    """
    typed = {**(settings or {}), "seed": seed} | ({} if fold is None else {"data.split.fold": fold})
    record_status(folder, "running", monitor="validation/accuracy", mode="max")
    record_status(folder, "completed", value=accuracy)
    config: dict[str, Any] = {"resume": None, "experiment_name": "test", "seed": seed}
    for key, value in typed.items():
        node = config
        *path, last = key.split(".")
        for name in path:
            node = node.setdefault(name, {})
        node[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    words = [f"{key}={value}" for key, value in typed.items()]
    (folder / "environment.json").write_text(json.dumps({"overrides": words}))
    (folder / "facts.json").write_text(json.dumps({"parameters": 1234, "duration_s": 75.0}))
    write_predictions(folder, split, [*_rows(speakers, items, accuracy, draw)])
    return folder


def _rows(speakers: Sequence[str | None], items: int, accuracy: float, draw: int) -> Any:
    random = np.random.default_rng(draw)
    for place, speaker in enumerate(speakers):
        for number in range(items):
            label = CLASSES[number % len(CLASSES)]
            wrong = CLASSES[(number + 1) % len(CLASSES)]
            given = label if random.random() < accuracy else wrong
            yield {
                "id": f"{speaker or place}-{number:02}",
                "speaker": speaker,
                "label": label,
                "prediction": given,
                **{f"p_{name}": 0.7 if name == given else 0.1 for name in CLASSES},
            }
