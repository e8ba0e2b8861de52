"""Find the embedder of a path: an encoder that was trained before, here or elsewhere."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from ser.embeddings.base import Embedder
from ser.embeddings.byol import BYOLS
from ser.embeddings.pretrained import Pretrained
from ser.embeddings.trained import TrainedModel
from ser.errors import ConfigError, SerError, setting
from ser.pretrained.networks import NETWORKS

Layer = int | Literal["last"]
Stats = Literal["checkpoint", "corpus", "clip"]


def load_embedder(path: str, *, layer: Layer = "last", stats: Stats = "checkpoint") -> Embedder:
    """Load the embedder of a path.

    Args:
        path: Folder of an encoder, as `transformers` or a pre-training writes it; file of a published state_dict of
            BYOL-S or BYOL-A; or checkpoint or folder of a run.
        layer: Hidden state of an encoder of `transformers`: `last` or a number.
        stats: Mean and deviation of the log-mels that BYOL-S reads: those of its folder (`checkpoint`), of the corpus,
            or of each recording (`clip`).

    Raises:
        ConfigError: The encoder has no such layer, or a setting is for other encoders.
        CheckpointError: The path holds no encoder.
    """
    place, kind = Path(path).expanduser(), _model_type(Path(path).expanduser())
    is_byol = kind in NETWORKS or place.suffix.lower() in (".pth", ".pt")
    is_library = kind is not None and not is_byol
    if stats != "checkpoint" and not is_byol:
        raise ConfigError(
            f"stats={stats}: is for encoders of BYOL-S, but {path} normalises its input itself. Leave stats out."
        )
    if layer != "last" and not is_library:
        raise ConfigError(f"layer={layer}: {path} gives one embedding. Leave layer out.")
    with _named_path():
        if is_library:
            return Pretrained(str(place), layer=layer)
        if not is_byol:
            return TrainedModel(str(place))
        if kind is None and stats == "checkpoint":
            raise ConfigError(
                f"{setting('path', path)}: holds weights, but no mean and deviation of log-mels. Set stats=corpus or "
                "stats=clip."
            )
        return BYOLS(str(place), statistics="stored" if stats == "checkpoint" else stats)


def _model_type(path: Path) -> str | None:
    """Return the kind of encoder that a folder describes; None if it is no folder of an encoder."""
    try:
        return str(json.loads((path / "config.json").read_text("utf-8"))["model_type"])
    except (KeyError, TypeError, ValueError):
        return ""  # a damaged config.json, which is refused with the reason
    except OSError:
        return None


@contextmanager
def _named_path() -> Iterator[None]:
    """Replace the settings of extractors in messages."""
    names = {"path": "path", "weights": "path", "ckpt": "path", "layer": "layer", "statistics": "stats"}
    try:
        yield
    except SerError as error:
        pattern = rf"\bextractor\.({'|'.join(names)})\b"
        raise type(error)(re.sub(pattern, lambda match: names[match[1]], str(error))) from error
