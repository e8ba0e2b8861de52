"""Type what messages tell to type: each setting and command in bash, then in Hydra's grammar, then by its type.

`conftest.py` collects every SerError that a test raises and every output of a command that it runs, and checks them
when the test ends. One bash a new text, 3 ms; the tables of settings take 0.5 s once. What a message tells to set is
put back on what it refused: on the command, by `commands.py`; on the settings of a training, here.
"""

import copy
import functools
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from ser.__main__ import COMMANDS
from ser.config.settings import SCHEMAS, Train
from ser.config.slots import resolve
from ser.config.types import signature
from ser.config.validate import find_nodes, show
from ser.errors import ConfigError, SerError

REPOSITORY = Path(__file__).resolve().parents[1]
CONF = REPOSITORY / "conf"
GROUPS = {path.name for path in CONF.iterdir() if path.is_dir()}
CONFIGS = {name: name for name in SCHEMAS} | dict.fromkeys(("export-challenge", "matrix"), "train")
"""Command of ser that takes settings -> its primary config."""

# ---- what a message tells to type ----

_WORD = r"(?:[^\s'\"\\$]|\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\"|\$'(?:[^'\\]|\\.)*'|\$)+"
_SETTING = re.compile(rf"(?<![^\s(`])(?=(?:\$?')?[+~]{{0,2}}[a-z_]+(?:[./][\w*]+)*=(?!=)){_WORD}\S*")
_COMMAND = re.compile(
    r"(?<![^\s(`])(?:[^\s`'(]*/)?"
    rf"(?:(?:python[\d.]*|tensorboard) (?=\S*\.py\b|-)|ser (?=(?:{'|'.join(COMMANDS)})\b))"
)
_NEXT = re.compile(rf"(?: ?\\\n *| ?)({_WORD})")  # two spaces end a column of commands
_IS_ARGUMENT = re.compile(
    r"-|['\"]|\$'|[+~]*[\w./]+=|\S*\.py\b|(?:ser|pip|install)\b|(?:" + "|".join(COMMANDS) + r")\b"
)
_REPR = re.compile(r"<[A-Z]\w+\(.*?\)>")  # of an object, in the message of a library
_LEFT_OUT = re.compile(r"[Ll]eave out [^;,.]*")
_IMPERATIVE = re.compile(
    r"(Add|Choose|Fix|Give|Leave|Mend|Name|Put|Raise|Run|Set|Take|Train|Try|Type|Use|Write)\b"
)
_IS_NO_ADVICE = re.compile(r":$|=\.\.\.")  # the place of an error in an error, and a setting of any value
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*\b")


@dataclass(frozen=True)
class Remedy:
    """A part of a message that is to be typed.

    Args:
        text: As printed, without what ends the sentence.
        is_command: Whether it is a whole command, rather than a setting to add to one.
    """

    text: str
    is_command: bool


def find_remedies(message: str) -> list[Remedy]:
    """Find the settings and commands that a message tells to type.

    The place at the start of a line, and the fact where a sentence follows it, hold what the user typed.
    """
    found = []
    for text in _advice(_REPR.sub("", message)):
        rest = text = _LEFT_OUT.sub("", text)
        for match in reversed([*_COMMAND.finditer(text)]):
            end = _end_of_command(text, match.end())
            found.append(Remedy(_without_stop(text[match.start() : end]), True))
            rest = rest[: match.start()] + rest[end:]
        words = [match[0] for match in _SETTING.finditer(rest) if not _IS_NO_ADVICE.search(match[0])]
        found += [Remedy(_without_stop(word), False) for word in words]
    return found


def _advice(message: str) -> Iterator[str]:
    """The lines of a message, continued ones joined, each without its place and without the fact before advice."""
    for line in message.replace("\\\n", "\\\0").splitlines():
        place, _, rest = line.partition(": ")
        text = rest if rest and ". " not in place else line
        _, stop, advice = text.partition(". ")
        yield (advice if stop and not _IMPERATIVE.match(text) else text).replace("\\\0", "\\\n")


def _without_stop(text: str) -> str:
    return re.sub(r"[.,;:)?`]+$", "", text)


