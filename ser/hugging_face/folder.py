"""Folders of encoders in the layout of Hugging Face: architecture and weights, read through `transformers`."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ser.errors import (
    CheckpointError,
    MissingPackageError,
    first_line,
    install_command,
    program,
    setting,
    shell_word,
)

FAMILIES = {
    "wav2vec2": ("wav2vec2.modeling_wav2vec2", "Wav2Vec2Model", "Wav2Vec2Config"),
    "hubert": ("hubert.modeling_hubert", "HubertModel", "HubertConfig"),
    "wavlm": ("wavlm.modeling_wavlm", "WavLMModel", "WavLMConfig"),
    "data2vec-audio": ("data2vec.modeling_data2vec_audio", "Data2VecAudioModel", "Data2VecAudioConfig"),
    "whisper": ("whisper.modeling_whisper", "WhisperEncoder", "WhisperConfig"),
}
"""Model type in config.json -> module, class and config in transformers.models."""
_ABOUT_THE_FILE = ("_name_or_path", "architectures", "dtype", "quantization_config", "torch_dtype")
_NOT_USED = {
    **{"apply_spec_augment": False, "add_adapter": False, "adapter_attn_dim": None},
    **{"layerdrop": 0.0, "encoder_layerdrop": 0.0},
}
"""Parts that are not used: masks of `transformers`, and skipped layers, draw numbers that a resumed run would not
repeat."""
_MASK_VECTOR = "masked_spec_embed"

_log = logging.getLogger(__name__)

Tensors = dict[str, Tensor]


def read_settings(path: str, kind: str) -> dict[str, Any]:
    """Read the settings of encoder and feature extractor of a folder, as plain containers.

    Args:
        path: Folder of an encoder.
        kind: Its model type, a key of `FAMILIES`.

    Raises:
        MissingPackageError: The package is not installed.
        CheckpointError: A file is missing or damaged.
    """
    transformers = import_transformers(path)
    folder = Path(path).expanduser()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        full = getattr(transformers, FAMILIES[kind][2]).from_pretrained(folder, **options).to_dict()
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, **options).to_dict()
    except Exception as error:  # the library refuses files in many ways
        raise CheckpointError(
            f"{setting('model.path', path)}: its config.json or preprocessor_config.json cannot be read "
            f"({first_line(error)}). Copy both of the published model there, or save model and feature extractor again."
        ) from error
    kept = {key: value for key, value in full.items() if key not in _ABOUT_THE_FILE}
    keys = ("sampling_rate", "do_normalize", "n_fft", "hop_length", "feature_size")
    return {"config": kept, "extractor": {key: extractor[key] for key in keys if key in extractor}}


def count_layers(config: Mapping[str, Any]) -> int:
    """Return the number of transformer layers of an encoder."""
    return int(config["encoder_layers" if config["model_type"] == "whisper" else "num_hidden_layers"])


def describe_files(
    architecture: Mapping[str, Any], model: nn.Module
) -> tuple[dict[str, Any], dict[str, Any], Tensors]:
    """Return config.json, preprocessor_config.json and the tensors of a folder that `read_settings` reads.

    Args:
        architecture: Settings from `read_settings`.
        model: Network of `transformers` with all layers.
    """
    is_whisper = architecture["config"]["model_type"] == "whisper"
    kind = "WhisperFeatureExtractor" if is_whisper else "Wav2Vec2FeatureExtractor"
    prefix = "encoder." if is_whisper else ""
    tensors = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    return (
        dict(architecture["config"]),
        {"feature_extractor_type": kind, **architecture["extractor"]},
        tensors,
    )


def import_transformers(path: str | None) -> Any:
    """Import the package.

    Args:
        path: Folder or name that needs it, for the message.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingPackageError(
            f"{'model=pretrained' if path is None else setting('model.path', path)}: the package transformers is not "
            f"installed ({first_line(error)}). Run: {install_command('transformers')}"
        ) from error
    return transformers


