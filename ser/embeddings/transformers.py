"""Embeddings of wav2vec 2.0, HuBERT, WavLM and similar models by the package `transformers`.

Nothing is downloaded: a model is given as a folder.
"""

import json
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ser.batch import Padded
from ser.embeddings.base import WAVEFORM, Embedder
from ser.errors import CheckpointError, ConfigError, first_line, install_command, setting

_SMALLEST_VARIANCE = 1e-7  # added to variances, as the feature extractors of all these models do
_UNUSED = "masked_spec_embed"  # replaces masked steps in training; some folders lack it
_SHORTEST_S = 0.025  # input of one step, in all published models
_PROBE_S = (0.5, 0.3)


class Transformer(Embedder):
    """Mean over time of one hidden layer, or of all hidden layers.

    Args:
        folder: Folder written by `save_pretrained`: config.json, preprocessor_config.json and the weights.
        layer: 0 for the input of the first transformer layer, 1 for its output, and so on; -1 for the output of the
            last layer; `mean` for the mean of all of these.

    Raises:
        ConfigError: The package is not installed, or the model has no such layer.
        CheckpointError: The folder does not hold an encoder of waveforms.
    """

    max_frames = 16_000 * 40

    def __init__(self, folder: str, *, layer: int | Literal["mean"] = "mean") -> None:
        model, preprocessor = _load(folder)
        layers = model.config.num_hidden_layers + 1
        if layer != "mean" and not -layers <= layer < layers:
            raise ConfigError(
                f"extractor.layer={layer}: the model in {folder} has the layers 0 to {layers - 1}. "
                "Give one of them, or mean."
            )
        options = {"config": model.config.to_dict(), "preprocessor": preprocessor, "layer": layer}
        super().__init__(
            {**WAVEFORM, "sample_rate": preprocessor["sampling_rate"]},
            model.config.hidden_size,
            options=json.loads(json.dumps(options, default=str)),
        )
        self.model = model
        self.layer = layer
        self.normalizes = bool(preprocessor.get("do_normalize", False))
        self.min_steps = round(_SHORTEST_S * self.sample_rate)
        self.eval()
        warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")  # within WavLM
        self.takes_batches = hasattr(model.config, "conv_kernel") and self._ignores_padding()
        """False if the model's result depends on padding: then utterances are processed one at a time."""

    def encode(self, features: Padded) -> Tensor:
        """Embed waveforms [B, samples, 1] to [B, D]."""
        waveforms = self._normalized(features)
        if self.takes_batches:
            return self._embed_batch(waveforms)
        rows = zip(waveforms.values, waveforms.lengths.tolist(), strict=True)
        return torch.stack([self._hidden(row[None, :length, 0]).mean(1)[0] for row, length in rows])

    def _normalized(self, features: Padded) -> Padded:
        """Normalise each utterance to mean 0 and variance 1, if the model was trained so; padding is 0."""
        waveforms = features.zeroed()
        if not self.normalizes:
            return waveforms
        count = features.lengths[:, None, None]
        centred = waveforms.with_values(waveforms.values - waveforms.values.double().sum(1, True) / count)
        centred = centred.zeroed()
        variance = centred.values.square().sum(1, keepdim=True) / count
        return centred.with_values((centred.values / (variance + _SMALLEST_VARIANCE).sqrt()).float())

    def _embed_batch(self, waveforms: Padded) -> Tensor:
        hidden = self._hidden(waveforms.values[..., 0], attention_mask=waveforms.mask.long())
        steps = Padded(hidden, self._num_steps(waveforms.lengths))
        return steps.zeroed().values.sum(1) / steps.lengths[:, None]

    def _hidden(self, waveforms: Tensor, **inputs: Tensor) -> Tensor:
        """Compute the hidden layer [B, T, D] of waveforms [B, samples]."""
        states = self.model(waveforms, output_hidden_states=True, **inputs).hidden_states
        hidden: Tensor = torch.stack(states).mean(0) if self.layer == "mean" else states[self.layer]
        return hidden.float()

    def _num_steps(self, samples: Tensor) -> Tensor:
        config = self.model.config
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    @torch.inference_mode()
    def _ignores_padding(self) -> bool:
        """Test whether padding changes the result, as with group norm over time and with some ways to subsample."""
        longer, shorter = (round(seconds * self.sample_rate) for seconds in _PROBE_S)
        noise = torch.randn(longer, generator=torch.Generator().manual_seed(0))
        pair = Padded.collate([noise[:, None], noise[:shorter, None]])
        together = self._embed_batch(pair)[1]
        alone = self._hidden(noise[None, :shorter]).mean(1)[0]
        return bool((together - alone).abs().max() < 1e-5 * max(1.0, float(alone.abs().max())))


def _load(folder: str) -> tuple[Any, dict[str, Any]]:
    """Load the model, and the settings of its feature extractor."""
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(
            f"{setting('extractor.folder', folder)}: the package transformers is not installed ({error}). "
            f"Run: {install_command('transformers')}"
        ) from error
    if not (Path(folder) / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: holds no config.json. Give a folder as save_pretrained writes it, with the model and its "
            "feature extractor; nothing is downloaded."
        )
    try:
        model, report = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
        preprocessor = transformers.AutoFeatureExtractor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the library refuses files in many ways
        raise CheckpointError(
            f"{folder}: cannot be loaded by transformers ({first_line(error)}). "
            "Save model and feature extractor there again."
        ) from error
    missing = sorted(name for name in report["missing_keys"] if _UNUSED not in name)
    if missing:
        raise CheckpointError(
            f"{folder}: its weights lack {len(missing)} tensors, the first is {missing[0]}; they would be random. "
            "Save the whole model there again."
        )
    _check_kind(folder, model.config, preprocessor)
    return model.float(), preprocessor.to_dict()


def _check_kind(folder: str, config: Any, preprocessor: Any) -> None:
    known = all(hasattr(config, name) for name in ("hidden_size", "num_hidden_layers"))
    takes_waveforms = preprocessor.model_input_names[0] == "input_values"
    if getattr(config, "is_encoder_decoder", False) or not known or not takes_waveforms:
        raise CheckpointError(
            f"{folder}: a {config.model_type} is not an encoder of waveforms. "
            "Give wav2vec 2.0, HuBERT, WavLM, Data2VecAudio, UniSpeech-SAT or a similar model."
        )
