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
from hypothesis import given, settings
from hypothesis import strategies as st

from ser.batch import Padded
from ser.build import build
from ser.errors import ConfigError, DataError
from ser.features import frames, mel
from ser.features.extract import CHALLENGE, MFCC, Extractor, LogMel, Waveform
from tests.conftest import REPOSITORY

GOLDEN = Path(__file__).parent / "golden" / "log_mel_26.npy"
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
    "fft_length": 512,
    "mel_scale": "slaney",
    "filter_norm": "slaney",
    "log": "decibel",
    "top_db": 80.0,
}
PRESETS = sorted(path.stem for path in (REPOSITORY / "conf" / "features").glob("*.yaml"))


def preset(name: str) -> Extractor:
    content = yaml.safe_load((REPOSITORY / "conf" / "features" / f"{name}.yaml").read_text())
    extractor: Extractor = build(content["features"])
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
    return wave.astype(np.float32)


def speechlike(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=samples)).astype(np.float32)


def test_challenge_features_equal_the_golden_values() -> None:
    golden = np.load(GOLDEN)
    assert golden.min() == pytest.approx(np.log(np.finfo(float).eps))  # it holds digital silence
    # The golden values are of float64 samples: rounding those to float32 moves the quietest band most.
    np.testing.assert_allclose(features(preset("challenge"), chirp_with_noise()), golden, atol=1e-2)
    assert np.median(np.abs(features(preset("challenge"), chirp_with_noise()) - golden)) < 1e-6


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
        features(LogMel(num_mel_bins=80, **KALDI), speechlike(20_000)), expected, atol=2e-3
    )


def test_cepstra_equal_kaldis() -> None:
    kaldi = pytest.importorskip("kaldi_native_fbank")
    options = kaldi.MfccOptions()
    options.frame_opts.dither, options.mel_opts.num_bins, options.num_ceps = 0, 23, 13
    options.use_energy, options.cepstral_lifter = False, 22
    expected = online(kaldi.OnlineMfcc(options), speechlike(20_000))
    extractor = MFCC(num_mel_bins=23, num_coefficients=13, lifter=22.0, **KALDI)
    np.testing.assert_allclose(features(extractor, speechlike(20_000)), expected, atol=5e-3)


def online(computer: Any, waveform: np.ndarray) -> np.ndarray:
    computer.accept_waveform(16_000, (waveform * 32768).tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(index) for index in range(computer.num_frames_ready)])


