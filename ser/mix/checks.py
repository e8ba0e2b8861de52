"""Refuse settings and corpora that do not make a mix."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ser.config.corpora import SHARED, corpus_options
from ser.corpora.recordings import AudioCorpus
from ser.data.label_map import require_fields
from ser.data.manifest import Manifest
from ser.errors import ConfigError, DataError, did_you_mean, setting

_log = logging.getLogger(__name__)


def check_names(names: Sequence[str], readers: Mapping[str, AudioCorpus]) -> None:
    """Refuse names that are unknown, are no corpora of recordings, or occur twice.

    Raises:
        ConfigError: There are some; the message names the first one.
    """
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"data.corpora: '{twice[0]}' is named twice. Name each corpus once.")
    for name in names:
        if name not in readers:
            is_known = name in corpus_options()
            what = "is no corpus of single recordings" if is_known else "there is no such corpus"
            remedy = "Name another." if is_known else did_you_mean(name, corpus_options())
            raise ConfigError(f"data.corpora=[{name}]: {what}. {remedy}")
    if not names:
        raise ConfigError("data.corpora: names no corpus. Name two or more.")


def check_keys(names: Sequence[str], **given: Mapping[str, Any]) -> None:
    """Refuse folders and settings of corpora that do not exist; those of corpora that are not named are unused.

    Raises:
        ConfigError: There are some; the message names the first one.
    """
    described = {name for name, own in (given.get("settings") or {}).items() if "data" in own}
    known = {*names, *corpus_options(), *described}
    for key, values in given.items():
        for name in values:
            if name not in known:
                raise ConfigError(
                    f"data.{key}.{name}: data.corpora names no such corpus. {did_you_mean(str(name), names)}"
                )


def check_own(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse settings of single corpora that hold for all.

    Raises:
        ConfigError: There are some; the message names the first one.
    """
    for name, own in settings.items():
        for key in own:
            if key in SHARED:
                raise ConfigError(
                    f"data.settings.{name}.{key}: is one setting for all corpora. Set data.{key} instead."
                )


def check_protocols(readers: Mapping[str, AudioCorpus], settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse the protocol of a corpus where another rule splits it.

    Raises:
        ConfigError: There is one; the message names the first corpus.
    """
    for name, reader in readers.items():
        protocol = settings.get(name, {}).get("protocol")
        if protocol is not None and not hasattr(reader.split, "protocol"):
            typed = setting(f"data.settings.{name}.protocol", protocol)
            raise ConfigError(
                f"{typed}: only published folds have protocols. Add split=published, or leave it out."
            )


def require_any(name: str, manifest: Manifest, fields: Sequence[str]) -> None:
    """Check that a corpus has at least one of the label fields of the target.

    Raises:
        DataError: It has none.
    """
    known = {field for utterance in manifest for field in utterance.labels}
    if not known & {*fields}:
        raise DataError(
            f"{manifest.source}: {name} has no labels {' or '.join(map(repr, fields))}, only "
            f"{', '.join(map(repr, sorted(known))) or 'none'}. Leave it out of data.corpora, or translate its labels "
            "with label_map=arousal_valence"
        )
    for field in fields:
        if field in known:
            require_fields(manifest, [field])
        else:
            _log.warning("%s: has no labels %r, so its utterances do not count there", name, field)
