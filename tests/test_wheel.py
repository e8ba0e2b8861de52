"""The wheel: complete, and usable from any folder without the checkout."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.commands import TINY, environment
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with what is in the wheel, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    done = subprocess.run([sys.executable, *build, str(REPOSITORY)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def installed(site: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder where `ser` is what the wheel brought."""
    variables = environment(cwd / "cache") | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-P", *words]
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300)


def test_the_wheel_holds_package_and_configs_and_nothing_else(site: Path) -> None:
    assert {path.name.partition("-")[0] for path in site.iterdir()} == {"ser", "ser_lightning"}
    for source, copy in (("conf", "ser/conf"), ("ser", "ser")):
        tracked = subprocess.check_output(["git", "ls-files", source], cwd=REPOSITORY, text=True).split()
        present = [name for name in tracked if (REPOSITORY / name).exists()]
        assert present
        missing = [name for name in present if not (site / copy / Path(name).relative_to(source)).is_file()]
        assert missing == []
    (entry_points,) = site.glob("*.dist-info/entry_points.txt")
    assert "ser = ser.__main__:main" in entry_points.read_text()


def test_an_installed_command_composes_from_another_folder(site: Path, tmp_path: Path) -> None:
    done = installed(site, "-m", "ser", "train", "model=lstm", "resume=null", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ser.models.LSTMEncoder" in done.stdout
    assert [*tmp_path.iterdir()] == []


def test_the_package_is_found_beside_a_folder_of_its_name(site: Path, tmp_path: Path) -> None:
    """Python takes a folder `ser` without __init__.py, such as a clone, for a package where it finds no other."""
    (tmp_path / "ser" / "data").mkdir(parents=True)
    code = "import sys; sys.path.insert(0, ''); import ser.errors; print(ser.__file__)"
    done = installed(site, "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == str(site / "ser" / "__init__.py"), done.stderr


def test_an_editable_install_is_a_path_and_no_import_hook(tmp_path: Path) -> None:
    """An import hook comes after the working folder, in which a clone named `ser` would be taken for the package."""
    code = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=REPOSITORY, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        brought = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert brought == ["_ser_lightning.pth"]
        assert archive.read(brought[0]).decode().strip() == str(REPOSITORY)


@pytest.mark.slow
def test_an_installed_command_trains_and_predicts_elsewhere(
    site: Path, challenge: Path, tmp_path: Path
) -> None:
    words = ("data=challenge", f"data.root={challenge}", "debug=fast", *TINY, "hydra.run.dir=run")
    trained = installed(site, "-m", "ser", "train", *words, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["commit"] is None
    answers = ("ckpt=run", f"input={challenge / 'ser_test_1.json'}", "output=pred.json")
    predicted = installed(site, "-m", "ser", "predict", *answers, cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    assert len(json.loads((tmp_path / "pred.json").read_text())) == 24
    resumed = installed(site, "-m", "ser", "train", "resume=run", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