@pytest.mark.filterwarnings("ignore")  # librosa's own
def test_log_mels_and_cepstra_equal_librosas() -> None:
    librosa = pytest.importorskip("librosa")
    waveform = speechlike(20_000)
    common = {"y": waveform, "sr": 16_000, "n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 64}
    expected = librosa.power_to_db(librosa.feature.melspectrogram(**common)).T
    np.testing.assert_allclose(features(LogMel(**LIBROSA), waveform), expected, atol=1e-3)
    expected = librosa.feature.mfcc(n_mfcc=40, **common).T
    np.testing.assert_allclose(features(MFCC(**LIBROSA), waveform), expected, atol=2e-3)


@pytest.mark.filterwarnings("ignore")
def test_serabs_features_equal_a_spectrogram_by_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    waveform = speechlike(20_000)
    filters = librosa.filters.mel(sr=16_000, n_fft=1024, n_mels=64, fmin=60, fmax=7800, htk=True, norm=None)
    transformed = librosa.stft(waveform, n_fft=1024, win_length=400, hop_length=160, pad_mode="reflect")
    expected = np.log(filters @ np.abs(transformed) ** 2 + 1.19e-7).T
    np.testing.assert_allclose(features(preset("serab"), waveform), expected, atol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_an_utterance_has_the_same_features_alone_and_in_a_batch(name: str) -> None:
    extractor = preset(name)
    waveforms = [speechlike(samples, seed=samples) for samples in (9_000, 700, 4_321, 16_000)]
    batch = padded(*waveforms)
    loud = Padded(
        batch.values + 7 * ~batch.mask.unsqueeze(-1), batch.lengths
    )  # padding that must not be heard
    together = extractor(loud)
    for index, waveform in enumerate(waveforms):
        alone = extractor(padded(waveform))
        steps = int(alone.lengths[0])
        assert int(together.lengths[index]) == steps
        torch.testing.assert_close(together.values[index, :steps], alone.values[0], atol=1e-5, rtol=1e-5)
        assert (together.values[index, steps:] == 0).all()


@pytest.mark.parametrize("name", PRESETS)
@given(samples=st.integers(1, 3_000))
@settings(deadline=None, max_examples=40)
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


def test_long_waveforms_are_computed_block_by_block_to_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waveform = speechlike(50_000)
    whole = features(preset("log_mel"), waveform)
    monkeypatch.setattr(frames, "_FRAMES_AT_A_TIME", 7)
    np.testing.assert_allclose(features(preset("log_mel"), waveform), whole, atol=1e-5)


@pytest.mark.parametrize("name", PRESETS)
def test_digital_silence_is_finite(name: str) -> None:
    assert np.isfinite(features(preset(name), np.zeros(5_000))).all()


@pytest.mark.parametrize("name", ["log_mel", "mfcc"])
def test_causal_features_do_not_change_as_more_is_heard(name: str) -> None:
    waveform, extractor = speechlike(8_000), preset(name)
    prefix = features(extractor, waveform[:5_000])
    np.testing.assert_allclose(features(extractor, waveform)[: len(prefix)], prefix, atol=1e-5)


@pytest.mark.parametrize(
    ("normalize", "measure"),
    [
        ("peak", lambda wave: np.abs(wave).max()),
        ("rms", lambda wave: np.sqrt(np.mean(wave**2))),
        ("zscore", lambda wave: wave.std()),
        ("minmax", np.ptp),
    ],
)
def test_normalised_waveforms_have_the_amplitude_that_was_asked_for(normalize: Any, measure: Any) -> None:
    quiet, loud = 0.01 * speechlike(3_000) + 0.02, speechlike(5_000)
    found = Waveform(normalize=normalize)(padded(quiet, loud))
    for values, length in zip(found.values, found.lengths.tolist(), strict=True):
        assert measure(values[:length, 0].numpy()) == pytest.approx(1, rel=1e-4)


def test_waveforms_may_stay_as_they_are() -> None:
    waveform = speechlike(500)
    np.testing.assert_array_equal(features(Waveform(normalize="none"), waveform)[:, 0], waveform)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_a_mel_scale_is_the_inverse_of_its_inverse(scale: Any) -> None:
    hertz = torch.tensor([0.0, 440.0, 999.0, 1001.0, 7_999.0], dtype=torch.float64)
    torch.testing.assert_close(mel.mel_to_hertz(mel.hertz_to_mel(hertz, scale), scale), hertz)


def test_the_cosine_transform_is_orthonormal() -> None:
    matrix = mel.cosine_transform(23, 23)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(23, dtype=torch.float64))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"num_mel_bins": 128, "mel_scale": "htk"},
            r"num_mel_bins=128: 512 FFT points.*filter 0.*larger fft_length",
        ),
        ({"fft_length": 256}, r"fft_length=256: a frame of 25\.0 ms has 400 samples at 16000 Hz"),
        ({"max_frequency": 9_000.0}, r"max_frequency=9000\.0 Hz do not fit into 0\.\.8000"),
        (
            {"min_frequency": 5_000.0, "max_frequency": 4_000.0},
            r"min_frequency=5000\.0 to max_frequency=4000\.0",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LogMel(**arguments)


def test_there_are_no_more_cepstra_than_bands() -> None:
    with pytest.raises(ConfigError, match="num_coefficients=40: expected 1 to num_mel_bins=26"):
        MFCC(num_coefficients=40, num_mel_bins=26)


def test_windows_are_those_of_their_names() -> None:
    torch.testing.assert_close(frames.make_window("hann", 400), torch.hann_window(400, dtype=torch.float64))
    symmetric = torch.hann_window(400, periodic=False, dtype=torch.float64)
    torch.testing.assert_close(frames.make_window("povey", 400), symmetric**0.85)
    hamming = torch.hamming_window(400, periodic=False, dtype=torch.float64)
    torch.testing.assert_close(frames.make_window("hamming", 400), hamming)
