"""`ser embed`: a file of ids and embeddings."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser.embeddings.hear import get_scene_embeddings, load_model
from ser.errors import DataError, MissingPackageError
from ser.scripts import embed as script
from tests import commands
from tests.embeddings.test_embeddings import speech
from tests.embeddings.test_hear import write_byol


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An encoder folder, and two recordings."""
    write_byol(tmp_path / "encoder")
    (tmp_path / "in").mkdir()
    for number, seconds in enumerate((0.9, 0.4)):
        soundfile.write(
            tmp_path / "in" / f"{number}.wav", speech(seconds, seed=number).numpy(), 16_000, subtype="FLOAT"
        )
    return tmp_path


def test_a_folder_is_embedded_with_its_ids(folder: Path) -> None:
    told = commands.run("ser", "embed", "path=encoder", "input=in", "output=out.npz", cwd=folder)
    assert "2 embeddings of 16 values: out.npz" in told.stdout
    written = np.load(folder / "out.npz", allow_pickle=False)
    assert written["ids"].tolist() == ["0", "1"]
    expected = get_scene_embeddings(speech(0.9).T, load_model(str(folder / "encoder")))
    np.testing.assert_allclose(written["embeddings"][:1], expected.numpy(), atol=1e-4, rtol=1e-4)
    again = commands.run("ser", "embed", "path=encoder", "input=in", "output=out.npz", cwd=folder, code=1)
    assert "out.npz: exists already. Set overwrite=true" in again.stderr


def test_other_formats_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"out\.csv: embeddings are written as \.npz or \.parquet"):
        script._check_format(Path("out.csv"))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match=r"pip install .*pandas>=\S+ .*pyarrow>="):
        script._check_format(Path("out.parquet"))