def _end_of_command(text: str, start: int) -> int:
    """The end of a command in a text: where words follow that are no arguments, or a sentence ends."""
    end, last = start, ""
    while (word := _NEXT.match(text, end)) and (_IS_ARGUMENT.match(word[1]) or last == "--logdir"):
        end, last = word.end(), word[1]
        if _without_stop(last) != last and text[end : end + 2] != " \\":
            break
    return end


def alternatives(message: str) -> list[list[str]]:
    """The settings that a message tells to type, as words of bash, those that go together in one list.

    Those with placeholders are left out.
    """
    found: list[list[str]] = []
    for text in map(functools.partial(_LEFT_OUT.sub, ""), _advice(_REPR.sub("", message))):
        end = -1
        for match in _SETTING.finditer(text):
            word = _without_stop(match[0])
            typed = _bash((word,))
            assert typed is not None, message
            if _IS_NO_ADVICE.search(match[0]) or _stands_for(typed[0][0].partition("=")[2]):
                continue
            if found and text[end : match.start()] in (" ", " and ", ", and ", " with "):
                found[-1] += typed[0]
            else:
                found.append(typed[0])
            end = match.start() + len(word)
    return found


_LEAVE = re.compile(r"[Ll]eave (?:it|them) out")
_INSTEAD = re.compile(r"\binstead\b")
_KEY = re.compile(r"(?<![\w.])[a-z_]+(?:\.\w+)*(?==|$)")  # in the place of a message


def put_back(arguments: Sequence[str], message: str, config: str) -> list[list[str]]:
    """Put what a message tells to type on the command that it refused: each alternative on its own.

    A setting takes the place of that of the same key. Where a message tells to leave out or to replace the settings
    that it begins with, they go. What is about another command is passed over.

    Args:
        arguments: Words of the refused command.
        message: What it printed.
        config: Its primary config.
    """
    settings = [
        words
        for words in alternatives(message)
        if not any(setting_faults(word, [config], may_sweep="-m" in arguments) for word in words)
    ]
    replaced, left_out = _places_with(message, _INSTEAD), _places_with(message, _LEAVE)
    if left_out:
        settings.append([])
    kept = [word for word in arguments if _key_of(word) not in replaced | left_out]
    return [
        [*(word for word in kept if _key_of(word) not in {*map(_key_of, words)}), *words]
        for words in settings
        if words or kept != [*arguments]
    ]


def _places_with(message: str, advice: re.Pattern[str]) -> set[str]:
    """The settings with which the lines of a message begin that give some advice."""
    lines = [line.strip().partition(": ") for line in message.splitlines()]
    return {key for place, _, rest in lines if advice.search(rest) for key in _KEY.findall(place)}


def printed_commands(text: str) -> list[list[str]]:
    """The commands with settings in a text, as words of bash without Python, if they have no placeholder."""
    commands = [_bash((remedy.text,)) for remedy in find_remedies(text) if remedy.is_command]
    found = []
    for words in (typed[0] for typed in commands if typed):
        words = words[3 if words[1:3] == ["-m", "ser"] else 1 :]
        known = words and config_of(words[0]) is not None and "--config-dir" not in words
        if known and not any(_stands_for(word.partition("=")[2]) for word in words):
            found.append(words)
    return found


def _key_of(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


# ---- what the shell and Hydra make of it ----


def find_faults(message: str, config: str | None = None) -> list[str]:
    """Type the remedies of a message, and return why those that do not work do not.

    Args:
        message: Of an error, or what a command printed.
        config: Primary config of the command that printed it; None where it may be any.
    """
    remedies = find_remedies(message)
    if not remedies:
        return []
    typed = _bash(tuple(remedy.text for remedy in remedies))
    if typed is None:
        texts = " or ".join(remedy.text for remedy in remedies)
        return [f"bash cannot read {texts}\n    printed in: {message}"]
    faults = []
    for remedy, words in zip(remedies, typed, strict=True):
        if remedy.is_command:
            faults += _command_faults(words)
        elif len(words) != 1:
            faults.append(f"{remedy.text}: is {len(words)} words of bash")
        else:
            configs = _configs_of(message, remedy.text, config)
            faults += setting_faults(words[0], configs, may_sweep="sweep" in message)
    return [f"{fault}\n    printed in: {message}" for fault in faults]


def _configs_of(message: str, text: str, config: str | None) -> list[str]:
    """The configs one of which must have a setting; a sentence on training is about train.py."""
    if config is None:
        return [*SCHEMAS]
    sentence = next((part for part in re.split(r"(?<=[.?]) (?=[A-Z])", message) if text in part), "")
    return ["train", config] if re.search(r"[Tt]rain", sentence) else [config]


@functools.cache
def _bash(texts: tuple[str, ...]) -> list[list[str]] | None:
    """The words that bash makes of each text, in an empty folder; None where it refuses one."""
    script = ";".join(rf"printf '%s\0' {text}; printf '\1\0'" for text in texts)
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False, cwd="/")
    if done.returncode or done.stderr:
        return None
    parts = done.stdout.decode("utf-8", "surrogateescape").split("\1\0")[:-1]
    return [part.split("\0")[:-1] for part in parts]


