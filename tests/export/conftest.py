"""Exported folders that several files of tests use."""

import shutil
from pathlib import Path

import pytest

from ser.export.bundle import Bundle, write_bundle
from tests.export.runs import SMALL, save_run


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the challenge, whose features can be computed from recordings, too."""
    folder = tmp_path_factory.mktemp("run")
    return save_run(folder, "data=challenge", f"data.root={folder}", *SMALL)


@pytest.fixture(scope="session")
def written(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bundle]:
    output = tmp_path_factory.mktemp("exported") / "model"
    return output, write_bundle(source, output)


@pytest.fixture
def folder(written: tuple[Path, Bundle], tmp_path: Path) -> Path:
    """A copy that may be changed."""
    shutil.copytree(written[0], tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="session")
def of_recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of recordings with a GRU in both directions, and its folder."""
    place = tmp_path_factory.mktemp("recordings")
    settings = ("data=ravdess", f"data.root={place}", "features.num_mel_bins=16", "frontend.delta_scale=0")
    layers = ("model=lstm", "model.cell=gru", "model.hidden_dim=6", "model.num_layers=1", "pooling=mean")
    run = save_run(
        place / "run", *settings, *layers, "target.class_names=[anger,calm]", "target.field=emotion"
    )
    write_bundle(run, place / "model")
    return run, place / "model"
