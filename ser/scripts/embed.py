"""Write one embedding for each recording, by an encoder that was trained before.

ser embed path=ENCODER input=DIR output=embeddings.npz
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ser.config.main import main
from ser.config.settings import Embed
from ser.errors import DataError, MissingPackageError, first_line, install_command

if TYPE_CHECKING:
    import numpy as np

_SUFFIXES = (".npz", ".parquet")


@main("embed", existing_paths=("path", "input", "root"))
def embed(settings: Embed) -> None:
    """Embed every recording of the input, and write ids and embeddings."""
    output = Path(settings.output)
    _check_format(output)
    import numpy as np  # torch takes 1.4 s: first the config must be right

    from ser.embeddings import cache
    from ser.embeddings.load import load_embedder
    from ser.files import write_atomic
    from ser.inference import inputs, writers
    from ser.inference.predict import choose_device

    writers.check_output(output, overwrite=settings.overwrite)
    device = choose_device(settings.device)
    embedder = load_embedder(settings.path, layer=settings.layer, stats=settings.stats)
    given = settings.input if isinstance(settings.input, list) else [settings.input]
    with inputs.predict_remedies(), cache.no_skipping():
        manifest = inputs.find_recordings([Path(path) for path in given], settings.root)
        found = cache.embed(
            manifest, np.arange(len(manifest)), embedder, cache_dir=settings.cache_dir, device=device
        )
    ids = [utterance.id for utterance in manifest]
    write_atomic(output, _to_parquet(ids, found) if output.suffix == ".parquet" else _to_npz(ids, found))
    print(f"{len(ids)} embeddings of {found.shape[1]} values: {output}")


def _check_format(output: Path) -> None:
    """Refuse other formats, and parquet without the packages for it."""
    if output.suffix not in _SUFFIXES:
        raise DataError(f"{output}: embeddings are written as .npz or .parquet. Give such an output.")
    if output.suffix == ".parquet":
        try:
            import pandas as pd  # noqa: F401
            import pyarrow as pa  # noqa: F401
        except ImportError as error:
            raise MissingPackageError(
                f"{output}: parquet needs pandas and pyarrow ({first_line(error)}). Give a name that ends in .npz, or "
                f"run: {install_command('parquet')}"
            ) from error


def _to_npz(ids: list[str], embeddings: "np.ndarray") -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, ids=np.array(ids), embeddings=embeddings)
    return buffer.getvalue()


def _to_parquet(ids: list[str], embeddings: "np.ndarray") -> bytes:
    import pandas as pd

    table = pd.DataFrame(embeddings, columns=[f"e{place}" for place in range(embeddings.shape[1])])
    table.insert(0, "id", ids)
    return bytes(table.to_parquet(index=False))
