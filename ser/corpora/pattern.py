"""Corpus in one folder whose file names contain speaker and label; a regular expression reads them."""

import logging
import re
import unicodedata
from pathlib import Path
from typing import Any

from ser.audio.find import find_audio, recording_name
from ser.corpora.recordings import AudioCorpus
from ser.data.manifest import Manifest, Utterance, first_ten, refuse_duplicates
from ser.errors import ConfigError, DataError, setting

_COLUMNS = ("speaker", "group", "split", "text", "language")
"""Groups with a fixed meaning; all others are label fields."""

_log = logging.getLogger(__name__)


class PatternCorpus(AudioCorpus):
    """Corpus in one folder with a pattern of its file names.

    Args:
        root: Folder of the recordings, at any depth.
        pattern: Regular expression for the whole name of a file, without folders and suffix; with a `/` in it, for
            its path below `root`. The groups speaker, group, split, text and language have a fixed meaning, and all
            others are label fields. Files that do not match are left out, counted and named.
        settings: Further arguments of AudioCorpus.

    Raises:
        ConfigError: It is not a regular expression, or has no group for the label.
    """

    def __init__(self, root: str, *, pattern: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.root = Path(root)
        try:
            self.pattern = re.compile(unicodedata.normalize("NFC", pattern))
        except re.error as error:
            raise ConfigError(
                f"{setting('data.pattern', pattern)}: is not a regular expression ({error}). Correct it."
            ) from error
        if self.label not in self.pattern.groupindex:
            groups = ", ".join(self.pattern.groupindex) or "none"
            raise ConfigError(
                f"{setting('data.pattern', pattern)}: has no group '{self.label}', but this is the label; its groups: "
                f"{groups}. Write (?P<{self.label}>...) around the label, or name another group by data.label."
            )

    def utterances(self) -> Manifest:
        """Read the utterances from the names of the files.

        Raises:
            DataError: No name matches, or two files have one id.
        """
        found: list[Utterance] = []
        others: list[str] = []
        for file in find_audio(self.root):
            name = recording_name(file.relative_to(self.root))
            utterance = self._utterance(name, file)
            if utterance is None:
                others.append(name)
            else:
                found.append(utterance)
        remedy = "Write (?P<speaker>...) around the speaker in data.pattern"
        manifest = Manifest(tuple(found), str(self.root), remedy)
        if not found:
            what = (
                f"matches none of {len(others)} recordings:{first_ten(others)}\n"
                if others
                else "finds no recording. "
            )
            raise DataError(
                f"{self.root}: {setting('data.pattern', self.pattern.pattern)} {what}"
                "Write an expression for all of a name, without its suffix, or check data.root."
            )
        if others:
            _log.warning(
                "%s: %d of %d recordings are left out, as data.pattern does not match their names:%s",
                *(self.root, len(others), len(others) + len(found), first_ten(others)),
            )
        refuse_duplicates(
            manifest, [str(each.path) for each in manifest], remedy="Rename or remove one of them."
        )
        return manifest

    def _utterance(self, name: str, file: Path) -> Utterance | None:
        """Read one utterance; None if the pattern does not match its name."""
        plain = unicodedata.normalize("NFC", name)  # macOS writes an accent as a separate character
        match = self.pattern.fullmatch(plain if "/" in self.pattern.pattern else plain.rpartition("/")[2])
        if match is None:
            return None
        groups = {key: value for key, value in match.groupdict().items() if value is not None}
        columns = {key: groups.pop(key) for key in _COLUMNS if key in groups and key != self.label}
        return Utterance(name, file, labels=groups, **columns)  # type: ignore[arg-type]