def _command_faults(words: Sequence[str]) -> Iterator[str]:
    """Say what is wrong with a command: its program, script, packages or settings."""
    program, *rest = words
    if program.endswith("tensorboard"):
        if len(rest) != 2 or rest[0] != "--logdir":
            yield f"{shlex.join(words)}: is no command of TensorBoard"
        return
    if rest[:3] == ["-m", "pip", "install"]:
        for package in (word for word in rest[3:] if not word.startswith("-")):
            if re.match(r"[\w-]+", package)[0] not in _packages():  # type: ignore[index]
                yield f"{package}: is no package of this project"
        return
    if rest[:2] == ["-m", "ser"]:
        rest = rest[2:]
    name, *arguments = rest or [""]
    if "--config-dir" in arguments:  # with settings of the user's own, which tests.test_extending types
        return
    is_script = name.endswith(".py")
    if "pytest" in name or name == "-c":  # what runs in the tests' process names their program
        return
    if not (REPOSITORY / Path(name).name).is_file() if is_script else name not in COMMANDS:
        yield f"{shlex.join(words)}: there is no such command"
    elif (config := config_of(name)) is None:
        if any("=" in word for word in arguments):
            yield f"{shlex.join(words)}: takes no settings"
    else:
        own = (
            ("corpora=", "leave_out=") if name == "matrix" else ()
        )  # which it turns into settings of trainings
        for word in arguments:
            if not word.startswith(("-", *own)):
                yield from setting_faults(word, [config], may_sweep="-m" in arguments)


def config_of(name: str) -> str | None:
    """The primary config of a command of ser, or of a script; predict.py of an exported model is none of them."""
    path = Path(name)
    is_of_export = path.suffix == ".py" and path.parent not in (Path(), REPOSITORY)
    return None if is_of_export else CONFIGS.get(path.stem)


