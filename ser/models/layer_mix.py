"""A learnt weighted sum of the hidden states of a frozen encoder."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ser.batch import Padded
from ser.errors import ConfigError
from ser.models.base import Encoder

if TYPE_CHECKING:
    from ser.features.extractors import Extractor


class LayerMixEncoder(Encoder):
    """Add the hidden states of an encoder, each times a learnt weight; weights are positive, their sum is 1.

    Normalised by the frontend, all states have the same scale.

    Args:
        in_dim: Number of values of a step, of all states in all channels.
        in_channels: Number of channels: 2 with deltas of the states.
        num_states: Number of hidden states side by side in a channel, which follows from the features.

    Source: Yang et al., "SUPERB: Speech processing universal performance benchmark", Interspeech 2021.
    """

    def __init__(self, in_dim: int, in_channels: int = 1, *, num_states: int = 1) -> None:
        super().__init__()
        self.shape = (in_channels, num_states, in_dim // in_channels // num_states)
        self.out_dim = in_dim // num_states
        self.logits = nn.Parameter(torch.zeros(num_states))

    @classmethod
    def complete(cls, spec: Mapping[str, Any], extractor: "Extractor") -> dict[str, Any]:
        """Return a spec with the number of hidden states of the features.

        Raises:
            ConfigError: The features have one state.
        """
        if extractor.num_states < 2:
            raise ConfigError(
                "model=layer_mix: adds several hidden states, and these features have one. "
                "Set features=pretrained features.path=FOLDER features.layer=all, or choose model=identity."
            )
        return {**spec, "num_states": extractor.num_states}

    def forward(self, audio: Padded) -> Padded:
        """Map states [B, T, in_channels * num_states * D] to their weighted sum [B, T, in_channels * D]."""
        states = audio.values.reshape(*audio.values.shape[:2], *self.shape)
        return audio.with_values(torch.einsum("btcsd,s->btcd", states, self.logits.softmax(0)).flatten(2))
