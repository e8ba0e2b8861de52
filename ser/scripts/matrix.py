"""Train on each of several corpora and on all together, and test on each: one sweep, a table and a heat map.

ser matrix 'corpora=[ravdess:DIR,emodb:DIR]'                    also corpora=[ravdess,emodb] data.corpora_root=DIR
ser matrix 'corpora=[ravdess:DIR,emodb:DIR]' hydra.sweep.dir=FOLDER     the same again continues it
ser matrix 'corpora=[emodb:DIR,folder:DIR,table.csv]' leave_out=true    also all corpora but one
ser matrix 'corpora=[ravdess:DIR,emodb:DIR]' model=lstm seeds=3 hydra/launcher=joblib

Labels are quadrants, or those of label_map= and target=; each training has 20 epochs unless trainer.max_epochs= or
experiment= is given. All other settings are those of `ser train`.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from ser.config.command_line import App
from ser.config.corpora import corpus_options, corpus_spec
from ser.config.main import main
from ser.config.repeats import expand_repeats
from ser.config.settings import Train
from ser.errors import ConfigError, did_you_mean, hydra_value, setting, shell_word
from ser.evaluation.test_sets import TAKEN, distinct_names, own_name, read_test_sets
from ser.files import is_table
from ser.scripts.train import count_folds, run_training
from ser.search.sweeper import register

_OWN = ("corpora", "corpora_root", "data.corpora_root", "leave_out")
_TAKEN = {
    "data.corpora": "corpora=[...] sets this",
    "resume": "goes on with one run, and a matrix that is repeated with its hydra.sweep.dir=FOLDER goes on by itself",
}
_EPOCHS = 20  # of RAVDESS, EmoDB's four emotions and both: 6.5 min on two cores
_FLAGS = {"-h", "--help", "--hydra-help", "-i", "--info"}


class Named(NamedTuple):
    """A corpus of the matrix: name, option of `data=`, folder or table; whether it is named by folder or table."""

    name: str
    option: str
    place: str
    is_own: bool


def summarize(sweep_dir: Path, _: Sequence[str]) -> int:
    """Print and write the matrix of a sweep; return the number of trainings and cells that failed."""
    from ser.matrix import tables  # numpy and plots: first the config must be right

    return tables.summarize(sweep_dir, planned_trainings(sweep_dir))


def planned_trainings(sweep_dir: Path) -> dict[tuple[str, ...], int]:
    """Return the number of trainings on each set of corpora that the last command in a folder has planned."""
    path = sweep_dir / "multirun.yaml"
    if not path.is_file():  # Hydra has not begun
        return {}
    config: Any = OmegaConf.load(path)
    parser = OverridesParser.create()
    swept = [
        each for each in map(parser.parse_override, config.hydra.overrides.task) if each.is_sweep_override()
    ]
    values = {str(each.key_or_group): [*each.sweep_string_iterator()] for each in swept}
    corpora = values.pop("data.corpora", [])
    repeats = math.prod(map(len, values.values()))
    return {tuple(names.strip("[]").split(",")): repeats for names in corpora}


def rewrite(arguments: list[str], app: App) -> list[str]:
    """Turn `corpora=` and `leave_out=` into the settings that a sweep of trainings goes through.

    Raises:
        ConfigError: A corpus is not there, or another word sets the same.
    """
    if "--config-path" in arguments or {*arguments} & _FLAGS:  # a job of a sweep
        return arguments
    values = {key: _value_of(arguments, key) for key in _OWN}
    rest = [word for word in arguments if _key(word) not in _OWN]
    _refuse_taken(rest)
    root = values["data.corpora_root"] or values["corpora_root"]
    corpora = read_corpora(values["corpora"], root, read_settings("data.settings", rest))
    trained = combinations(
        [each.name for each in corpora], leave_out=_is_set(values["leave_out"], len(corpora))
    )
    is_single = bool({"--cfg", "-c"} & {*rest})
    lists = [hydra_value(names) for names in (trained[:1] if is_single else trained)]
    typed = {_key(word) for word in rest}
    further = _value_of(rest, "test_sets") or []
    further = further if isinstance(further, list) else [further]
    sets = [f"{each.name}:{each.place}" for each in corpora] + [str(each) for each in further]
    own = [word for word in _settings_of(corpora, typed) if _key(word) not in typed]
    _check_test_sets(sets, corpora, [*own, *rest])
    words = [
        *own,
        *(word for word in rest if _key(word) != "test_sets"),
        *(f"data.corpora={','.join(lists)}", f"test_sets={hydra_value(sets)}"),
    ]
    sweep = [] if is_single or {"-m", "--multirun"} & {*words} else ["-m"]
    return expand_repeats([*words, *sweep], app, count_folds)


def _check_test_sets(sets: Sequence[str], corpora: Sequence[Named], words: Sequence[str]) -> None:
    """Check the setting of all trainings, so that none is refused for it.

    Raises:
        ConfigError: See `read_test_sets`.
    """
    data = {
        "settings": read_settings("data.settings", words),
        "folders": {each.name: each.place for each in corpora},
    }
    read_test_sets(sets, data, read_settings("test_settings", words))


def read_settings(node: str, words: Sequence[str]) -> dict[str, Any]:
    """Return the settings of single corpora by name that words set in a node, as Hydra joins them.

    Args:
        node: `data.settings` or `test_settings`.
        words: Words of the command.

    Raises:
        ConfigError: A value is no mapping.
    """
    tree: Any = OmegaConf.create()
    found: Any = {}
    for word in words:
        key = _key(word)
        if "=" not in word or not f"{key}.".startswith(f"{node}."):
            continue
        OmegaConf.update(tree, key, _value_of([word], key), merge=True, force_add=True)
        content = OmegaConf.select(tree, node)
        found = OmegaConf.to_container(content) if OmegaConf.is_config(content) else content
        found = {} if found is None else found
        if not isinstance(found, dict):
            example = shell_word(f"{node}={{NAME:{{label_map:FILE}}}}")
            raise ConfigError(f"{shell_word(word)}: expected settings by name, such as {example}")
        for name, own in found.items():
            if not isinstance(own, dict) and (own is not None or node == "test_settings"):
                example = shell_word(f"{node}.{name}.label_map=FILE")
                raise ConfigError(f"{shell_word(word)}: expected settings of {name}, such as {example}")
    return {str(name): own or {} for name, own in found.items()}


def _is_set(leave_out: Any, corpora: int) -> bool:
    """Check `leave_out=`, and return whether it is true.

    Raises:
        ConfigError: It is no truth value, or there are too few corpora.
    """
    if leave_out not in (None, True, False):
        raise ConfigError(f"{setting('leave_out', leave_out)}: is neither true nor false. Give one of them.")
    if leave_out and corpora < 3:
        raise ConfigError(
            "leave_out=true: without one of two corpora, a single one is left, which is a row already. Leave it out, "
            "or name three corpora."
        )
    return bool(leave_out)


def _settings_of(corpora: Sequence[Named], typed: Collection[str]) -> list[str]:
    """Return the settings of all trainings: the corpora with their folders, and quadrants unless labels are typed."""
    words = ["data=mix", "experiment_name=matrix"]
    if not {"label_map", "target"} & {*typed}:
        words += ["label_map=quadrant", "target=quadrant"]
    if not {"trainer.max_epochs", "experiment", "debug"} & {*typed}:
        words.append(f"trainer.max_epochs={_EPOCHS}")
    for each in corpora:
        words.append(f"data.folders.{each.name}={hydra_value(each.place)}")
        if each.name != each.option:
            words.append(f"data.settings.{each.name}={hydra_value({'data': each.option})}")
    return words


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")


def _value_of(words: Sequence[str], key: str) -> Any:
    """Return the value of the last word with a key; None if there is none.

    Raises:
        ConfigError: It is not in Hydra's grammar.
    """
    found = [word for word in words if "=" in word and _key(word) == key]
    if not found:
        return None
    try:
        override = OverridesParser.create().parse_override(found[-1])
        if override.is_sweep_override():
            raise ConfigError(f"{shell_word(found[-1])}: is swept, which a matrix cannot do. Give one value.")
        return override.value()
    except HydraException as error:
        value = found[-1].partition("=")[2]
        items = [item.strip() for item in value.strip("[]").split(",")]
        quoted = shell_word(f"{key}={hydra_value(items if value.startswith('[') else value)}")
        raise ConfigError(f"{found[-1]}: Hydra's grammar takes it apart. Write {quoted}.") from error


def _refuse_taken(words: Sequence[str]) -> None:
    """Refuse words that contradict a matrix.

    Raises:
        ConfigError: There is one.
    """
    for word in words:
        key = _key(word)
        if key in _TAKEN and not word.endswith(("=", "=null")):
            raise ConfigError(f"{shell_word(word)}: {_TAKEN[key]}. Leave it out.")
        if key == "data" and word.partition("=")[2] != "mix":
            raise ConfigError(
                f"{shell_word(word)}: a matrix reads several corpora. Name them in corpora=[...] instead."
            )


def read_corpora(given: Any, root: str | None, settings: Mapping[str, Mapping[str, Any]]) -> list[Named]:
    """Return the corpora of `corpora=`.

    Args:
        given: Value of the setting: a list of NAME:DIR, NAME and tables.
        root: Folder with a subfolder for each corpus that has no folder of its own.
        settings: Settings of single corpora, which may describe a name by `data.settings.NAME={data:OPTION}`.

    Raises:
        ConfigError: There are fewer than two; one is unknown, not there or given twice; or a name occurs twice, or is
            that of a split.
    """
    texts = [str(each) for each in given] if isinstance(given, list) else []
    if len(texts) < 2:
        raise ConfigError(
            "corpora: a matrix needs two or more corpora. Write such as 'corpora=[ravdess:DIR,emodb:DIR]'"
        )
    found = _with_distinct_names([_read_corpus(text, root, settings) for text in texts])
    for each in found:
        other = f"such as OTHER:DIR, with {shell_word(f'data.settings.OTHER={{data:{each.option}}}')}"
        if [own.name for own in found].count(each.name) > 1:
            raise ConfigError(
                f"corpora: two are called {each.name!r}. Leave one out, or call it otherwise, {other}"
            )
        if each.name in TAKEN:
            raise ConfigError(f"corpora: {each.name!r} is the name of a split. Call it otherwise, {other}")
        if not Path(each.place).exists():
            raise ConfigError(f"corpora: {each.place} is not there, seen from {Path.cwd()}. Check the path.")
    return found


def _with_distinct_names(corpora: Sequence[Named]) -> list[Named]:
    """Return corpora of which folders and tables with equal names have those of their folders in front.

    Raises:
        ConfigError: One is given twice.
    """
    places = [Path(each.place).resolve() for each in corpora]
    given = [(each.option, place) for each, place in zip(corpora, places, strict=True)]
    for each, own in zip(corpora, given, strict=True):
        if given.count(own) > 1:
            raise ConfigError(f"corpora: {each.place} is given twice. Leave one out.")
    names = distinct_names(
        [each.name for each in corpora], places, kept=[not each.is_own for each in corpora]
    )
    return [
        each._replace(name=name) if each.is_own else each for each, name in zip(corpora, names, strict=True)
    ]


def _read_corpus(text: str, root: str | None, settings: Mapping[str, Mapping[str, Any]]) -> Named:
    option, _, place = text.partition(":")
    if is_table(text):
        option, place = "manifest", text
    own, is_own = settings.get(option) or {}, False
    if "data" in own or (own and option in corpus_options()):
        name, option = option, str(own.get("data", option))
    elif option in corpus_options():
        is_own = not corpus_spec(option).get("corpus")
        name = own_name(Path(place or option)) if is_own else option
    else:
        raise ConfigError(f"corpora: there is no corpus {option!r}. {did_you_mean(option, corpus_options())}")
    if not re.fullmatch(r"[\w-]+", name):
        raise ConfigError(f"corpora: {name!r} can be no name of a corpus. Rename the folder or table.")
    return Named(name, option, str(Path(place).expanduser() if place else Path(root or ".") / name), is_own)


def combinations(names: Sequence[str], *, leave_out: bool) -> list[list[str]]:
    """Return the corpora of each training: each alone, all together and, if asked for, all but one."""
    found = [*([name] for name in names), [*names]]
    if leave_out and len(names) > 2:
        found += [[other for other in names if other != name] for name in names]
    return found


@main("train", rewrite=rewrite, prepare=register, help=__doc__, summarize=summarize)
def matrix(settings: Train) -> float | None:
    """Run the training of one row."""
    return run_training(settings)
