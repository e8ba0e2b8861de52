"""Shared pieces of the tests: small speech-like features, and where real speech may lie."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from ser.batch import Padded
from tests import remedies

settings.register_profile("few", deadline=None, max_examples=25)  # a busy machine must not fail a test
settings.register_profile("many", deadline=None, max_examples=400)  # pytest --hypothesis-profile many
settings.load_profile("few")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going through all that was imported, again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_start() -> None:
    """Begin with the same numbers, and with the small ones that a training in this process may have switched off."""
    torch.manual_seed(0)
    torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def _typed_remedies() -> Iterator[None]:
    """Type in bash what the messages that a test provokes tell to type, and check it as Hydra and ser read it."""
    yield
    faults = remedies.take_faults()
    if faults:
        pytest.fail("\n".join(["a remedy does not work as printed:", *faults]), pytrace=False)


@pytest.fixture
def shared() -> Path:
    """The folder of real speech beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("no shared/ folder with real speech beside the checkout")
    return SHARED


@pytest.fixture
def audio() -> Padded:
    """Six utterances of 26 log-mels, 1 to 90 frames; the padding is zero."""
    lengths = torch.tensor([90, 61, 40, 23, 8, 1])
    return Padded(torch.randn(6, 90, 26) * 3 + 8, lengths).zeroed()


def alone(audio: Padded, index: int) -> Padded:
    """One utterance of a batch, without mates and without padding."""
    length = int(audio.lengths[index])
    return Padded(audio.values[index : index + 1, :length], audio.lengths[index : index + 1])


def write_challenge(root: Path, sizes: dict[str, int], *, seed: int = 0) -> None:
    """Small files in the challenge's format, of a task that can be learnt: the class shifts some bands."""
    generator = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    for split, size in sizes.items():
        records = {}
        for index in range(size):
            valence, activation = divmod(index % 4, 2)
            frames = generator.normal(8, 2, (int(generator.integers(20, 90)), 26))
            frames[:, :8] += 2 * activation
            frames[:, 16:] += 2 * valence
            records[str(index)] = {
                "valence": valence,
                "activation": activation,
                "features": frames.round(3).tolist(),
            }
        if split.startswith("ser_test"):
            gold = {
                key: {name: record[name] for name in ("valence", "activation")}
                for key, record in records.items()
            }
            (root / f"gold_{split[-1]}.json").write_text(json.dumps(gold))
            records = {key: {"features": record["features"]} for key, record in records.items()}
        content = [{"id": int(key), **record} for key, record in records.items()]
        (root / f"{split}.json").write_text(json.dumps(content if split == "ser_test_2" else records))


def write_recordings(root: Path, speakers: int = 6) -> None:
    """Short recordings named as those of RAVDESS, of four emotions that differ in pitch, in a folder per emotion."""
    soundfile = pytest.importorskip("soundfile")
    codes = {"neutral": "01", "happiness": "03", "sadness": "04", "anger": "05"}
    for speaker in range(1, speakers + 1):
        for place, (emotion, code) in enumerate(codes.items()):
            for take in (1, 2):
                samples = np.arange(6_400 + 800 * ((speaker + take) % 4))
                noise = np.random.default_rng([speaker, place, take]).normal(size=len(samples))
                waveform = (
                    0.1 * np.sin(0.05 * (1 + 2 * place) * (1 + 0.02 * speaker) * samples) + 0.01 * noise
                )
                (root / emotion).mkdir(parents=True, exist_ok=True)
                name = f"03-01-{code}-01-01-{take:02d}-{speaker:02d}.wav"
                soundfile.write(root / emotion / name, waveform, 16_000)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus of recordings, in a folder per class, with the file names of RAVDESS."""
    root = tmp_path_factory.mktemp("recordings")
    write_recordings(root)
    return root


def tone_of(language: int, number: int, samples: int) -> np.ndarray:
    """A tone [samples] at 8 kHz whose pitch tells the language, at a level that tells nothing."""
    random = np.random.default_rng([language, number])
    pitch = 200 * 1.6**language * random.uniform(0.97, 1.03)
    tone = np.sin(2 * np.pi * pitch * np.arange(samples) / 8_000)
    return (random.uniform(0.05, 0.3) * (tone + 0.1 * random.normal(size=samples))).astype(np.float16)


@pytest.fixture(scope="session")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four files of the language identification assignment, with clips of 2 s."""
    root = tmp_path_factory.mktemp("arrays")
    for split, count, first in (("train", 20, 0), ("test", 6, 100)):
        labels = np.repeat(np.arange(6), count).astype(np.int8)
        clips = [tone_of(label, first + number, 16_000) for number, label in enumerate(labels.tolist())]
        np.save(root / f"inputs_{split}_fp16.npy", np.stack(clips))
        np.save(root / f"targets_{split}_int8.npy", labels)
    return root


@pytest.fixture(scope="session")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The challenge's files with a few dozen utterances."""
    root = tmp_path_factory.mktemp("challenge")
    write_challenge(root, {"train": 64, "dev": 32, "ser_test_1": 24, "ser_test_2": 18})
    return root
