"""The convolutional encoder of BYOL-A and BYOL-S, with published weights or with none.

Source: Niizumi et al., "BYOL for Audio: Self-Supervised Learning for General-Purpose Audio Representation" (2021);
Scheidwasser-Clow et al., "SERAB: A multi-lingual benchmark for speech emotion recognition" (2022).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ser.archive import read_archive
from ser.batch import Padded
from ser.embeddings.base import SERAB, Embedder
from ser.errors import CheckpointError, ConfigError, did_you_mean

Statistics = Literal["corpus", "published"] | Sequence[float]

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
"""Mean and deviation of the log-mels of nine corpora, as published with SERAB."""

_CHANNELS = 64
_STAGES = (0, 4, 8)  # where the convolutions stand in `features`; the published state_dicts count so


class AudioNTT(nn.Module):
    """Three convolutions, each of which halves time and frequency, and two layers that see one step each.

    Where a sequence has an odd number of steps, pooling leaves out the last one: T steps become T // 8.

    Args:
        width: D, of an output step.
        num_mel_bins: F, a multiple of 8.
        dropout: between the two layers, 0..1.
    """

    subsampling = 8

    def __init__(self, width: int, *, num_mel_bins: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        self.out_dim = width
        widths = (1, _CHANNELS, _CHANNELS)
        self.features = nn.Sequential(*(layer for before in widths for layer in _stage(before)))
        self.fc = nn.Sequential(
            nn.Linear(_CHANNELS * num_mel_bins // self.subsampling, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
        )

    def forward(self, audio: Padded) -> Padded:
        """[B, T, F] -> [B, T // 8, D]; every sequence has 8 steps or more."""
        image = audio.zeroed().values.transpose(1, 2).unsqueeze(1)  # [B, 1, F, T]
        # Channels last in memory, which pooling and convolutions keep: three times as fast on a CPU.
        image = image.contiguous(memory_format=torch.channels_last)
        lengths = audio.lengths
        for start in _STAGES:
            # pooled before the ReLU, which gives the same and leaves it a quarter of the work
            image = functional.relu(functional.max_pool2d(self._convolve(start, image), 2))
            lengths = lengths // 2
            steps = torch.arange(image.shape[-1], device=image.device)
            image = image * (steps < lengths[:, None])[:, None, None]  # zeros beyond an end, as if alone
        return Padded(self.fc(image.permute(0, 3, 2, 1).flatten(2)), lengths)

    def _convolve(self, start: int, image: Tensor) -> Tensor:
        """Convolution and batch norm; in evaluation one convolution does both, the same to 2e-7."""
        layers: Any = self.features
        convolution, norm = layers[start], layers[start + 1]
        if self.training:
            normalized: Tensor = norm(convolution(image))
            return normalized
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = convolution.weight * scale[:, None, None, None]
        bias = (convolution.bias - norm.running_mean) * scale + norm.bias
        return functional.conv2d(image, weight, bias, padding=1)


def _stage(in_channels: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(in_channels, _CHANNELS, 3, padding=1),
        nn.BatchNorm2d(_CHANNELS),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


def mean_plus_max(steps: Padded) -> Tensor:
    """The mean over time plus the maximum over time: [B, T, D] -> [B, D]."""
    real = steps.mask.unsqueeze(-1)
    mean = steps.values.where(real, 0).sum(1) / steps.lengths[:, None]
    return mean + steps.values.where(real, -torch.inf).amax(1)


class _AudioNTTEmbedder(Embedder):
    """Log-mels on the scale of their corpus, AudioNTT, mean plus maximum over time.

    Args:
        network: in evaluation mode from now on.
        statistics: `corpus` takes the mean and the deviation of the log-mels from the training split of each
            corpus, `published` those that came with SERAB; or two numbers of your own.
    """

    needs_statistics = True
    min_steps = AudioNTT.subsampling
    max_frames = 2_000  # what a convolution gives, 16 KB a frame, then stays near the processor

    mean: Tensor
    std: Tensor

    def __init__(self, network: AudioNTT, statistics: Statistics) -> None:
        super().__init__(SERAB, network.out_dim)
        self.network = network
        self.statistics = statistics
        self.needs_statistics = isinstance(statistics, str)
        mean, std = (torch.nan, torch.nan) if isinstance(statistics, str) else _given(statistics)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.eval()

    def fit(self, train: Iterable[Tensor], *, corpus: str | None = None) -> None:
        """Take the mean and the deviation of log-mels from the training split, or the published ones.

        Raises:
            ConfigError: statistics of this corpus were never published.
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
        """[B, T, 64] -> [B, D]."""
        if self.mean.isnan():
            raise RuntimeError("statistics are not known yet: call fit() first")
        scores = features.with_values((features.values - self.mean) / self.std)
        return mean_plus_max(self.network(scores))


class BYOLS(_AudioNTTEmbedder):
    """The encoder of BYOL-S or BYOL-A, from a published state_dict.

    Args:
        weights: file of the state_dict; the width, 512, 1024 or 2048 in those published, is read from it.
        statistics: of log-mels, see above: corpus, published, or a mean and a deviation.

    Raises:
        CheckpointError: there is no such file, or it holds other weights.
        ConfigError: the statistics are not two numbers, the second above 0.
    """

    def __init__(self, weights: str, *, statistics: Statistics = "corpus") -> None:
        super().__init__(load_audio_ntt(weights), statistics)


class RandomAudioNTT(_AudioNTTEmbedder):
    """The same encoder untrained: what its architecture alone is worth.

    Args:
        width: D.
        seed: of the weights.
        statistics: of log-mels, see above: corpus, published, or a mean and a deviation.
    """

    def __init__(self, *, width: int = 512, seed: int = 0, statistics: Statistics = "corpus") -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = AudioNTT(width)
        super().__init__(network, statistics)


def corpus_statistics(train: Iterable[Tensor]) -> tuple[float, float]:
    """The mean of the utterances' means, and the mean of their standard deviations, each over all bands.

    Args:
        train: log-mels [T, F] of each utterance.

    Raises:
        ConfigError: there is no utterance, or all are silent.
    """
    moments = torch.tensor([[u.double().mean(), u.double().std(correction=0)] for u in train])
    if not len(moments) or not moments[:, 1].any():
        raise ConfigError(
            "extractor.statistics=corpus: the training split holds no sound to take them from. "
            "Give more training utterances, or two numbers: extractor.statistics=[-6.0,4.5]."
        )
    mean, std = moments.mean(0).tolist()
    return mean, std


def load_audio_ntt(path: str | Path) -> AudioNTT:
    """The network that a file of weights belongs to.

    Raises:
        CheckpointError: there is no such file, it is damaged or holds other weights.
    """
    path = Path(path)
    weights = _read(path)
    first = weights.get("fc.0.weight")
    if first is None or first.ndim != 2:
        raise _misfit(path, [f"it has no fc.0.weight [width, 512] among its {len(weights)} tensors"])
    network = AudioNTT(len(first))
    own = network.state_dict()
    problems = [f"{name} is missing" for name in own if name not in weights]
    problems += [f"{name} is not part of it" for name in weights if name not in own]
    problems += [
        f"{name} is {[*weights[name].shape]}, expected {[*tensor.shape]}"
        for name, tensor in own.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if problems:
        raise _misfit(path, problems)
    network.load_state_dict(weights)
    return network


def _read(path: Path) -> dict[str, Tensor]:
    weights: Any = read_archive(
        path, remedy="Give a published state_dict of AudioNTT with extractor.weights=FILE.pth"
    )
    if not isinstance(weights, Mapping) or not all(isinstance(part, Tensor) for part in weights.values()):
        raise CheckpointError(
            f"{path}: is no state_dict, that is names and tensors. Save the encoder's state_dict alone; "
            "for a checkpoint that train.py wrote, use extractor=checkpoint."
        )
    return dict(weights)


def _misfit(path: Path, problems: Sequence[str]) -> CheckpointError:
    listed = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
    return CheckpointError(
        f"{path}: are no weights of AudioNTT: {listed}. Give a state_dict of its `features` and `fc`."
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
