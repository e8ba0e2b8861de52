"""wav2vec 2.0, HuBERT, WavLM and data2vec-audio, with true lengths.

Modules of `transformers` are called one by one, so that the lengths reach every one that mixes time: group norm over
time, positional convolutions, attention.
"""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from ser.batch import Padded
from ser.hugging_face.layers import Mask, RepeatShort, first_output, run_layer
from ser.hugging_face.padding import attention_mask, norm_over_time, normalize_waveforms
from ser.precision import in_float32


class Wav2Vec(nn.Module):
    """Networks of the wav2vec 2.0 family, with true lengths."""

    def __init__(self, model: nn.Module, extractor: Mapping[str, Any]) -> None:
        super().__init__()
        self.model: Any = model
        self.normalizes = bool(extractor.get("do_normalize", False))
        config: Any = self.model.config
        self.is_pre_norm = bool(getattr(config, "do_stable_layer_norm", False))
        self.takes_positions = config.model_type == "wavlm"
        self.out_dim: int = config.hidden_size
        self.subsampling, self.receptive_field = 1, 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            self.receptive_field += (kernel - 1) * self.subsampling
            self.subsampling *= stride
        self.save_memory = False
        self._repeat_short = RepeatShort(self.receptive_field)
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

    def forward(
        self, audio: Padded, *, norm_last: bool, mask: Mask | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Compute all hidden states [B, T, D] of waveforms [B, samples, 1], and their lengths [B]."""
        dtype = audio.values.dtype
        audio = self._repeat_short(audio)
        with in_float32(audio.values.device):
            waveforms = normalize_waveforms(audio) if self.normalizes else audio.zeroed()
        features = self._convolve(waveforms.with_values(waveforms.values.to(dtype)))
        projected = self.model.feature_projection(features.values)
        steps = features.with_values(projected[0] if isinstance(projected, tuple) else projected).zeroed()
        if mask is not None:
            steps = mask(steps, getattr(self.model, "masked_spec_embed", None))
        encoder = self.model.encoder
        hidden = steps.values + self._positions(steps)
        hidden = encoder.dropout(hidden if self.is_pre_norm else encoder.layer_norm(hidden))
        states, bias = [hidden], None
        seen = attention_mask(steps.mask, hidden.dtype)
        run = partial(run_layer, save_memory=self.save_memory)
        for layer in encoder.layers:
            if self.takes_positions:
                hidden, bias = run(layer, hidden, attention_mask=steps.mask.long(), position_bias=bias)[:2]
            else:
                hidden = first_output(run(layer, hidden, attention_mask=seen))
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
                values = norm_over_time(values, lengths, norm)
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
