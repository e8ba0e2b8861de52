"""Downloads from the Hugging Face hub, which only a user's setting allows."""

from functools import cache

from ser.errors import CheckpointError, named_line, setting, shell_word
from ser.hugging_face.folder import import_transformers

_FILES = ["config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json"]
"""What is downloaded: no pickles, and no code."""
_TIMEOUT_S = 5.0


@cache
def download(name: str) -> str:
    """Download an encoder, or find it among earlier downloads if the hub does not answer; return its folder.

    Args:
        name: Name on the hub, `organisation/model`.

    Raises:
        CheckpointError: There is no such encoder, or no network.
    """
    import_transformers(name)  # which brings the package of the hub
    import huggingface_hub as hub

    try:
        revision = hub.HfApi().model_info(name, timeout=_TIMEOUT_S).sha
        folder = hub.snapshot_download(
            name, revision=revision, allow_patterns=_FILES, etag_timeout=_TIMEOUT_S
        )
    except Exception as error:  # it fails in many ways, some of httpx
        try:
            folder = hub.snapshot_download(name, allow_patterns=_FILES, local_files_only=True)
        except Exception:
            raise CheckpointError(
                f"{setting('model.path', name)}: cannot be downloaded ({named_line(error)}). Where there is a network, "
                f"run `hf download {shell_word(name)} --local-dir FOLDER`, copy FOLDER here, and set model.path=FOLDER."
            ) from error
    return str(folder)