def _classes(config: Mapping[str, Any], num_layers: int, path: str | None) -> tuple[Any, Any]:
    """Return the class of the network, and its config with the layers that are used."""
    import_transformers(path)
    module, name, kind = FAMILIES[config["model_type"]]
    network = getattr(import_module(f"transformers.models.{module}"), name)
    layers = "encoder_layers" if config["model_type"] == "whisper" else "num_hidden_layers"
    used = {key: value for key, value in {**config, **_NOT_USED}.items() if key in config}
    made = import_module(f"transformers.models.{module.split('.')[0]}")
    attention = "sdpa" if network._supports_sdpa else "eager"  # a name of the hub here would download code
    kept = {
        key: value for key, value in used.items() if "attn_implementation" not in key and key != "model_type"
    }
    return network, getattr(made, kind)(**{**kept, layers: num_layers}, attn_implementation=attention)


def without_mask_vector(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture of an encoder without the vector that replaces masked steps."""
    config = {**architecture["config"], "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    return {**architecture, "config": config}


def make_network(config: Mapping[str, Any], num_layers: int) -> nn.Module:
    """Build the encoder that a config describes, with random weights and the first `num_layers` layers."""
    network, own = _classes(config, num_layers, None)
    made: nn.Module = network(own)
    return made.float()


def load_network(path: str, config: Mapping[str, Any], num_layers: int) -> nn.Module:
    """Load the weights of the encoder alone, from a folder that may hold more.

    Raises:
        CheckpointError: There are none, some are missing, or they do not fit.
    """
    name, folder = setting("model.path", path), Path(path).expanduser()
    if not [*folder.glob("*.safetensors")]:
        convert = (
            "import sys; from transformers import AutoModel; "
            "AutoModel.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])"
        )
        raise CheckpointError(
            f"{name}: holds no model.safetensors. Copy it there, or convert a pytorch_model.bin that you trust: "
            f"{program('python')} -c {shell_word(convert)} {shell_word(str(folder))}"
        )
    network, own = _classes(config, num_layers, path)
    renamed = {r"^(model\.)?encoder\.": ""} if config["model_type"] == "whisper" else None
    try:
        with _without_messages():
            made, report = network.from_pretrained(
                folder,
                config=own,
                key_mapping=renamed,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
    except Exception as error:  # the library refuses files in many ways
        raise CheckpointError(
            f"{name}: its weights cannot be loaded by transformers ({first_line(error)}). Save or copy them again."
        ) from error
    if {*report["missing_keys"]} == {_MASK_VECTOR}:  # as in wav2vec2-base-960h
        nn.init.zeros_(made.get_parameter(_MASK_VECTOR))
        report["missing_keys"] = set()
    if misfit := _find_misfit(report, num_layers=count_layers(config)):
        raise CheckpointError(
            f"{name}: its weights are not those of its config.json: {misfit}. Save or copy the whole model again."
        )
    _log_other_parts(name, report["unexpected_keys"])
    loaded: nn.Module = made
    return loaded.float()


def _find_misfit(report: Mapping[str, Any], *, num_layers: int) -> str:
    """Describe tensors that are missing, of another shape, or of layers that there are not; the first five."""
    problems = [f"{name} is missing" for name in sorted(report["missing_keys"])]
    problems += [
        f"{name} is {[*found]}, expected {[*expected]}"
        for name, found, expected in sorted(report["mismatched_keys"])
    ]
    problems += [
        f"{name} is not part of it"
        for name in sorted(report["unexpected_keys"])
        if (layer := _layer_of(name)) is not None and layer >= num_layers
    ]
    return "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")


def _layer_of(name: str) -> int | None:
    """Return the number of the encoder's layer that a tensor belongs to."""
    found = re.match(r"(?:\w+\.)?(?:encoder\.)?layers\.(\d+)\.", name)
    return int(found[1]) if found and "decoder" not in name else None


def _log_other_parts(name: str, tensors: Iterable[str]) -> None:
    """Log what a folder holds beside the encoder, such as a decoder."""
    parts = Counter(
        each.removeprefix("model.").partition(".")[0] for each in tensors if _layer_of(each) is None
    )
    if parts := Counter({part: count for part, count in parts.items() if part != _MASK_VECTOR}):
        listed = ", ".join(f"{part} ({count})" for part, count in sorted(parts.items()))
        _log.info("%s: left out the tensors of other parts: %s", name, listed)


@contextmanager
def _without_messages() -> Iterator[None]:
    """Silence the progress bar, and a table of the tensors that a folder holds beside those of the encoder."""
    from transformers import logging as messages

    before = messages.get_verbosity()
    messages.set_verbosity_error()
    messages.disable_progress_bar()
    try:
        yield
    finally:
        messages.set_verbosity(before)
        messages.enable_progress_bar()
