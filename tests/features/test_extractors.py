"""Features against independent implementations, and the laws that every extractor keeps."""

import csv
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from ser.batch import Padded
from ser.config.instantiate import build
from ser.errors import ConfigError, DataError
from ser.features.extractors import CHALLENGE, MFCC, Extractor, LogMel, Waveform
from tests.conftest import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden" / "log_mel_26.npy"
KALDI: dict[str, Any] = {
    "window": "povey",
    "remove_mean": True,
    "preemphasis": 0.97,
    "preemphasis_of": "frame",
    "scale": 32768.0,
    "min_frequency": 20.0,
    "triangles": "mel",
    "floor": float(np.finfo(np.float32).eps),
}
LIBROSA: dict[str, Any] = {
    "align": "centered_padded",
    "mel_scale": "slaney",
    "filter_norm": "slaney",
    "log": "decibel",
    "top_db": 80.0,
}
PRESETS = sorted(
    path.stem
    for path in (REPOSITORY / "conf" / "features").glob("*.yaml")
    if "???" not in path.read_text()  # needs the folder of an encoder
)


def preset(name: str) -> Extractor:
    content = yaml.safe_load((REPOSITORY / "conf" / "features" / f"{name}.yaml").read_text())
    extractor: Extractor = build(content["features"], slot="features")
    return extractor


def padded(*waveforms: np.ndarray) -> Padded:
    return Padded.collate(
        [torch.from_numpy(np.asarray(waveform, dtype=np.float32))[:, None] for waveform in waveforms]
    )


def features(extractor: Extractor, waveform: np.ndarray) -> np.ndarray:
    found: np.ndarray = extractor(padded(waveform)).values[0].numpy()
    return found


def chirp_with_noise() -> np.ndarray:
    """A rising tone, noise from integer arithmetic, and a stretch of digital silence; 0.61 s at 16 kHz."""
    samples = np.arange(9_777)
    noise = (samples * samples * 7919 + samples * 104_729) % 65_537 / 65_537 - 0.5
    wave = 0.3 * np.sin(2e-5 * samples**2) + 0.02 * noise
    wave[4_000:5_500] = 0
    return wave


def speechlike(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=samples)).astype(np.float32)


def test_challenge_features_equal_the_golden_values() -> None:
    golden = np.load(GOLDEN)
    assert golden.min() == pytest.approx(np.log(np.finfo(float).eps))  # it holds digital silence
    assert golden.max() > 15  # and sound
    exact = Padded.collate([torch.from_numpy(chirp_with_noise())[:, None]])
    np.testing.assert_allclose(preset("challenge")(exact).values[0].numpy(), golden, atol=1e-4, rtol=0)
    # samples rounded to float32 move the quietest band of a chirp, and hardly any other
    difference = np.abs(features(preset("challenge"), chirp_with_noise()) - golden)
    assert difference.max() < 1e-2
    assert np.median(difference) < 1e-6


