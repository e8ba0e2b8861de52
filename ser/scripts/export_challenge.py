"""Write recordings as the course challenge's files: frames of 26 log-mels in JSON, with separate test labels.

ser export-challenge data=ravdess data.root=DIR label_map=quadrant hydra.run.dir=OUT
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig

from ser.config.main import main
from ser.config.settings import Train
from ser.data.manifest import Manifest
from ser.errors import setting
from ser.files import write_atomic
from ser.runs.environment import program_words

LABELS = ("valence", "activation")


@main("train", help=__doc__)
def export_challenge(settings: Train) -> None:
    """Write train.json and dev.json, and two halves of the test speakers: ser_test_1.json and ser_test_2.json."""
    from ser.config.instantiate import build  # torch and all that: first the config must be right
    from ser.features.extractors import CHALLENGE
    from ser.targets.labels import label_columns

    features = {"_target_": "ser.features.LogMel", "sample_rate": 16_000, **CHALLENGE}
    splits = build(settings.data, slot="data").splits(features)
    folder = Path(HydraConfig.get().runtime.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: (store, label_columns(LABELS, store)) for name, store in splits.stores.items()}
    for name, file in (("train", "train"), ("validation", "dev")):
        store, labels = parts[name]
        write(folder / f"{file}.json", frames_of(store), labels)
    if "test" in parts:
        store, labels = parts["test"]
        for number, indices in enumerate(filter(len, halves(splits.manifests["test"])), 1):
            write_test(folder, number, frames_of(store.select(indices)), labels[indices])
    train = " ".join([*program_words("train"), "data=challenge", setting("data.root", folder)])
    print(f"{folder}: written. Train with: {train}")


def halves(manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of every other speaker's utterances, and of the others, if there are any."""
    speakers = sorted({utterance.speaker or "" for utterance in manifest})
    of_first = np.array([speakers.index(utterance.speaker or "") % 2 == 0 for utterance in manifest])
    return np.flatnonzero(of_first), np.flatnonzero(~of_first)


def frames_of(store: Any) -> list[list[list[float]]]:
    """Compute the frames [T, 26] of each utterance, with the digits of float32."""
    stops = np.cumsum(store.lengths)
    frames = np.concatenate([*store.chunks(1 << 18)])
    return [
        [[float(f"{value:.8g}") for value in frame] for frame in part.tolist()]
        for part in np.split(frames, stops[:-1])
    ]


def write(path: Path, features: list[list[list[float]]], labels: np.ndarray) -> None:
    """Write a labelled object keyed by the number of the utterance."""
    rows = zip(labels.tolist(), features, strict=True)
    content = {
        str(index): {**dict(zip(LABELS, map(int, bits), strict=True)), "features": frames}
        for index, (bits, frames) in enumerate(rows)
    }
    write_atomic(path, json.dumps(content))


def write_test(folder: Path, number: int, features: list[list[list[float]]], labels: np.ndarray) -> None:
    """Write a test file without labels, the second one as records with integer ids, and its labels beside it."""
    gold = {
        str(index): dict(zip(LABELS, map(int, bits), strict=True))
        for index, bits in enumerate(labels.tolist())
    }
    write_atomic(folder / f"gold_{number}.json", json.dumps(gold))
    records = [{"id": index, "features": frames} for index, frames in enumerate(features)]
    keyed = {str(record["id"]): {"features": record["features"]} for record in records}
    write_atomic(folder / f"ser_test_{number}.json", json.dumps(records if number == 2 else keyed))
