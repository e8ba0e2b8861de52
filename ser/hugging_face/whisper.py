"""The encoder of Whisper on log-mels of an utterance's own length."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_exporting
from torch.nn import functional

from ser.batch import Padded
from ser.features.mel import mel_filterbank
from ser.hugging_face.layers import Mask, first_output, run_layer
from ser.hugging_face.padding import attention_mask
from ser.precision import in_float32

_FLOOR, _RANGE = 1e-10, 8.0  # of Whisper's log-mels: smallest energy, and range in decades below the loudest


class Whisper(nn.Module):
    """Encoder of Whisper on log-mels of the utterance's own length."""

    filters: Tensor
    window: Tensor

    def __init__(self, model: nn.Module, extractor: Mapping[str, Any]) -> None:
        super().__init__()
        self.model: Any = model
        self.out_dim: int = model.config.d_model  # type: ignore[union-attr, assignment]
        self.hop, self.fft_length = extractor["hop_length"], extractor["n_fft"]
        self.subsampling = 2 * self.hop
        self.save_memory = False
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
        # Not -(-n // hop): the division of ONNX cuts towards zero.
        count = (audio.values.shape[1] + self.hop - 1) // self.hop if is_exporting() else int(lengths.max())
        return Padded(logs[..., :count].transpose(1, 2), lengths)

    def forward(
        self, audio: Padded, *, norm_last: bool, mask: Mask | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Compute all hidden states [B, T, D] of waveforms [B, samples, 1], and their lengths [B]."""
        model = self.model
        mels = self.log_mels(audio)
        mels = mels.with_values(mels.values.to(audio.values.dtype)).zeroed()
        values = functional.gelu(model.conv1(mels.values.transpose(1, 2))) * mels.mask[:, None]
        values = functional.gelu(model.conv2(values)).transpose(1, 2)
        steps = Padded(values, -(-mels.lengths // 2))
        if mask is not None:
            steps = mask(steps, None)
        table = model.embed_positions.weight
        places = torch.arange(values.shape[1], device=values.device)
        hidden = steps.values + table[places % len(table)]
        hidden = functional.dropout(hidden, model.dropout, self.training)
        pieces = places // len(table)  # attention stays within pieces of 30 s
        seen = attention_mask(steps.mask[:, None] & (pieces == pieces[:, None]), hidden.dtype)
        states = [hidden]
        for layer in self.layers:
            output = run_layer(
                layer, hidden, save_memory=self.save_memory, attention_mask=seen, **self._others
            )
            hidden = first_output(output)
            states.append(hidden)
        if norm_last:
            states[-1] = model.layer_norm(hidden)
        return states, steps.lengths
