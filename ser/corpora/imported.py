"""Corpus that another toolkit wrote: audformat, Hugging Face, EmoBox or Kaldi."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from ser.corpora.recordings import AudioCorpus
from ser.data.manifest import Manifest, refuse_duplicates
from ser.errors import DataError
from ser.imports.audformat import read_audformat
from ser.imports.emobox import is_emobox, read_emobox
from ser.imports.hugging_face import find_tables, read_hugging_face
from ser.imports.kaldi import read_kaldi

_log = logging.getLogger(__name__)

Format = Literal["audformat", "huggingface", "emobox", "kaldi"]


class ImportedCorpus(AudioCorpus):
    """Corpus in a layout of another toolkit; columns without a fixed meaning are label fields.

    Args:
        path: Folder, or file, that the other toolkit wrote.
        format: Its layout: audformat, huggingface, emobox or kaldi; None to detect it.
        root: Folder that paths of recordings are relative to; None for that of `path`, or, for EmoBox and Kaldi, the
            working directory.
        settings: Further arguments of AudioCorpus.
    """

    def __init__(
        self, path: str, *, format: Format | None = None, root: str | None = None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.path = Path(path)
        self.format = format
        self.root = None if root is None else Path(root)

    def utterances(self) -> Manifest:
        """Read the utterances.

        Raises:
            DataError: The folder is missing, of no known layout, or malformed.
        """
        kind = self.format or detect_format(self.path)
        dropped: Counter[str] = Counter()
        if kind == "huggingface":
            found = read_hugging_face(self.path, self.root, Path(self.cache_dir), dropped)
        else:
            read = {"audformat": read_audformat, "emobox": read_emobox, "kaldi": read_kaldi}[kind]
            found = read(self.path, self.root, dropped)
        if not found:
            raise DataError(
                f"{self.path}: holds no utterances as {kind}. Give another data.path, or data.format."
            )
        for column, count in dropped.items():
            _log.warning("%s: %d values of %r are lists or the like, no labels", self.path, count, column)
        remedy = "Write the speaker of each utterance into the file utt2spk" if kind == "kaldi" else None
        manifest = Manifest(tuple(found), str(self.path), remedy)
        refuse_duplicates(
            manifest, [str(u.path) for u in manifest], remedy="Give a folder that holds the corpus once."
        )
        return manifest


def detect_format(path: Path) -> Format:
    """Return the layout of a folder or file.

    Raises:
        DataError: It is none that is known.
    """
    if not path.exists():
        raise DataError(f"{path}: no such folder or file. Check data.path.")
    if (path / "db.yaml").is_file():
        return "audformat"
    if next(path.rglob("wav.scp"), None):
        return "kaldi"
    if any(map(is_emobox, [path] if path.is_file() else path.glob("*.jsonl"))):
        return "emobox"
    if find_tables(path):
        return "huggingface"
    raise DataError(
        f"{path}: holds neither db.yaml (audformat), wav.scp (Kaldi), JSON lines of EmoBox, nor Parquet or Arrow files "
        "(Hugging Face). Give the folder that holds them with data.path=DIR."
    )