@functools.cache
def _packages() -> set[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = [package for packages in project["optional-dependencies"].values() for package in packages]
    names = [re.match(r"[\w-]+", package)[0] for package in extras]  # type: ignore[index]
    return {project["name"], *names}


def setting_faults(word: str, configs: Sequence[str], *, may_sweep: bool = False) -> list[str]:
    """Why no one of some configs takes a setting; empty where one does."""
    if _PLACEHOLDER.fullmatch(word.partition("=")[0]):
        return []
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        return [f"{word}: Hydra cannot read it: {str(error).splitlines()[0]}"]
    if override.is_sweep_override() and not may_sweep:
        return [f"{word}: is a sweep, without -m"]
    reasons = [_refusal(word, override, config) for config in configs]
    return [] if None in reasons else ["; ".join(dict.fromkeys(map(str, reasons)))]


def _refusal(word: str, override: Override, config: str) -> str | None:
    """Why a script does not take a setting, or None."""
    key = override.key_or_group
    values = [override.value()]
    if override.is_sweep_override():
        parser = OverridesParser.create()
        values = [parser.parse_override(f"{key}={text}").value() for text in override.sweep_string_iterator()]
    if key in GROUPS or "/" in key:
        folder = CONF / key
        options = {path.stem for path in folder.glob("*.yaml")} | {"None"}
        options |= {"joblib"} if key == "hydra/launcher" else set()  # of its own package
        wrong = [str(value) for value in values if str(value) not in options and not _stands_for(value)]
        return f"{word}: {config} has no option {wrong[0]} of the group {key}" if wrong else None
    if key.startswith("hydra."):
        return None if key.removeprefix("hydra.") in _keys_of_hydra() else f"{word}: Hydra has no {key}"
    key = re.sub(r"^callbacks\.own\b", "callbacks.best", key)  # the tests' name of a user's callback
    key = re.sub(r"^data\.folders\.\w+$", "data.root", key)  # of a corpus of a mix
    key = re.sub(r"^(data\.settings|test_settings)\.\w+\.(?=\w+$)", "data.", key)
    if re.fullmatch(r"data\.settings\.\w+", key):  # all of a corpus
        key, values = "data.settings", [{"NAME": value} for value in values]
    accept = settings_of(config).get(key)
    if accept is None:
        return f"{word}: {config} has no setting {key}"
    wrong = [value for value in values if not _stands_for(value) and not any(take(value) for take in accept)]
    return f"{word}: {key} does not take {show(wrong[0])}" if wrong else None


def known_keys(plain: Mapping[str, Any]) -> set[str]:
    """All full keys: those in a config and those that a constructor in it would take."""
    nodes = find_nodes("", plain, None)
    return {node.key(name) for node in nodes for name in (*node.content, *node.takes)}


@functools.cache
def _keys_of_hydra() -> set[str]:
    return known_keys(OmegaConf.to_container(OmegaConf.structured(HydraConf)))  # type: ignore[arg-type]


def _stands_for(value: object) -> bool:
    """Whether a value is a placeholder such as FOLDER, or an interpolation."""
    return isinstance(value, str) and (bool(_PLACEHOLDER.match(value)) or "${" in value)


# ---- the settings of the scripts ----

Accepts = Callable[[Any], bool]


@functools.cache
def settings_of(config: str) -> dict[str, list[Accepts]]:
    """Full key -> what takes a value there, in one of the options of the groups that it belongs to."""
    of_train = GROUPS - {"extractor", "hydra"}
    groups = dict.fromkeys(("train", "describe", "evaluate"), of_train) | {"serab": {"extractor", "split"}}
    typed: dict[str, list[Accepts]] = {}
    plain: dict[str, list[Any]] = {}
    files = [
        *([CONF / "train.yaml"] * (config in ("describe", "evaluate"))),
        CONF / f"{config}.yaml",
        *(path for group in sorted(groups.get(config, set())) for path in (CONF / group).rglob("*.yaml")),
    ]
    for path in files:
        text = path.read_text()
        package = re.search(r"^# @package (\S+)", text, re.MULTILINE)
        place = "" if path.parent == CONF else path.parent.relative_to(CONF).as_posix().replace("/", ".")
        place = {"_global_": ""}.get(package[1], package[1]) if package else place
        _enter(place, yaml.safe_load(text), typed, plain)
    for name, parameter in signature(SCHEMAS[config])[0].items():
        typed.setdefault(name, []).append(parameter.accepts)
    if config == "train":  # words that are rewritten before Hydra: see ser.config.repeats
        typed |= {word: [lambda value: value is not None] for word in ("folds", "seeds")}
    for key, values in plain.items():
        given = [value for value in values if value is not None]
        if key not in typed:
            typed[key] = [functools.partial(_same_kind, value) for value in given or [None]]
    return typed


def _enter(place: str, node: Any, typed: dict[str, list[Accepts]], plain: dict[str, list[Any]]) -> None:
    if place:
        plain.setdefault(place, []).append(node)
    if not isinstance(node, dict):
        return
    prefix = f"{place}." if place else ""
    if "_target_" in node:
        try:
            parameters = signature(resolve(place, node["_target_"]))[0]
        except ConfigError:  # of an optional package
            parameters = {}
        for name, parameter in parameters.items():
            typed.setdefault(f"{prefix}{name}", []).append(parameter.accepts)
    for key, value in node.items():
        if key not in ("_target_", "defaults"):
            _enter(f"{prefix}{key}", value, typed, plain)


def _same_kind(present: Any, value: Any) -> bool:
    """Whether a value may replace one in a YAML: null any, any null, and any scalar a text."""
    match present:
        case bool():
            return isinstance(value, bool | None)
        case int():
            return isinstance(value, int | None) and not isinstance(value, bool)
        case float():
            return isinstance(value, int | float | None) and not isinstance(value, bool)
        case list() | dict():
            return isinstance(value, type(present) | None)
        case str():
            return present.startswith(("${", "???")) or not isinstance(value, list | dict)
    return True


# ---- what the tests provoke ----

_told: dict[tuple[str, str | None], None] = {}
_checked: set[tuple[str, str | None]] = set()


def record_output(command: Sequence[str], stdout: str, stderr: str) -> None:
    """Keep what a command printed: all of its messages, and the commands that it suggests.

    Args:
        command: Its words, without Python.
        stdout: As text.
        stderr: As text.
    """
    words = [*command[command[0] == "-m" :]]
    config = config_of(words[Path(words[0]).name == "ser"])
    if config is not None:
        _told[stderr, config] = None
        commands = [remedy.text for remedy in find_remedies(stdout) if remedy.is_command]
        _told["\n".join(commands), config] = None


def take_faults() -> list[str]:
    """Check what was recorded since the last call and has not been checked yet."""
    new, refused = [key for key in _told if key not in _checked], {**_refused}
    _checked.update(new)
    faults = [fault for message, config in new for fault in find_faults(message, config)]
    for message, config in refused.items():
        if (message, "") not in _checked:
            _checked.add((message, ""))
            faults += _find_circles(message, config)
    _told.clear()
    _refused.clear()
    return faults


_refused: dict[str, Mapping[str, Any]] = {}
_CHECKS = {"check_training", "check_augment", "check_frames", "check_target"}
"""Functions that refuse settings of a training, which go together only in part, before any data are read."""
_BUILT = ("features", "pooling", "target")
"""Nodes whose classes these functions ask; a test may leave them out."""


def _record(error: SerError, *arguments: object) -> None:
    Exception.__init__(error, *arguments)
    if not arguments or str(arguments[0]).startswith("lightning."):  # whose words a training does not print
        return
    message = str(arguments[0])
    _told[message, None] = None
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_name not in _CHECKS:
        frame = frame.f_back  # type: ignore[assignment]
    settings = frame.f_locals.get("settings") if frame else None
    if isinstance(settings, Train) and all("_target_" in (settings.config.get(key) or {}) for key in _BUILT):
        _refused[message] = settings.config


def _find_circles(message: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Give a training that was refused what the message tells to set, and say where that is refused as before."""
    from ser.training import consistency, setup

    for words in alternatives(message):
        changed = functools.reduce(_with_word, words, copy.deepcopy({**config}))
        for key in _places_with(message, _INSTEAD):
            owner, _, leaf = key.rpartition(".")
            functools.reduce(lambda node, part: node.get(part, {}), owner.split("."), changed).pop(leaf, None)
        try:
            settings = Train.of(changed)
            consistency.check_training(settings)
            consistency.check_augment(settings)
            consistency.check_frames(settings)
            setup.check_target(settings, setup.example_target(settings.target))
        except SerError as error:
            if str(error) == message or words in alternatives(str(error)):
                yield f"{' '.join(words)}: is refused, too: {error}\n    printed in: {message}"


def _with_word(config: dict[str, Any], word: str) -> dict[str, Any]:
    """Put a setting, or what an option of a group sets, into a checked config."""
    override = OverridesParser.create().parse_override(word)
    key = override.key_or_group
    is_option = key in GROUPS and override.value() is not None
    leaves = _leaves_of_option(word) if is_option else {key: override.value()}
    for path, value in leaves.items():
        *owners, leaf = path.split(".")
        node = config
        for owner in owners:
            node = node.setdefault(owner, {})
        node[leaf] = copy.deepcopy(value)
    return config


@functools.cache
def _leaves_of_option(word: str) -> dict[str, Any]:
    """Full keys and values in which a training with an option of a group differs from the default one."""
    from tests.fits import composed

    def leaves(now: Any, then: Any, path: str) -> Iterator[tuple[str, Any]]:
        are_alike = isinstance(now, dict) and isinstance(then, dict)
        if are_alike and now.get("_target_") == then.get("_target_"):
            for key, value in now.items():
                yield from leaves(value, then.get(key), f"{path}.{key}" if path else key)
        elif now != then:
            yield path, now

    data = ("data=challenge", "data.root=.")
    return dict(leaves(composed(*data, word), composed(*data), ""))


SerError.__init__ = _record  # type: ignore[method-assign, assignment]
