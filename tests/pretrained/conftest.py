"""Folders of tiny encoders."""

from collections.abc import Callable

import pytest

from tests.pretrained.tiny import save


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the folder of a family's tiny model."""
    made: dict[str, str] = {}

    def of(family: str) -> str:
        if family not in made:
            made[family] = save(tmp_path_factory.mktemp(family), family)
        return made[family]

    return of
