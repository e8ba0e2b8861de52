"""Embeddings of BYOL-A and BYOL-S: AudioNTT or CvT with published, one's own or random weights.

Source: Niizumi et al., "BYOL for Audio: Self-Supervised Learning for General-Purpose Audio Representation" (2021);
Scheidwasser-Clow et al., "SERAB: A multi-lingual benchmark for speech emotion recognition" (2022).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from ser.archive import read_archive
from ser.batch import Padded
from ser.embeddings.base import SERAB, Embedder
from ser.errors import CheckpointError, ConfigError, did_you_mean, setting
from ser.pretrained.audio_ntt import AudioNTT
from ser.pretrained.log_mel import LogMelNetwork, utterance_moments
from ser.pretrained.networks import build_for_weights, find_misfit, read_encoder

Statistics = Literal["corpus", "published", "stored", "clip"] | Sequence[float]

PUBLISHED: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "aesdd": (-4.1785407066, 4.3656463623),
        "cafe": (-7.9731621742, 5.1123399734),
        "crema_d": (-4.9937281609, 3.1366026402),
        "emodb": (-2.6927330494, 4.1030712128),
        "emovo": (-6.7016167641, 4.6194076538),
        "iemocap": (-5.7522306442, 3.4032545090),
        "ravdess": (-10.3203477859, 4.9995517731),
        "savee": (-7.3620586395, 4.7177248001),
        "shemo": (-3.5331912041, 4.0278716087),
    }
)
"""Mean and standard deviation of the log-mels of nine corpora, as published with SERAB."""


class _LogMelEmbedder(Embedder):
    """Log-mels normalised by their corpus, a network, then its pooling over time.

    Args:
        network: Network, which is set to evaluation mode.
        statistics: Mean and deviation of the log-mels: `corpus` computes them from the training split of each corpus,
            `published` takes those of SERAB, `clip` those of each recording; or two numbers.
        features: Spec of the extractor of its log-mels.
    """

    max_frames = 2_000  # the output of a convolution, 16 KB per frame, then fits into the processor's cache

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: LogMelNetwork, statistics: Statistics, features: Mapping[str, Any] = SERAB
    ) -> None:
        super().__init__(features, network.out_dim, options={"pooling": network.pooling, "of": statistics})
        self.network = network
        self.min_steps = network.min_steps
        self.statistics = statistics
        self.needs_statistics = statistics in ("corpus", "published")
        mean, std = (torch.nan, torch.nan) if isinstance(statistics, str) else _given(statistics)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.eval()

    def fit(self, train: Iterable[Tensor], *, corpus: str | None = None) -> None:
        """Compute the mean and the deviation of log-mels from the training split, or take the published ones.

        Raises:
            ConfigError: There are no published statistics of this corpus.
        """
        if self.statistics == "corpus":
            mean, std = corpus_statistics(train)
        elif self.statistics == "published":
            mean, std = _published(corpus)
        else:
            return
        self.mean.fill_(mean)
        self.std.fill_(std)

    def encode(self, features: Padded) -> Tensor:
        """Embed log-mels [B, T, 64] to [B, D]."""
        if self.statistics == "clip":
            mean, std = utterance_moments(features)
        elif self.mean.isnan():
            raise RuntimeError("statistics are not known yet: call fit() first")
        else:
            mean, std = self.mean, self.std
        return self.network.embed(features.with_values((features.values - mean) / std))


class BYOLS(_LogMelEmbedder):
    """Encoder of BYOL-S or BYOL-A with published or one's own weights.

    Args:
        weights: File of the state_dict of AudioNTT or CvT, whose size is read from it; or an encoder folder.
        statistics: Statistics of log-mels: `corpus`, `published`, `stored` in the encoder folder, `clip` for those of
            each recording, or a mean and a deviation.

    Raises:
        CheckpointError: The file or folder does not exist, or holds other weights.
        ConfigError: The statistics are not two numbers, the second above 0; or none are stored.
    """

    def __init__(self, weights: str, *, statistics: Statistics = "corpus") -> None:
        path = Path(weights).expanduser()
        if path.is_dir():
            encoder = read_encoder(path, "extractor.weights")
            given = (encoder.mean, encoder.std) if statistics == "stored" else statistics
            super().__init__(encoder.network, given, encoder.features)
            return
        if statistics == "stored":
            raise ConfigError(
                f"{setting('extractor.weights', weights)}: holds no statistics of log-mels. Give an encoder folder, "
                "or other statistics, such as extractor.statistics=corpus."
            )
        super().__init__(load_network(path), statistics)


class RandomAudioNTT(_LogMelEmbedder):
    """The same encoder with random weights, as a baseline for the architecture.

    Args:
        width: Size of an embedding, D.
        seed: Seed of the weights.
        statistics: Statistics of log-mels: `corpus`, `published`, or a mean and a deviation.
    """

    def __init__(self, *, width: int = 512, seed: int = 0, statistics: Statistics = "corpus") -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = AudioNTT(width)
        super().__init__(network, statistics)


def corpus_statistics(train: Iterable[Tensor]) -> tuple[float, float]:
    """Compute the mean of the utterances' means, and the mean of their standard deviations, over all bands.

    Args:
        train: Log-mels [T, F] of each utterance.

    Raises:
        ConfigError: There is no utterance, or all are silent.
    """
    moments = torch.tensor([[u.double().mean(), u.double().std(correction=0)] for u in train])
    if not len(moments) or not moments[:, 1].any():
        raise ConfigError(
            "extractor.statistics=corpus: the training split holds no sound to compute them from. "
            "Give more training utterances, or two numbers: extractor.statistics=[-6.0,4.5]."
        )
    mean, std = moments.mean(0).tolist()
    return mean, std


def load_network(path: str | Path) -> LogMelNetwork:
    """Load the network from a file of weights.

    Raises:
        CheckpointError: The file does not exist, is damaged, or holds other weights.
    """
    path = Path(path)
    weights = _read(path)
    network = build_for_weights(weights)
    if network is None:
        raise _misfit(path, f"it has no fc.0.weight [width, 512] among its {len(weights)} tensors")
    if misfit := find_misfit(network, weights):
        raise _misfit(path, misfit)
    network.load_state_dict(weights)
    return network


def _read(path: Path) -> dict[str, Tensor]:
    weights: Any = read_archive(
        path, remedy="Give a published state_dict of AudioNTT with extractor.weights=FILE.pth"
    )
    if not isinstance(weights, Mapping) or not all(isinstance(part, Tensor) for part in weights.values()):
        raise CheckpointError(
            f"{path}: is not a state_dict, which maps names to tensors. Save the encoder's state_dict alone; "
            "for a checkpoint of ser, use extractor=checkpoint."
        )
    return dict(weights)


def _misfit(path: Path, problems: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: are not weights of AudioNTT: {problems}. Give a state_dict of its `features` and `fc`."
    )


def _given(statistics: Sequence[float]) -> tuple[float, float]:
    if len(statistics) != 2 or not statistics[1] > 0:
        raise ConfigError(
            f"extractor.statistics={[*statistics]}: expected a mean and a deviation above 0, such as [-6.0,4.5], "
            "or corpus, or published."
        )
    return statistics[0], statistics[1]


def _published(corpus: str | None) -> tuple[float, float]:
    if corpus is None or corpus not in PUBLISHED:
        raise ConfigError(
            f"extractor.statistics=published: none were published for '{corpus}'. "
            f"{did_you_mean(str(corpus), PUBLISHED)} Or use extractor.statistics=corpus."
        )
    return PUBLISHED[corpus]
