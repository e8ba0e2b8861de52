"""Read the setting `test_sets`, further labelled corpora that a training scores: `test_sets=[emodb:DIR,table.csv]`."""

import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ser.config.corpora import corpus_options, corpus_spec
from ser.errors import ConfigError, did_you_mean
from ser.files import is_table

_SPLIT = {"_target_": "ser.splits.Default", "label": None}
"""Rule for splits that a reader asks for; test sets are scored whole."""
_OF_MIX = ("data", "protocol")
"""Settings of a corpus of a mix that are none of its reader: its option, and the protocol of its split."""
TAKEN = ("train", "validation", "test")
"""Names of splits, whose predictions stand in files of these names."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TestSet:
    """A corpus that is scored, and never trained on.

    Args:
        name: Name in files and tables.
        data: Config node of its reader.
    """

    __test__ = False  # pytest would take it for a class of tests

    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class _Typed:
    """An item of the setting.

    Args:
        text: As typed.
        name: Name of a published corpus, of one with settings, or of a folder or table.
        option: Option of `data=`.
        place: Folder or table, as typed.
        own: Settings that hold for it, without its option.
    """

    text: str
    name: str
    option: str
    place: str
    own: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """Return its folder or table as an absolute path."""
        return Path(self.place).resolve()


def read_test_sets(
    given: Sequence[str],
    data: Mapping[str, Any],
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> list[TestSet]:
    """Read the setting `test_sets`: `NAME:DIR` with an option of `data=`, or a table.

    A name with settings of its own, also in a mix, has these. A corpus of the mix itself is left out: its test split is
    scored by the training.

    Args:
        given: The setting.
        data: Config node of the training's corpus, whose label field and cache are used for tables and folders.
        settings: Settings of single test sets, by name.

    Raises:
        ConfigError: There is no such corpus, folder or table, one is given twice, or settings belong to none.
    """
    of_mix = data.get("settings") or {}
    both = {name: {**(of_mix.get(name) or {}), **settings.get(name, {})} for name in {*of_mix, *settings}}
    typed = [_read_typed(text, both) for text in given]
    _refuse_repeated(typed)
    folders = data.get("folders") or {}
    kept = [each.name in folders and Path(str(folders[each.name])).resolve() == each.path for each in typed]
    names = distinct_names([each.name for each in typed], [each.path for each in typed], kept=kept)
    _refuse_unused(settings, {*names, *(each.name for each in typed)})
    found = []
    for name, each in zip(names, typed, strict=True):
        own = {**each.own, **{key: value for key, value in settings.get(name, {}).items() if key != "data"}}
        _refuse_unknown(name, settings, own, corpus_spec(each.option))
        spec = {**_complete(corpus_spec(each.option, folder=each.place), each.option, data), **own}
        if _is_trained_on(each.name, spec, data):
            _log.info("test set %s: is in the training, which scores its test split", each.name)
        else:
            found.append(TestSet(name, spec))
    return found


def distinct_names(names: Sequence[str], places: Sequence[Path], *, kept: Sequence[bool]) -> list[str]:
    """Return names of which no two are equal and none is that of a split.

    Where two are, the folders in which they lie are put in front: A_test and B_test for A/test.csv and B/test.csv. A
    published corpus or one with settings gets its own folder behind: emodb_A and emodb_B.

    Args:
        names: Names, N.
        places: Folder or table of each, as an absolute path.
        kept: Whether each keeps its name if that of another is equal.
    """
    levels = [0] * len(names)
    while True:
        found = [_longer_name(*each) for each in zip(names, places, range(len(names)), levels, strict=True)]
        counts = Counter(name.casefold() for name in found)
        again = [
            number
            for number, name in enumerate(found)
            if levels[number] < _MOST_LEVELS
            and (name.casefold() in TAKEN or (counts[name.casefold()] > 1 and not kept[number]))
        ]
        if not again:
            return found
        for number in again:
            levels[number] += 1


_MOST_LEVELS = 4


def _longer_name(name: str, place: Path, number: int, level: int) -> str:
    """Return a name with some of the folders of its place; at the last level with its number instead."""
    if level == _MOST_LEVELS:
        return f"{name}_{number + 1}"
    is_own = name == own_name(place)
    parts = [*reversed([each.name for each in place.parents if each.name]), place.stem]
    if is_own:
        return "_".join([*map(_plain, parts[-1 - level : -1]), name])
    return "_".join([name, *map(_plain, parts[len(parts) - level :])])


def own_name(place: Path) -> str:
    """Return the name of a folder or table, in letters, digits, - and _, so that it can stand in a setting."""
    return _plain(place.resolve().stem)


def _plain(name: str) -> str:
    return re.sub(r"[^\w-]+", "_", name)


def _read_typed(text: str, settings: Mapping[str, Mapping[str, Any]]) -> _Typed:
    """Read an item of the setting.

    Raises:
        ConfigError: There is no such corpus, folder or table.
    """
    name, colon, place = text.partition(":")
    if is_table(text) and not settings.get(name):
        name, place = "manifest", text
    elif not colon or not place:
        raise ConfigError(
            f"test_sets: {text!r} is neither NAME:DIR nor a table. Write such as test_sets=[emodb:DIR,table.csv]"
        )
    own = dict(settings.get(name) or {})
    option = str(own.get("data", name))
    own = _without_mix(own)
    if option not in corpus_options():
        raise ConfigError(
            f"test_sets: there is no corpus {option!r}. {did_you_mean(option, corpus_options())}"
        )
    if not Path(place).exists():
        raise ConfigError(f"test_sets: {place} is not there, seen from {Path.cwd()}. Check the path.")
    if not own and option == name and not corpus_spec(option).get("corpus"):
        name = own_name(Path(place))
        own = _without_mix(settings.get(name) or {})
    return _Typed(text, name, option, place, own)


def _without_mix(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in _OF_MIX}


def _refuse_repeated(typed: Sequence[_Typed]) -> None:
    """Refuse a folder or table that is given twice.

    Raises:
        ConfigError: One is.
    """
    first: dict[tuple[str, str, Path], str] = {}
    for each in typed:
        key = (each.name, each.option, each.path)
        if key in first:
            raise ConfigError(f"test_sets: {first[key]} and {each.text} are the same corpus. Leave one out.")
        first[key] = each.text


def _refuse_unused(settings: Mapping[str, Any], names: Collection[str]) -> None:
    """Refuse settings of test sets that are not there.

    Raises:
        ConfigError: There are some; the message names the first.
    """
    for name in settings:
        if name not in names:
            raise ConfigError(
                f"test_settings.{name}: test_sets names no such corpus. {did_you_mean(str(name), names)}"
            )


def _refuse_unknown(
    name: str, settings: Mapping[str, Any], own: Mapping[str, Any], spec: Mapping[str, Any]
) -> None:
    """Refuse settings of a test set that its reader does not have.

    Raises:
        ConfigError: There are some; the message names the first.
    """
    for key in own:
        if name in settings and key in settings[name] and key not in spec:
            known = [each for each in spec if each != "_target_"]
            raise ConfigError(f"test_settings.{name}.{key}: unknown key. {did_you_mean(key, known)}")


def _is_trained_on(name: str, spec: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """Return whether a corpus of a mix reads the same folder or table."""
    places = [_place(node) for node in (spec, (data.get("readers") or {}).get(name) or {})]
    return places[0] is not None and places[0] == places[1]


def _place(node: Mapping[str, Any]) -> Path | None:
    place = node.get("path") or node.get("root")
    return None if place is None else Path(str(place)).resolve()


def _complete(spec: Mapping[str, Any], option: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the node of a reader with the cache of the training and, for tables, its label field."""
    found = {**spec, "cache_dir": data.get("cache_dir", ".cache/ser"), "on_error": "skip"}
    if "label" not in spec:  # not of recordings
        found.pop("on_error")
        return found
    found["split"] = _SPLIT
    if option == "manifest" and data.get("label"):
        found["label"] = data["label"]
    return found
