"""Encoders of speech that were trained before, fine-tuned through the package `transformers`.

Weights come from a folder in the layout of Hugging Face; nothing is downloaded. Its modules are called one by one, so
that the true lengths reach every one that mixes time: group norm over time, positional convolutions, attention.
"""

import inspect
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded
from ser.errors import (
    CheckpointError,
    ConfigError,
    MissingPackageError,
    first_line,
    install_command,
    program,
    setting,
    shell_word,
)
from ser.features.mel import mel_filterbank
from ser.models.base import Encoder
from ser.models.waveform_cnn import repeat_short
from ser.precision import in_float32

_FAMILIES = {
    "wav2vec2": ("wav2vec2.modeling_wav2vec2", "Wav2Vec2Model", "Wav2Vec2Config"),
    "hubert": ("hubert.modeling_hubert", "HubertModel", "HubertConfig"),
    "wavlm": ("wavlm.modeling_wavlm", "WavLMModel", "WavLMConfig"),
    "data2vec-audio": ("data2vec.modeling_data2vec_audio", "Data2VecAudioModel", "Data2VecAudioConfig"),
    "whisper": ("whisper.modeling_whisper", "WhisperEncoder", "WhisperConfig"),
}
"""Model type in config.json -> module, class and config in transformers.models."""
_ABOUT_THE_FILE = ("_name_or_path", "architectures", "dtype", "quantization_config", "torch_dtype")
_NO_MASKING = {
    **{"apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "add_adapter": False},
    **{"layerdrop": 0.0, "encoder_layerdrop": 0.0, "adapter_attn_dim": None},
}
"""Parts that are not used: masks and skipped layers draw numbers that a resumed run would not repeat."""
_SMALLEST_VARIANCE = 1e-7  # added to variances, as the feature extractors of all these models do
_FLOOR, _RANGE = 1e-10, 8.0  # of Whisper's log-mels: smallest energy, and range in decades below the loudest

_log = logging.getLogger(__name__)

Layer = int | Literal["last", "weighted"]
Freeze = int | Literal["none", "features", "all"]


class PretrainedEncoder(Encoder):
    """wav2vec 2.0, HuBERT, WavLM, data2vec-audio, or the encoder of Whisper, from raw waveforms.

    Waveforms are normalised, or become log-mels, as the folder's own feature extractor does it. Positions of Whisper
    are cut to the length of an utterance, instead of filling it with silence to 30 s; longer ones are encoded in
    pieces of 30 s. Masking of steps and skipping of layers in training are off.

    Args:
        in_dim: Number of values of a sample, 1.
        in_channels: Unused number of channels.
        path: Folder written by `save_pretrained`: config.json, preprocessor_config.json, model.safetensors. None for
            random weights, as in a checkpoint, which has its own.
        layer: Steps to return: output of the encoder (`last`), a learnt weighted mean of all hidden states
            (`weighted`), or one of them: 0 is the input of the first transformer layer, 1 its output, and so on.
        freeze: Weights that are not trained: `none`, those of the convolutions (`features`), these and the first n
            transformer layers (n), or `all`. Frozen layers have no dropout.
        lr_scale: Learning rate of the trained weights / that of the rest of the model.
        architecture: Settings of encoder and feature extractor, which a checkpoint stores; None reads the folder's.

    Raises:
        ConfigError: The package is not installed, the input is not a waveform, or there is no such layer.
        CheckpointError: The folder does not hold such an encoder.
    """

    def __init__(
        self,
        in_dim: int,
        in_channels: int = 1,
        *,
        path: str | None = None,
        layer: Layer = "last",
        freeze: Freeze = "none",
        lr_scale: float = 0.1,
        architecture: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if in_dim != 1:
            raise ConfigError(
                f"model=pretrained: reads waveforms of one value per step, and gets {in_dim} values. "
                "Set features=waveform features.normalize=none frontend.delta_scale=0."
            )
        if architecture is None:
            if path is None:
                raise ConfigError(
                    "model.path=null: names no folder. Give one, such as model.path=WHISPER_FOLDER."
                )
            architecture = read_architecture(path)
        self.architecture = json.loads(json.dumps(architecture))
        config, extractor = self.architecture["config"], self.architecture["extractor"]
        is_whisper = config["model_type"] == "whisper"
        available = config["encoder_layers" if is_whisper else "num_hidden_layers"]
        if isinstance(layer, int) and not 0 <= layer <= available:
            raise ConfigError(
                f"model.layer={layer}: this encoder has the hidden states 0 to {available}. Give one of them, "
                "last or weighted."
            )
        num_layers = layer if isinstance(layer, int) else available
        if isinstance(freeze, int) and not 0 <= freeze <= num_layers:
            raise ConfigError(
                f"model.freeze={freeze}: {num_layers} transformer layers are in use. "
                f"Give 0 to {num_layers}, none, features or all."
            )
        model = _make(config, num_layers) if path is None else _load(path, config, num_layers)
        self.network = _Whisper(model, extractor) if is_whisper else _Wav2Vec(model, extractor)
        self.network.lr_scale = lr_scale  # type: ignore[assignment]
        self.out_dim = config["d_model" if is_whisper else "hidden_size"]
        self.subsampling = self.network.subsampling
        self.layer = layer
        self.is_normed = num_layers == available
        self.layer_logits = nn.Parameter(torch.zeros(num_layers + 1)) if layer == "weighted" else None
        self._frozen = self._freeze(freeze)

    @classmethod
    def waveform_rate(cls, spec: Mapping[str, Any]) -> int:
        """Return the sample rate in Hz that a spec's folder wants, before its weights are read.

        Raises:
            ConfigError: See the class.
            CheckpointError: See the class.
        """
        architecture = spec.get("architecture") or read_architecture(spec["path"])
        return int(architecture["extractor"]["sampling_rate"])

    def portable(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return a spec that needs no folder: it holds the architecture, and weights come from a state_dict."""
        return {**spec, "path": None, "architecture": self.architecture}

    def forward(self, audio: Padded) -> Padded:
        """Encode waveforms [B, samples, 1] to [B, T, D], of which a step takes `subsampling` samples."""
        states, lengths = self.network(audio, norm_last=self.is_normed)
        if self.layer_logits is None:
            return Padded(states[-1], lengths)
        weights = self.layer_logits.softmax(0)
        mixed = torch.stack([weight * state for weight, state in zip(weights, states, strict=True)]).sum(0)
        return Padded(mixed, lengths)

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        """Set the mode of training, except in frozen parts, which have no dropout."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def _freeze(self, freeze: Freeze) -> tuple[nn.Module, ...]:
        parts: Sequence[nn.Module]
        if freeze == "none":
            parts = ()
        elif freeze == "all":
            parts = (self.network,)
        elif freeze == "features":
            parts = self.network.convolutions
        else:
            parts = (*self.network.convolutions, *self.network.before_layers, *self.network.layers[:freeze])
        for part in parts:
            part.requires_grad_(False)
        return tuple(parts)


class _Wav2Vec(nn.Module):
    """Networks of the wav2vec 2.0 family, with true lengths."""

    def __init__(self, model: nn.Module, extractor: Mapping[str, Any]) -> None:
        super().__init__()
        self.model: Any = model
        self.normalizes = bool(extractor.get("do_normalize", False))
        config: Any = self.model.config
        self.is_pre_norm = bool(getattr(config, "do_stable_layer_norm", False))
        self.takes_positions = config.model_type == "wavlm"
        self.subsampling, self.receptive_field = 1, 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            self.receptive_field += (kernel - 1) * self.subsampling
            self.subsampling *= stride
        self._has_warned = False
        warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")  # within WavLM

    @property
    def convolutions(self) -> tuple[nn.Module, ...]:
        return (self.model.feature_extractor,)

    @property
    def before_layers(self) -> tuple[nn.Module, ...]:
        own = (self.model.feature_projection, self.model.encoder.pos_conv_embed)
        return own if self.is_pre_norm else (*own, self.model.encoder.layer_norm)

    @property
    def layers(self) -> nn.ModuleList:
        layers: nn.ModuleList = self.model.encoder.layers
        return layers

    def forward(self, audio: Padded, *, norm_last: bool) -> tuple[list[Tensor], Tensor]:
        """Compute all hidden states [B, T, D] of waveforms [B, samples, 1], and their lengths [B]."""
        dtype = audio.values.dtype
        if int(audio.lengths.min()) < self.receptive_field:
            self._warn(int(audio.lengths.min()))
            audio = repeat_short(audio, self.receptive_field)
        with in_float32(audio.values.device):
            waveforms = _normalized(audio) if self.normalizes else audio.zeroed()
        features = self._convolve(waveforms.with_values(waveforms.values.to(dtype)))
        projected = self.model.feature_projection(features.values)
        steps = features.with_values(projected[0] if isinstance(projected, tuple) else projected).zeroed()
        encoder = self.model.encoder
        hidden = steps.values + self._positions(steps)
        hidden = encoder.dropout(hidden if self.is_pre_norm else encoder.layer_norm(hidden))
        states, bias = [hidden], None
        mask = _attention_mask(steps.mask, hidden.dtype)
        for layer in encoder.layers:
            if self.takes_positions:
                hidden, bias = layer(hidden, attention_mask=steps.mask.long(), position_bias=bias)[:2]
            else:
                hidden = _first(layer(hidden, attention_mask=mask))
            states.append(hidden)
        if self.is_pre_norm and norm_last:
            states[-1] = encoder.layer_norm(hidden)
        return states, steps.lengths

    def _convolve(self, waveforms: Padded) -> Padded:
        """Convolve without padding, so that no real step reads beyond an end; group norm counts real steps only."""
        values, lengths = waveforms.values.transpose(1, 2), waveforms.lengths
        for layer in self.model.feature_extractor.conv_layers:
            values = layer.conv(values)
            lengths = (lengths - layer.conv.kernel_size[0]) // layer.conv.stride[0] + 1
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                values = _norm_over_time(values, lengths, norm)
            elif norm is not None:
                values = norm(values.transpose(1, 2)).transpose(1, 2)
            values = layer.activation(values)
        return Padded(values.transpose(1, 2), lengths)

    def _positions(self, steps: Padded) -> Tensor:
        """Compute the position encoding [B, T, D]; each convolution reads zeros beyond an end, as if it were alone."""
        embed = self.model.encoder.pos_conv_embed
        mask = steps.mask[:, None]
        values = steps.values.transpose(1, 2)
        if hasattr(embed, "layers"):  # data2vec-audio
            for layer in embed.layers:
                values = layer(values * mask)
        else:
            norm = getattr(embed, "batch_norm", None)
            values = values if norm is None else norm.eval()(values) * mask
            values = embed.activation(embed.padding(embed.conv(values)))
        return values.transpose(1, 2)

    def _warn(self, shortest: int) -> None:
        if not self._has_warned:
            _log.warning(
                "A waveform of %d samples is shorter than the %d of the encoder's first step: it is repeated.",
                *(shortest, self.receptive_field),
            )
        self._has_warned = True


class _Whisper(nn.Module):
    """Encoder of Whisper on log-mels of the utterance's own length."""

    filters: Tensor
    window: Tensor

    def __init__(self, model: nn.Module, extractor: Mapping[str, Any]) -> None:
        super().__init__()
        self.model: Any = model
        self.hop, self.fft_length = extractor["hop_length"], extractor["n_fft"]
        self.subsampling = 2 * self.hop
        rate, bins = extractor["sampling_rate"], extractor["feature_size"]
        with torch.device("cpu"):  # not on `meta`, where a checkpoint's model is built first
            filters = mel_filterbank(bins, self.fft_length, rate, scale="slaney", norm="slaney")
            window = torch.hann_window(self.fft_length)
        self.register_buffer("filters", filters.float(), persistent=False)
        self.register_buffer("window", window, persistent=False)
        parameters = inspect.signature(self.layers[0].forward).parameters if len(self.layers) else {}
        self._others = {"layer_head_mask": None} if "layer_head_mask" in parameters else {}

    @property
    def convolutions(self) -> tuple[nn.Module, ...]:
        return (self.model.conv1, self.model.conv2)

    @property
    def before_layers(self) -> tuple[nn.Module, ...]:
        return (self.model.embed_positions,)

    @property
    def layers(self) -> nn.ModuleList:
        layers: nn.ModuleList = self.model.layers
        return layers

    def log_mels(self, audio: Padded) -> Padded:
        """Compute log-mels [B, ceil(samples / hop), bins] of waveforms [B, samples, 1], 8 decades below their loudest.

        Zeros follow the end of an utterance, as in Whisper, which fills it to 30 s.
        """
        with in_float32(audio.values.device):
            samples = audio.zeroed().values[..., 0].float()
            samples = functional.pad(samples, (0, self.fft_length))
            spectra = torch.stft(
                samples, self.fft_length, self.hop, window=self.window.float(), return_complex=True
            )
            energies = self.filters.float() @ spectra.abs().square()
            logs = energies.clamp_min(_FLOOR).log10()
            logs = (torch.maximum(logs, logs.amax((1, 2), keepdim=True) - _RANGE) + 4) / 4
        lengths = -(-audio.lengths // self.hop)
        return Padded(logs[..., : int(lengths.max())].transpose(1, 2), lengths)

    def forward(self, audio: Padded, *, norm_last: bool) -> tuple[list[Tensor], Tensor]:
        """Compute all hidden states [B, T, D] of waveforms [B, samples, 1], and their lengths [B]."""
        model = self.model
        mels = self.log_mels(audio)
        mels = mels.with_values(mels.values.to(audio.values.dtype)).zeroed()
        values = functional.gelu(model.conv1(mels.values.transpose(1, 2))) * mels.mask[:, None]
        values = functional.gelu(model.conv2(values)).transpose(1, 2)
        steps = Padded(values, -(-mels.lengths // 2))
        table = model.embed_positions.weight
        places = torch.arange(values.shape[1], device=values.device)
        hidden = values + table[places % len(table)]
        hidden = functional.dropout(hidden, model.dropout, self.training)
        pieces = places // len(table)  # attention stays within pieces of 30 s
        mask = steps.mask[:, None] & (pieces == pieces[:, None])
        states, mask = [hidden], _attention_mask(mask, hidden.dtype)
        for layer in self.layers:
            hidden = _first(layer(hidden, attention_mask=mask, **self._others))
            states.append(hidden)
        if norm_last:
            states[-1] = model.layer_norm(hidden)
        return states, steps.lengths


def read_architecture(path: str) -> dict[str, Any]:
    """Read the settings of encoder and feature extractor of a folder, as plain containers.

    Raises:
        ConfigError: The package is not installed.
        CheckpointError: The folder does not hold an encoder of speech.
    """
    transformers = _transformers(path)
    name = setting("model.path", path)
    folder = Path(path).expanduser()
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{name}: holds no config.json. Give a folder as save_pretrained writes it; nothing is downloaded."
        )
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        kind = config.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{name}: its config.json cannot be read ({first_line(error)}). Save or copy the folder again."
        ) from error
    if kind not in _FAMILIES:
        raise CheckpointError(
            f"{name}: a {kind} is not an encoder of speech that can be trained here. Give one of "
            f"{', '.join(_FAMILIES)}."
        )
    try:
        full = getattr(transformers, _FAMILIES[kind][2]).from_pretrained(folder, **options).to_dict()
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, **options).to_dict()
    except Exception as error:  # the library refuses files in many ways
        raise CheckpointError(
            f"{name}: its config.json or preprocessor_config.json cannot be read ({first_line(error)}). "
            "Copy both of the published model there, or save model and feature extractor again."
        ) from error
    kept = {key: value for key, value in full.items() if key not in _ABOUT_THE_FILE}
    keys = ("sampling_rate", "do_normalize", "n_fft", "hop_length", "feature_size")
    return {"config": kept, "extractor": {key: extractor[key] for key in keys if key in extractor}}


def _transformers(path: str | None) -> Any:
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
    _transformers(path)
    module, name, kind = _FAMILIES[config["model_type"]]
    network = getattr(import_module(f"transformers.models.{module}"), name)
    layers = "encoder_layers" if config["model_type"] == "whisper" else "num_hidden_layers"
    used = {key: value for key, value in {**config, **_NO_MASKING}.items() if key in config}
    made = import_module(f"transformers.models.{module.split('.')[0]}")
    attention = "sdpa" if network._supports_sdpa else "eager"  # a name of the hub here would download code
    kept = {
        key: value for key, value in used.items() if "attn_implementation" not in key and key != "model_type"
    }
    return network, getattr(made, kind)(**{**kept, layers: num_layers}, attn_implementation=attention)


def _make(config: Mapping[str, Any], num_layers: int) -> nn.Module:
    network, own = _classes(config, num_layers, None)
    made: nn.Module = network(own)
    return made.float()


def _load(path: str, config: Mapping[str, Any], num_layers: int) -> nn.Module:
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
            )
    except Exception as error:  # the library refuses files in many ways
        raise CheckpointError(
            f"{name}: its weights cannot be loaded by transformers ({first_line(error)}). Save or copy them again."
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{name}: its weights lack {len(missing)} tensors of the encoder, the first is {missing[0]}; they would be "
            "random. Save or copy the whole model again."
        )
    loaded: nn.Module = made
    return loaded.float()


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


def _normalized(audio: Padded) -> Padded:
    """Normalise each waveform [B, samples, 1] to mean 0 and variance 1; padding is 0."""
    count = audio.lengths[:, None, None]
    values = audio.zeroed().values.double()
    centred = audio.with_values(values - values.sum(1, True) / count).zeroed()
    variance = centred.values.square().sum(1, True) / count
    return centred.with_values((centred.values / (variance + _SMALLEST_VARIANCE).sqrt()).float())


def _norm_over_time(values: Tensor, lengths: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Normalise each channel of [B, C, T] by its real steps; the group norm of each is over its own channel."""
    assert norm.num_groups == values.shape[1]
    mask = torch.arange(values.shape[2], device=values.device) < lengths[:, None, None]
    wide = values.float()
    mean = (wide * mask).sum(2, True) / lengths[:, None, None]
    variance = ((wide - mean) * mask).square().sum(2, True) / lengths[:, None, None]
    scores = (wide - mean) * (variance + norm.eps).rsqrt()
    return (scores * norm.weight[:, None] + norm.bias[:, None]).to(values.dtype)


def _attention_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what to add to attention scores, [B, 1, T, T]: 0, or the smallest number where mask is false.

    Args:
        mask: Steps that are attended to, [B, T] or for each query [B, T, T].
        dtype: Type of the scores.
    """
    each = mask[:, None] if mask.ndim == 2 else mask
    each = each.expand(-1, mask.shape[-1], -1)[:, None]
    return torch.zeros(each.shape, dtype=dtype, device=mask.device).masked_fill(~each, torch.finfo(dtype).min)


def _first(output: Any) -> Tensor:
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden
