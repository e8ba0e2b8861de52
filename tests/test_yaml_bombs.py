"""YAML that a user hands over."""

from itertools import pairwise
from pathlib import Path

import pytest

from ser.errors import DataError
from ser.yaml_bombs import refuse_yaml_bomb, refuse_yaml_bombs

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{here}: &{here} [{', '.join([f'*{before}'] * 9)}]\n" for before, here in pairwise("abcdefghij")
)


@pytest.mark.parametrize("text", [BOMB, "a: &a [*a]\n", "a: &a {b: *a}\n", "[" * 5000 + "]" * 5000])
def test_yaml_that_grows_beyond_bounds_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"x\.yaml: (its aliases|is nested too deeply).*without `\*`"):
        refuse_yaml_bomb(Path("x.yaml"), text)


@pytest.mark.parametrize("text", ["", "a: &a {b: 1}\nc: *a\n", "not: [yaml", "- 1\n- 2\n"])
def test_other_yaml_is_left_to_its_reader(text: str) -> None:
    refuse_yaml_bomb(Path("x.yaml"), text)


def test_a_bomb_in_a_folder_of_configs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text(BOMB)
    with pytest.raises(DataError, match=r"data/mine\.yaml: its aliases"):
        refuse_yaml_bombs(tmp_path)
