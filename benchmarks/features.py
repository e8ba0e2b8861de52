"""Compare the speed of our features with kaldi-native-fbank on one thread, and measure memory for a long recording.

Kaldi is handed a list of floats, which it reads fastest, and its frames are not copied out; ours begin and end as
tensors. --threads is not used.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import yaml
from torch import Tensor

from benchmarks.measure import (
    ROOT,
    Goal,
    Options,
    Ratio,
    Result,
    interleave,
    main,
    paired_ratio,
    run_child,
    spread,
    timed,
)
from ser.batch import Padded
from ser.config.instantiate import build
from ser.features.extractors import Extractor, LogMel

CLIPS = {"40 of 3 s": [3] * 40, "2 of 60 s": [60] * 2}
"""Seconds of each waveform, by name of the load."""

KALDI: Mapping[str, Any] = {
    "window": "povey",
    "remove_mean": True,
    "preemphasis": 0.97,
    "preemphasis_of": "frame",
    "scale": 32768.0,
    "num_mel_bins": 80,
    "min_frequency": 20.0,
    "triangles": "mel",
    "floor": torch.finfo(torch.float32).eps,
}
"""Settings of LogMel for Kaldi's filterbanks, without dither."""

_PRESETS = ("log_mel", "mfcc", "serab", "challenge")
_OURS, _RIVAL = "80 log-mels, ser", "80 log-mels, kaldi-native-fbank"
_RATE = 16_000
_TOLERANCE = 2e-3
_MIB = 1 << 20
_LONG = """
import torch
from ser.batch import Padded
from ser.features.extractors import LogMel
torch.set_num_threads(1)
"""


def features(options: Options) -> Result:
    """Measure the real-time factor for each load; the headline is the load with the lower ratio."""
    torch.set_num_threads(1)
    rows: list[list[str]] = []
    ratios: list[Ratio] = []
    for name, seconds in CLIPS.items():
        clips = waveforms(seconds[:1] if options.quick else seconds)
        times = interleave(contestants(clips), options.repetitions)
        audio = sum(len(clip) for clip in clips) / _RATE
        rows += [[name, maker, f"{audio / spread(taken).median:.0f}"] for maker, taken in times.items()]
        if _RIVAL in times:
            ratios.append(paired_ratio(times[_RIVAL], times[_OURS]))
    worse = min(ratios, key=lambda ratio: ratio.median, default=None)
    goals = [Goal("memory above samples and features, MiB", memory(options.quick), "<=", 100)]
    if worse is not None:
        goals.append(Goal("log-mels against kaldi-native-fbank, speed", worse.median, ">=", 0.8))
    return Result(
        name="features",
        headline="ser / kaldi-native-fbank, speed of Kaldi's 80 log-mels",
        ratio=worse,
        columns=["waveforms", "features", "x real time"],
        rows=rows,
        goals=goals,
        notes=[
            *(
                [f"largest difference of log-mels: {difference():.1e}"]
                if ratios
                else ["Kaldi: not installed"]
            ),
            "memory is measured on an hour of 16 kHz and 64 log-mels",
        ],
    )


def waveforms(seconds: Sequence[int]) -> list[Tensor]:
    """Generate noise, [samples] each."""
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(length * _RATE, generator=generator) for length in seconds]


def contestants(clips: Sequence[Tensor]) -> dict[str, Callable[[], float]]:
    """Return functions that measure the seconds for some waveforms, by name: ours, Kaldi, and our presets."""
    found: dict[str, Callable[[], float]] = {_OURS: partial(seconds_of_ours, LogMel(**KALDI), clips)}
    if importlib.util.find_spec("kaldi_native_fbank") is not None:
        found[_RIVAL] = partial(seconds_of_kaldi, [scaled(clip) for clip in clips])
    for name in _PRESETS:
        found[f"features={name}"] = partial(seconds_of_ours, preset(name), clips)
    return found


def preset(name: str) -> Extractor:
    """Build an extractor from conf/features."""
    content = yaml.safe_load((ROOT / "conf" / "features" / f"{name}.yaml").read_text())
    extractor: Extractor = build(content["features"], slot="features")
    return extractor


@torch.inference_mode()
def seconds_of_ours(extractor: Extractor, clips: Sequence[Tensor]) -> float:
    """Measure the seconds for all waveforms in sequence."""
    return sum(timed(partial(_extract, extractor, clip)) for clip in clips)


def seconds_of_kaldi(clips: Sequence[list[float]]) -> float:
    """Measure the seconds for all waveforms in sequence."""
    return sum(timed(partial(fbank, clip)) for clip in clips)


def _extract(extractor: Extractor, clip: Tensor) -> Padded:
    features: Padded = extractor(single(clip))
    return features


def fbank(clip: list[float]) -> Any:
    """Run Kaldi's feature computer on a waveform."""
    import kaldi_native_fbank  # optional

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither, options.mel_opts.num_bins = 0, KALDI["num_mel_bins"]
    computer = kaldi_native_fbank.OnlineFbank(options)
    computer.accept_waveform(_RATE, clip)
    computer.input_finished()
    return computer


def difference() -> float:
    """Compute the largest difference between our log-mels and Kaldi's.

    Raises:
        RuntimeError: They are not the same features.
    """
    (clip,) = waveforms([3])
    computer = fbank(scaled(clip))
    theirs = torch.stack([torch.from_numpy(computer.get_frame(i)) for i in range(computer.num_frames_ready)])
    largest = float((LogMel(**KALDI)(single(clip)).values[0] - theirs).abs().max())
    if largest > _TOLERANCE:
        raise RuntimeError(f"log-mels differ by {largest}, more than {_TOLERANCE}")
    return largest


def single(clip: Tensor) -> Padded:
    """Make a batch of one waveform."""
    return Padded(clip[None, :, None], torch.tensor([len(clip)]))


def scaled(clip: Tensor) -> list[float]:
    """Scale samples to those of 16-bit integers, as Kaldi expects."""
    values: list[float] = (clip * 32768).tolist()
    return values


def memory(quick: bool) -> float:
    """Measure the peak MiB for an hour of audio, above imports, samples and the features themselves."""
    samples = _RATE * (60 if quick else 3600)
    waveform = f"Padded(torch.full((1, {samples}, 1), 0.1), torch.tensor([{samples}]))"
    peak = run_child(_LONG, f"LogMel()({waveform}) and None").peak_mib
    extractor = LogMel()
    frames = int(extractor.num_frames(torch.tensor(samples)))
    return peak - 4 * (samples + frames * extractor.feature_dim) / _MIB


if __name__ == "__main__":
    main(features)
