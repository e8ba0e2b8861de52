"""Networks of log-mels that read waveforms: AudioNTT and CvT as encoders to fine-tune."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ser.batch import Padded
from ser.config.instantiate import build
from ser.features.extractors import LogMel
from ser.hugging_face.layers import Mask, RepeatShort
from ser.precision import KeepsPrecision, in_float32
from ser.pretrained.log_mel import LogMelNetwork, utterance_moments

MelStatistics = Literal["own", "utterance"]

_SMALLEST_STD = 1e-5  # log-mels of digital silence alone have no deviation


class NormalizedLogMels(KeepsPrecision):
    """Compute log-mels of waveforms, minus a mean and divided by a deviation.

    Args:
        features: Spec of the extractor of the log-mels.
        mean: Mean of the log-mels; None if `fit` computes both.
        std: Deviation of the log-mels; None likewise.
        statistics: Whether these are used (`own`), or mean and deviation of each utterance.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, features: Mapping[str, Any], mean: float | None, std: float | None, statistics: MelStatistics
    ) -> None:
        super().__init__()
        with torch.device("cpu"):  # not on `meta`, where a checkpoint's model is built first
            self.extractor: LogMel = build(features, slot="features").to_float32()
        self.statistics = statistics
        if statistics == "utterance":
            mean, std = 0.0, 1.0  # unused, but every weight of a checkpoint must be finite
        self.needs_fit = mean is None or std is None
        self.register_buffer("mean", torch.tensor(torch.nan if mean is None else mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(torch.nan if std is None else std, dtype=torch.float32))

    def count_samples(self, num_frames: int) -> int:
        """Return the number of samples that have so many frames at least."""
        framing = self.extractor.framing
        samples = torch.arange(1, framing.length + num_frames * framing.shift, device="cpu")
        too_few = int((self.extractor.num_frames(samples) < num_frames).sum())
        return max(self.extractor.min_samples, too_few + 1)

    def fit(self, batches: Iterable[Padded]) -> None:
        """Compute the mean of the utterances' means, and of their deviations, as SERAB does.

        Args:
            batches: Waveforms [B, samples, 1] of the training split.
        """
        sums, count = torch.zeros(2, dtype=torch.float64), 0
        shortest = self.extractor.min_samples
        for batch in batches:
            mels = self.extractor(RepeatShort(shortest)(batch))
            for values, length in zip(mels.values, mels.lengths.tolist(), strict=True):
                frames = values[:length].double()
                sums += torch.stack([frames.mean(), frames.std(correction=0)])
                count += 1
        mean, std = (sums / count).tolist()
        self.mean.fill_(mean)
        self.std.fill_(max(std, _SMALLEST_STD))

    def forward(self, audio: Padded) -> Padded:
        """Map waveforms [B, samples, 1] to [B, T, F] float32; padding is 0."""
        with in_float32(audio.values.device):
            mels: Padded = self.extractor(audio.with_values(audio.values.float()))
            own = (self.mean, self.std)
            mean, std = utterance_moments(mels) if self.statistics == "utterance" else own
            return mels.with_values((mels.values - mean) / std).zeroed()


class LogMelInput(nn.Module):
    """Network of log-mels that reads waveforms; its only hidden state is its output.

    Args:
        model: Network of normalised log-mels.
        features: Spec of the extractor of its log-mels.
        mean: Mean of the log-mels; None for that of the training split.
        std: Deviation of the log-mels; None likewise.
        statistics: See `NormalizedLogMels`.
    """

    def __init__(
        self,
        model: LogMelNetwork,
        features: Mapping[str, Any],
        *,
        mean: float | None,
        std: float | None,
        statistics: MelStatistics = "own",
    ) -> None:
        super().__init__()
        self.model = model
        self.mels = NormalizedLogMels(features, mean, std, statistics)
        self.out_dim = model.out_dim
        self.subsampling = model.subsampling * self.mels.extractor.framing.shift
        self.save_memory = False
        self._repeat_short = RepeatShort(self.mels.count_samples(model.min_steps))

    @property
    def convolutions(self) -> tuple[nn.Module, ...]:
        """Return the parts that `freeze=features` freezes."""
        return self.model.convolutions

    @property
    def before_layers(self) -> tuple[nn.Module, ...]:
        """Return the parts between convolutions and layers: none."""
        return ()

    @property
    def layers(self) -> nn.ModuleList:
        """Return the parts that are frozen by number."""
        return nn.ModuleList(self.model.stages)

    def forward(
        self, audio: Padded, *, norm_last: bool, mask: Mask | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Compute the steps [B, T, D] of waveforms [B, samples, 1], and their lengths [B]."""
        dtype = audio.values.dtype
        mels = self.mels(self._repeat_short(audio))
        if mask is not None:
            mels = mask(mels, None)
        steps = self.model(mels.with_values(mels.values.to(dtype)))
        return [steps.values], steps.lengths