@pytest.mark.shared
@pytest.mark.parametrize("row", [0, 300, 700, 1100, 1439])
def test_challenge_features_equal_the_oracle_on_real_speech(row: int, shared: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    folder = shared / "data" / "ravdess"
    with (folder / "manifest.csv").open(newline="") as file:
        path = folder / list(csv.DictReader(file))[row]["path"]
    waveform, _ = soundfile.read(path, dtype="float64")
    expected = oracle(shared).logmel(waveform)
    np.testing.assert_allclose(features(preset("challenge"), waveform), expected, atol=1e-4, rtol=0)


def oracle(shared: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("oracle", shared / "tools" / "make_challenge.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_preset_is_what_the_generator_uses() -> None:
    content = yaml.safe_load((REPOSITORY / "conf" / "features" / "challenge.yaml").read_text())["features"]
    assert {
        name: value for name, value in content.items() if name not in ("_target_", "sample_rate")
    } == dict(CHALLENGE)


def test_filterbanks_equal_kaldis() -> None:
    kaldi = pytest.importorskip("kaldi_native_fbank")
    options = kaldi.FbankOptions()
    options.frame_opts.dither, options.mel_opts.num_bins = 0, 80
    expected = online(kaldi.OnlineFbank(options), speechlike(20_000))
    np.testing.assert_allclose(
        features(LogMel(num_mel_bins=80, **KALDI), speechlike(20_000)), expected, atol=1e-3
    )


def test_cepstra_equal_kaldis() -> None:
    kaldi = pytest.importorskip("kaldi_native_fbank")
    options = kaldi.MfccOptions()
    options.frame_opts.dither, options.mel_opts.num_bins, options.num_ceps = 0, 23, 13
    options.use_energy, options.cepstral_lifter = False, 22
    expected = online(kaldi.OnlineMfcc(options), speechlike(20_000))
    extractor = MFCC(num_mel_bins=23, num_coefficients=13, lifter=22.0, **KALDI)
    np.testing.assert_allclose(features(extractor, speechlike(20_000)), expected, atol=1e-3)


def online(computer: Any, waveform: np.ndarray) -> np.ndarray:
    computer.accept_waveform(16_000, (waveform * 32768).tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(index) for index in range(computer.num_frames_ready)])


@pytest.mark.filterwarnings("ignore")  # librosa's own
@pytest.mark.parametrize(
    ("sample_rate", "fft_length"),
    [(16_000, 512), (22_050, 1024)],  # of the latter, 25 ms are an odd number of samples
)
def test_log_mels_and_cepstra_equal_librosas(sample_rate: int, fft_length: int) -> None:
    librosa = pytest.importorskip("librosa")
    waveform = speechlike(20_000)
    common = {"y": waveform, "sr": sample_rate, "n_fft": fft_length, "n_mels": 64}
    common |= {"win_length": round(0.025 * sample_rate), "hop_length": round(0.01 * sample_rate)}
    expected = librosa.power_to_db(librosa.feature.melspectrogram(**common)).T
    ours = LIBROSA | {"sample_rate": sample_rate}
    np.testing.assert_allclose(features(LogMel(**ours), waveform), expected, atol=1e-3)
    expected = librosa.feature.mfcc(n_mfcc=40, **common).T
    np.testing.assert_allclose(features(MFCC(**ours), waveform), expected, atol=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_decibels_of_magnitudes_equal_librosas() -> None:
    librosa = pytest.importorskip("librosa")
    waveform = speechlike(20_000)
    common = {"y": waveform, "sr": 16_000, "n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 64}
    expected = librosa.amplitude_to_db(librosa.feature.melspectrogram(power=1, **common)).T
    np.testing.assert_allclose(features(LogMel(power=1, **LIBROSA), waveform), expected, atol=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_cepstra_equal_those_of_librosas_defaults() -> None:
    librosa = pytest.importorskip("librosa")
    extractor = MFCC(
        frame_length_ms=128.0, frame_shift_ms=32.0, num_mel_bins=128, num_coefficients=20, **LIBROSA
    )
    expected = librosa.feature.mfcc(y=speechlike(20_000), sr=16_000).T
    np.testing.assert_allclose(features(extractor, speechlike(20_000)), expected, atol=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_serabs_features_equal_a_spectrogram_by_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    waveform = speechlike(20_000)
    filters = librosa.filters.mel(sr=16_000, n_fft=1024, n_mels=64, fmin=60, fmax=7800, htk=True, norm=None)
    transformed = librosa.stft(waveform, n_fft=1024, win_length=400, hop_length=160, pad_mode="reflect")
    expected = np.log(filters @ np.abs(transformed) ** 2 + 1.19e-7).T
    np.testing.assert_allclose(features(preset("serab"), waveform), expected, atol=1e-4)


@pytest.mark.parametrize(
    "extractor",
    [*map(preset, PRESETS), LogMel(**KALDI), MFCC(**LIBROSA), Waveform(normalize="zscore")],
    ids=[*PRESETS, "kaldi", "librosa", "zscore"],
)
def test_an_utterance_has_the_same_features_alone_and_in_a_batch(extractor: Extractor) -> None:
    tone = np.sin(0.1 * np.arange(12_345))  # its upper bands are 100 dB below it
    waveforms = [speechlike(9_000), 1e-4 * speechlike(700), tone, speechlike(16_000), np.zeros(4_321)]
    batch = padded(*waveforms)
    heard = batch.values.masked_fill(~batch.mask.unsqueeze(-1), float("nan"))
    together = extractor(batch.with_values(heard))
    for index, waveform in enumerate(waveforms):
        alone = extractor(padded(waveform))
        steps = int(alone.lengths[0])
        assert int(together.lengths[index]) == steps
        torch.testing.assert_close(together.values[index, :steps], alone.values[0], atol=1e-5, rtol=1e-5)
        assert (together.values[index, steps:] == 0).all()


@pytest.mark.parametrize("name", PRESETS)
@given(samples=st.integers(1, 3_000))
def test_the_number_of_frames_is_known_in_advance(name: str, samples: int) -> None:
    extractor = preset(name)
    if samples < extractor.min_samples:
        with pytest.raises(
            DataError, match=rf"of {samples} samples: features need {extractor.min_samples} samples"
        ):
            extractor(padded(speechlike(samples)))
        return
    found = extractor(padded(speechlike(samples)))
    assert found.lengths.tolist() == extractor.num_frames(torch.tensor([samples])).tolist()
    assert found.values.shape == (1, int(found.lengths[0]), extractor.feature_dim)
    assert found.values.isfinite().all()


class LargeTensors(TorchDispatchMode):
    """Notes where each tensor of more than 4 MB lies that an operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().nbytes() > 1 << 22:
                self.places.add(tensor.untyped_storage().data_ptr())
        return result


@pytest.mark.parametrize("name", PRESETS)
def test_hours_of_audio_need_no_copy_of_the_samples(name: str) -> None:
    extractor, samples = preset(name), 80 * 16_000  # 5 MB
    waveforms = Padded(0.1 * torch.randn(1, samples, 1), torch.tensor([samples]))
    with LargeTensors() as large:
        found = extractor(waveforms)
    theirs = {tensor.untyped_storage().data_ptr() for tensor in (waveforms.values, found.values)}
    assert large.places <= theirs


@pytest.mark.parametrize("name", PRESETS)
def test_digital_silence_is_finite(name: str) -> None:
    assert np.isfinite(features(preset(name), np.zeros(5_000))).all()


@pytest.mark.parametrize("name", ["log_mel", "mfcc"])
def test_causal_features_do_not_change_as_more_is_heard(name: str) -> None:
    waveform, extractor = speechlike(8_000), preset(name)
    prefix = features(extractor, waveform[:5_000])
    np.testing.assert_allclose(features(extractor, waveform)[: len(prefix)], prefix, atol=1e-5)


@pytest.mark.parametrize("name", ["log_mel", "mfcc"])
def test_a_frame_can_be_computed_from_its_own_samples(name: str) -> None:
    waveform, extractor = speechlike(8_000), preset(name)
    whole = features(extractor, waveform)
    for index in (0, 1, 20, len(whole) - 1):
        own = waveform[160 * index : 160 * index + 400]
        np.testing.assert_allclose(features(extractor, own)[0], whole[index], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({"scale": 2.0}, np.log(4)),
        ({"scale": 2.0, "power": 1}, np.log(2)),
        ({"divide_by_fft_length": True}, -np.log(512)),
        ({"log": "decibel"}, 0.0),
    ],
)
def test_energies_are_of_the_amplitude_that_was_asked_for(settings: dict[str, Any], change: float) -> None:
    plain = features(LogMel(power=settings.get("power", 2)), speechlike(4_000))
    found = features(LogMel(**settings), speechlike(4_000))
    unit = 10 / np.log(10) if settings.get("log") == "decibel" else 1.0
    np.testing.assert_allclose(found, unit * (plain + change), atol=1e-4)


@pytest.mark.parametrize("normalize", ["none", "peak", "rms", "zscore", "minmax"])
def test_a_waveform_is_its_own_feature(normalize: Any) -> None:
    waveform = speechlike(500)
    found = features(Waveform(normalize=normalize), waveform)[:, 0]
    assert np.corrcoef(found, waveform)[0, 1] == pytest.approx(1)
    assert np.array_equal(found, waveform) == (normalize == "none")


@pytest.mark.gpu
@pytest.mark.parametrize("name", PRESETS)
def test_a_gpu_computes_the_same_features(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    batch = padded(speechlike(9_000), speechlike(700), speechlike(16_000))
    expected = preset(name)(batch)
    found = preset(name).cuda()(batch.to("cuda")).to("cpu")
    assert found.lengths.tolist() == expected.lengths.tolist()
    torch.testing.assert_close(found.values, expected.values, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"num_mel_bins": 128},
            r"num_mel_bins=128: 512 FFT points.*filter 0.*larger features.fft_length",
        ),
        (
            {"num_mel_bins": 128, "fft_length": 400},
            r"num_mel_bins=128: 400 FFT points.*filter 0.*larger features.fft_length",
        ),
        ({"fft_length": 256}, r"fft_length=256: a frame of 25\.0 ms has 400 samples at 16000 Hz"),
        ({"preemphasis": 97.0}, r"preemphasis=97\.0: expected 0 to 1\. Set features\.preemphasis=0\.97"),
        ({"frame_shift_ms": 0.0}, r"frame_shift_ms: 400 and 0 samples"),
        ({"floor": 0.0}, r"floor=0\.0: silence has no logarithm"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments: dict[str, Any], words: str) -> None:
    for extractor in (LogMel, MFCC):
        with pytest.raises(ConfigError, match=words):
            extractor(**arguments)


def test_without_a_detector_nothing_is_said_of_speech() -> None:
    features, speech = LogMel().with_speech(padded(speechlike(4_000)))
    assert speech is None
    assert torch.equal(features.values, LogMel()(padded(speechlike(4_000))).values)
