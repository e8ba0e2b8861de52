"""The names that a config may hold: each room offers them, and every config of ours uses them."""

import importlib
import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

ROOMS = (
    "audio",
    "features",
    "targets",
    "models",
    "pretrained",
    "frozen",
    "text",
    "splits",
    "corpora",
    "mix",
    "synthetic",
    "embeddings",
    "trackers",
    "training",
    "pretraining",
)
OPTIONAL = (
    "soundfile",
    "soxr",
    "espeakng_loader",
    "sklearn",
    "opensmile",
    "transformers",
    "mlflow",
    "wandb",
)
PAGES = sorted([*(REPOSITORY / "conf").rglob("*.yaml"), *(REPOSITORY / "docs").glob("*.md")])


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_every_name_that_it_offers(room: str) -> None:
    module = importlib.import_module(f"ser.{room}")
    assert len({*module.__all__}) == len(module.__all__) > 0
    assert all(hasattr(module, name) for name in module.__all__)


def test_configs_and_docs_name_what_rooms_offer() -> None:
    names = {
        name for page in PAGES for name in re.findall(r"_target_: *(ser\.[\w.]+)", page.read_text("utf-8"))
    }
    offered = {
        f"ser.{room}.{name}" for room in ROOMS for name in importlib.import_module(f"ser.{room}").__all__
    }
    assert len(names) > 40
    assert names - offered == {"ser.embeddings.crossings.ZeroCrossings"}  # an example of one's own


def test_rooms_import_without_optional_libraries() -> None:
    """Of torchmetrics as it is without them: it imports `transformers` where that is installed."""
    absent = f"sys.modules.update(dict.fromkeys({OPTIONAL}))"
    code = f"import sys, torchmetrics; {absent}; import {', '.join(f'ser.{room}' for room in ROOMS)}"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_reading_audio_speaking_and_help_import_no_torch() -> None:
    modules = "ser.audio.reader, ser.data.manifest, ser.synthetic.spoken_words, ser.config.main"
    code = f"import sys, {modules}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "pydantic"} & {*loaded.split()}
