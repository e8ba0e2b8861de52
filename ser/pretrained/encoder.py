"""Encoders of speech that were trained before, to be fine-tuned."""

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.errors import ConfigError
from ser.hugging_face.folder import Tensors, describe_files, without_mask_vector
from ser.models.base import Encoder
from ser.pretrained.folder import (
    find_folder,
    make_encoder,
    num_hidden_layers,
    read_architecture,
    with_utterance_statistics,
)
from ser.pretrained.log_mel_input import LogMelInput
from ser.pretrained.lora import add_lora, merge_lora
from ser.pretrained.masking import TimeMask

Layer = int | Literal["last", "weighted"]
Freeze = int | Literal["auto", "none", "features", "all"]


class PretrainedEncoder(Encoder):
    """wav2vec 2.0, HuBERT, WavLM, data2vec-audio, the encoder of Whisper, AudioNTT or CvT, from raw waveforms.

    Waveforms are normalised, or become log-mels, as the folder's own feature extractor does it. Positions of Whisper
    are cut to the length of an utterance, instead of filling it with silence to 30 s; longer ones are encoded in
    pieces of 30 s. Layers are never skipped in training.

    Args:
        in_dim: Number of values of a sample, 1.
        in_channels: Unused number of channels.
        path: Folder written by `save_pretrained`: config.json, preprocessor_config.json, model.safetensors; one of our
            own; or a published state_dict of BYOL-S; or a name on the Hugging Face hub. None for random weights, as in
            a checkpoint, which has its own.
        allow_download: Whether a name on the hub may be downloaded: no pickles, and no code.
        layer: Steps to return: output of the encoder (`last`), a learnt weighted mean of all hidden states
            (`weighted`), or one of them: 0 is the input of the first transformer layer, 1 its output, and so on.
        freeze: Weights that are not trained: `none`, those of the convolutions (`features`), these and the first n
            transformer layers (n), or `all`; `auto` is `all` with LoRA, else `none`. Frozen layers have no dropout.
        lr_scale: Learning rate of the trained weights / that of the rest of the model.
        layer_decay: Learning rate of a transformer layer / that of the layer after it, 0..1; what is before the layers
            counts as one more, and the convolutions as another.
        lora_rank: Rank of the trained matrices that LoRA adds to projections, which are frozen themselves; 0 for no
            LoRA. Their learning rate is that of the head.
        lora_alpha: Factor of what LoRA adds, times the rank.
        lora_targets: Names of the projections in each transformer layer.
        unfreeze_epoch: Number of epochs at the start in which the whole network is frozen.
        checkpoint_gradients: Compute the transformer layers again for their gradients, instead of keeping what is
            within them: less memory, more time.
        mask_time_prob: Share of the steps before the transformer layers that is masked in training, 0..1: replaced by
            the network's own vector where it was pre-trained with one, else by 0.
        mask_time_length: Number of steps of a masked span.
        statistics: Mean and deviation by which AudioNTT and CvT normalise log-mels: those of their folder (`own`),
            which published files do not have, those of the training split (`corpus`), or of each utterance.
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
        allow_download: bool = False,
        layer: Layer = "last",
        freeze: Freeze = "auto",
        lr_scale: float = 0.1,
        layer_decay: float = 1.0,
        lora_rank: int = 0,
        lora_alpha: float = 16.0,
        lora_targets: Sequence[str] = ("q_proj", "v_proj"),
        unfreeze_epoch: int = 0,
        checkpoint_gradients: bool = False,
        mask_time_prob: float = 0.0,
        mask_time_length: int = 10,
        statistics: Literal["own", "corpus", "utterance"] = "own",
        architecture: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if in_dim != 1:
            raise ConfigError(
                f"model=pretrained: reads waveforms of one value per step, and gets {in_dim} values. "
                "Set features=raw_waveform frontend.delta_scale=0."
            )
        if path is not None:
            path = find_folder(path, allow_download=allow_download)
        if architecture is None:
            if path is None:
                raise ConfigError(
                    "model.path=null: names no folder. Give one, such as model.path=WHISPER_FOLDER."
                )
            architecture = read_architecture(path)
        if statistics == "utterance":
            architecture = with_utterance_statistics(architecture, "model.statistics")
        self.architecture = json.loads(json.dumps(architecture))
        available = num_hidden_layers(self.architecture)
        num_layers = _count_used_layers(layer, available)
        mask = TimeMask(mask_time_prob, mask_time_length)
        self._mask = mask if mask.share else None
        used = self.architecture if self._mask else without_mask_vector(self.architecture)
        self.network = make_encoder(used, num_layers, path)
        if checkpoint_gradients and not available:
            raise ConfigError(
                "model.checkpoint_gradients=true: this encoder has no transformer layers to compute again. "
                "Set model.checkpoint_gradients=false."
            )
        self.network.save_memory = checkpoint_gradients
        self._statistics = statistics
        self.out_dim = self.network.out_dim
        self.subsampling = self.network.subsampling
        self.layer = layer
        self.is_normed = num_layers == available
        self.layer_logits = nn.Parameter(torch.zeros(num_layers + 1)) if layer == "weighted" else None
        self._scale_rates(lr_scale, layer_decay)
        self._frozen = self._freeze(freeze if freeze != "auto" else "all" if lora_rank else "none")
        if lora_rank:
            add_lora(self.network.layers, lora_targets, rank=lora_rank, alpha=lora_alpha)
        self._trained = [name for name, weight in self.network.named_parameters() if weight.requires_grad]
        self._unfreeze_epoch, self._is_waiting = unfreeze_epoch, False

    @classmethod
    def waveform_rate(cls, spec: Mapping[str, Any]) -> int:
        """Return the sample rate in Hz that a spec's folder wants, and check the spec, before weights are read.

        Raises:
            ConfigError: See the class.
            CheckpointError: See the class.
        """
        architecture = spec.get("architecture")
        if architecture is None:
            path = find_folder(spec["path"], allow_download=spec.get("allow_download", False))
            architecture = read_architecture(path)
        given = {key: value for key, value in spec.items() if key not in ("_target_", "path")}
        with torch.device("meta"):
            cls(1, **{**given, "architecture": architecture})
        return int(architecture["extractor"]["sampling_rate"])

    def fit(self, batches: Iterable[Padded]) -> None:
        """Compute the statistics of log-mels from batches of waveforms [B, samples, 1], unless its folder has them."""
        if isinstance(self.network, LogMelInput) and (self.needs_fit or self._statistics == "corpus"):
            self.network.mels.fit(batches)

    @property
    def needs_fit(self) -> bool:
        """Return whether the encoder has no statistics of log-mels of its own, so that `fit` must compute them."""
        return isinstance(self.network, LogMelInput) and self.network.mels.needs_fit

    def portable(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return a spec that needs no folder: it holds the architecture, and weights come from a state_dict."""
        return {**spec, "path": None, "architecture": self.architecture}

    @property
    def num_states(self) -> int:
        """Return the number of hidden states, with the input of the first layer."""
        return len(self.network.layers) + 1

    def hidden_states(self, audio: Padded) -> tuple[list[Tensor], Tensor]:
        """Compute all hidden states [B, T, D] of waveforms [B, samples, 1], and their lengths [B]."""
        states: list[Tensor]
        states, lengths = self.network(audio, norm_last=self.is_normed)
        return states, lengths

    def files(self) -> tuple[dict[str, Any], dict[str, Any], Tensors] | None:
        """Return what a folder of Hugging Face holds of it, see `describe_files`; None for a part of its layers.

        What LoRA learnt is merged into the weights. A network of log-mels has a folder of another kind.
        """
        if isinstance(self.network, LogMelInput) or not self.is_normed:
            return None
        model = copy.deepcopy(self.network.model)
        merge_lora(model)
        return describe_files(self.architecture, model)

    def forward(self, audio: Padded) -> Padded:
        """Encode waveforms [B, samples, 1] to [B, T, D], of which a step takes `subsampling` samples."""
        states, lengths = self.network(
            audio, norm_last=self.is_normed, mask=self._mask if self.training else None
        )
        if self.layer_logits is None:
            return Padded(states[-1], lengths)
        weights = self.layer_logits.softmax(0)
        mixed = torch.stack([weight * state for weight, state in zip(weights, states, strict=True)]).sum(0)
        return Padded(mixed, lengths)

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        """Set the mode of training, except in frozen parts, which have no dropout."""
        super().train(mode)
        for part in (self.network,) if self._is_waiting else self._frozen:
            part.eval()
        return self

    def begin_epoch(self, epoch: int) -> None:
        """Freeze the network before `unfreeze_epoch`; its weights are in the optimiser from the start."""
        is_waiting = epoch < self._unfreeze_epoch
        if is_waiting == self._is_waiting:
            return
        self._is_waiting = is_waiting
        for name in self._trained:
            self.network.get_parameter(name).requires_grad_(not is_waiting)
        self.train(self.training)

    def _scale_rates(self, lr_scale: float, decay: float) -> None:
        """Set the `lr_scale` of the network, and of each part of it from its last layer down to its convolutions."""
        if not 0 < decay <= 1:
            raise ConfigError(
                f"model.layer_decay={decay}: expected more than 0, up to 1. Write 0.8, or 1 for one rate."
            )
        network: Any = self.network
        network.lr_scale = lr_scale
        layers = [(layer,) for layer in reversed([*network.layers])]
        for depth, parts in enumerate([*layers, network.before_layers, network.convolutions]):
            for part in parts:
                part.lr_scale = lr_scale * decay**depth

    def _freeze(self, freeze: Freeze) -> tuple[nn.Module, ...]:
        count = len(self.network.layers)
        if isinstance(freeze, int) and not 0 <= freeze <= count:
            raise ConfigError(
                f"model.freeze={freeze}: {count} layers are in use. Give 0 to {count}, none, features or all."
            )
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


def _count_used_layers(layer: Layer, available: int) -> int:
    """Return the number of transformer layers that are needed for a hidden state."""
    if not isinstance(layer, int):
        return available
    if not 0 <= layer <= available:
        raise ConfigError(
            f"model.layer={layer}: this encoder has the hidden states 0 to {available}. Give one of them, "
            "last or weighted."
        )
    return layer
