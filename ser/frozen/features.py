"""A frozen encoder as an extractor of features: hidden states of waveforms, which are computed once and cached."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from ser.batch import Padded
from ser.errors import ConfigError, SerError, setting
from ser.features.extractors import Extractor
from ser.features.framing import Framing
from ser.frozen.weights import encoder_of, kept_weights, read_weights
from ser.pretrained.encoder import PretrainedEncoder
from ser.pretrained.folder import read_architecture, with_utterance_statistics
from ser.pretrained.log_mel import pool_steps

Layer = int | Literal["last", "all"]
Pool = Literal["none", "mean_std", "mean_max"]


class PretrainedFeatures(Extractor):
    """Hidden states of a frozen encoder, one step of features for each of its steps, or statistics over them.

    Args:
        path: Folder of the encoder, see `ser.pretrained.PretrainedEncoder`. None in a checkpoint, which holds the
            weights.
        layer: Hidden state: output of the encoder (`last`), one of them (0 is the input of the first transformer
            layer, 1 its output, and so on), or `all` of L, side by side.
        pool: `none` for every step, or one step for an utterance: mean and deviation over time of each hidden state
            (`mean_std`), or the mean plus the maximum (`mean_max`), with which AudioNTT is pre-trained.
        precision: Type in which steps are stored; what `pool` computes is always float32.
        statistics: Mean and deviation by which AudioNTT and CvT normalise log-mels: those of their folder (`own`), or
            of each utterance, which published files need.
        sample_rate: Sample rate in Hz; None for that of the encoder, which is the only one that it takes.
        architecture: Settings of the encoder, which a checkpoint stores; None reads the folder's.
        weights: Digest of the weights, which a checkpoint stores; None reads the folder's.

    Raises:
        ConfigError: There is no such layer, or the encoder wants another sample rate.
        CheckpointError: The folder does not hold such an encoder.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        layer: Layer = "last",
        pool: Pool = "none",
        precision: Literal["float16", "float32"] = "float16",
        statistics: Literal["own", "utterance"] = "own",
        sample_rate: int | None = None,
        architecture: Mapping[str, Any] | None = None,
        weights: str | None = None,
    ) -> None:
        if path is None and (architecture is None or weights is None):
            raise ConfigError(
                "features.path=null: names no folder. Give one, such as features.path=WHISPER_FOLDER."
            )
        with _named_features():
            known = dict(architecture or read_architecture(str(path)))
            if statistics == "utterance":
                known = with_utterance_statistics(known, "features.statistics")
            outline = _outline(json.dumps(known))
        if outline.needs_fit:
            raise ConfigError(
                f"{setting('features.path', path)}: published weights have no mean and deviation of log-mels. "
                "Set features.statistics=utterance, or give an encoder folder that has them: features.path=FOLDER."
            )
        rate = int(known["extractor"]["sampling_rate"])
        if sample_rate not in (None, rate):
            raise ConfigError(
                f"features.sample_rate={sample_rate}: this encoder takes {rate} Hz, to which recordings are resampled. "
                f"Set features.sample_rate={rate}, or leave it out."
            )
        last = outline.num_states - 1
        if isinstance(layer, int) and not 0 <= layer <= last:
            raise ConfigError(
                f"features.layer={layer}: this encoder has the hidden states 0 to {last}. "
                "Give one of them, last or all."
            )
        shift, length = outline.subsampling, outline.receptive_field
        framing = Framing(length, shift) if length else Framing(shift, shift, "causal_padded")
        num_states = outline.num_states if layer == "all" else 1
        width = num_states * outline.dim * (2 if pool == "mean_std" else 1)
        super().__init__(sample_rate=rate, feature_dim=width, framing=framing)
        self.num_states = num_states
        self.architecture = known
        self.layer = layer
        self.pool = POOLS.get(pool)
        self.pools_time = self.pool is not None
        self.stores_half = precision == "float16" and not self.pools_time
        self._path, self._weights = path, weights
        self.num_layers = layer if isinstance(layer, int) else None

    @property
    def weights(self) -> str:
        """Return the digest of the weights, which are read where they were not yet."""
        if self._weights is None:
            with _named_features():
                self._weights = read_weights(str(self._path), self.architecture, self.num_layers)
        return self._weights

    def portable(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Return a spec that needs no folder, but the weights that it names."""
        known = {"architecture": self.architecture, "weights": self.weights, "sample_rate": self.sample_rate}
        return {**spec, "path": None, **known}

    def frozen_weights(self) -> Mapping[str, Tensor]:
        """Return the weights that a portable spec names, by tensor."""
        return kept_weights(self.weights)

    @property
    def device(self) -> torch.device:
        """Return the GPU, if there is one.

        Utterances are encoded one by one: on a CPU, batches of 4 or 8 take as long for each, and equal recordings get
        equal features, by which leaks are found.
        """
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def num_frames(self, samples: Tensor) -> Tensor:
        """Compute T for waveforms with `samples` [B] samples."""
        steps = super().num_frames(samples)
        return torch.ones_like(steps) if self.pools_time else steps

    def extract(self, waveforms: Padded) -> Padded:
        """Compute hidden states [B, T, L * D], or their statistics [B, 1, L * 2 * D], of waveforms [B, samples, 1]."""
        device = waveforms.values.device
        with encoder_of(self.weights, self.architecture, self.num_layers, device) as encoder:
            states, lengths = encoder.hidden_states(waveforms.with_values(waveforms.values.float()))
            chosen = states if self.layer == "all" else states[-1:]
            if self.pool is not None:
                pooled = [self.pool(Padded(state, lengths)) for state in chosen]
                return Padded(torch.cat(pooled, -1)[:, None], torch.ones_like(lengths))
            return Padded(torch.cat(chosen, -1), lengths).zeroed()

    def extract_frames(self, block: Tensor) -> Tensor:
        """Refuse frames, which streams are made of."""
        raise NotImplementedError

    def check_streamable(self) -> None:
        """Refuse to be streamed: every step attends to the whole utterance."""
        raise ConfigError(
            "features=pretrained: each step of the encoder depends on the whole recording, which no stream knows. "
            "Train with features=log_mel."
        )

    def limit_band(self, frequency: float) -> None:
        """Return None, as an encoder takes one sample rate."""
        return

    def unit(self) -> str:
        """Return "hidden state"."""
        return "hidden state"


def mean_and_deviation(steps: Padded) -> Tensor:
    """Compute mean and standard deviation over time of steps [B, T, D]: [B, 2 * D].

    Sums are in float64 where the device has it, as their rounding would otherwise depend on padding.
    """
    values = steps.values if steps.values.device.type == "mps" else steps.values.double()
    real, count = steps.mask.unsqueeze(-1), steps.lengths[:, None]
    mean = values.where(real, 0).sum(1) / count
    squares = (values - mean[:, None]).square().where(real, 0).sum(1)
    return torch.cat([mean, (squares / count).sqrt()], -1).float()


POOLS: Mapping[str, Callable[[Padded], Tensor]] = MappingProxyType(
    {"mean_std": mean_and_deviation, "mean_max": partial(pool_steps, pooling="mean_max")}
)
"""Functions that make one step [B, D'] of the steps [B, T, D] of an utterance."""


class _Outline:
    """What is known of an encoder without its weights."""

    def __init__(self, encoder: PretrainedEncoder) -> None:
        self.dim = encoder.out_dim
        self.subsampling = encoder.subsampling
        self.num_states = encoder.num_states
        self.needs_fit = encoder.needs_fit
        self.receptive_field: int | None = getattr(encoder.network, "receptive_field", None)


@lru_cache(maxsize=16)
def _outline(architecture: str) -> _Outline:
    """Build an encoder on the `meta` device, without memory."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return _Outline(PretrainedEncoder(1, architecture=json.loads(architecture)))


@contextmanager
def _named_features() -> Iterator[None]:
    """Name settings of `features` in the messages about a folder."""
    try:
        yield
    except SerError as error:
        raise type(error)(re.sub(r"\bmodel(?=\.path\b|=pretrained\b)", "features", str(error))) from error
