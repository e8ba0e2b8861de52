"""Faults that are planted into clean waveforms, each with a severity that is drawn."""

import io

import numpy as np

from ser.audio.reader import resample


def quantize(waveform: np.ndarray) -> np.ndarray:
    """Round to 16 bits, as a file would hold it."""
    return np.round(np.clip(waveform, -1, 1) * 32767).astype(np.float32) / 32767


def clipped(waveform: np.ndarray, _rate: int, random: np.random.Generator) -> np.ndarray:
    """Overdrive by 6 to 12 dB, cut off at full scale, and store at up to 6 dB less."""
    driven = waveform / np.abs(waveform).max() * 10 ** (random.uniform(6, 12) / 20)
    return quantize(np.clip(driven, -1, 1) * 10 ** (-random.uniform(0, 6) / 20))


def shifted(waveform: np.ndarray, _rate: int, random: np.random.Generator) -> np.ndarray:
    """Add a constant of 1 to 5 % of full scale."""
    return quantize(waveform + random.choice([-1, 1]) * random.uniform(0.01, 0.05))


def narrowed(waveform: np.ndarray, rate: int, _random: np.random.Generator) -> np.ndarray:
    """Resample to 8 kHz and back."""
    return quantize(resample(resample(waveform, rate, 8000), 8000, rate)[: len(waveform)])


def silenced(waveform: np.ndarray, _rate: int, random: np.random.Generator) -> np.ndarray:
    """Keep the loudest twelfth of the time, and lower the rest by 50 to 90 dB, or to nothing."""
    keep = len(waveform) // 12
    energy = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    first = int((energy[keep:] - energy[:-keep]).argmax())
    quiet = waveform * random.choice([0.0, 10 ** (-random.uniform(50, 90) / 20)])
    quiet[first : first + keep] = waveform[first : first + keep]
    return quantize(quiet)


def noisy(waveform: np.ndarray, _rate: int, random: np.random.Generator) -> np.ndarray:
    """Add white or pink noise 0 to 10 dB below the whole recording."""
    white = np.fft.rfft(random.standard_normal(len(waveform)))
    if random.random() < 0.5:
        white[1:] /= np.sqrt(np.arange(1, len(white)))
        white[0] = 0
    noise = np.fft.irfft(white, len(waveform)).astype(np.float32)
    level = np.sqrt(np.mean(waveform**2) / np.mean(noise**2)) * 10 ** (-random.uniform(0, 10) / 20)
    mixed = waveform + level * noise
    return quantize(mixed / max(1.0, float(np.abs(mixed).max())))


def repeated(waveform: np.ndarray, _rate: int, _random: np.random.Generator) -> np.ndarray:
    """Keep every sample."""
    return waveform


def louder(waveform: np.ndarray, _rate: int, random: np.random.Generator) -> np.ndarray:
    """Change the gain by 2 to 12 dB, without clipping."""
    room = -20 * np.log10(np.abs(waveform).max())
    gain = random.uniform(2, min(12, room)) if room > 3 else -random.uniform(2, 12)
    return quantize(waveform * 10 ** (gain / 20))


def recoded(waveform: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
    """Encode as Vorbis or MP3 and decode again."""
    import soundfile

    kind = {"format": "OGG", "subtype": "VORBIS"} if random.random() < 0.5 else {"format": "MP3"}
    content = io.BytesIO()
    soundfile.write(content, waveform, rate, **kind)
    content.seek(0)
    return soundfile.read(content, dtype="float32")[0]


def trimmed(waveform: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
    """Cut 10 to 150 ms off each end."""
    begin, end = (round(random.uniform(0.01, 0.15) * rate) for _ in range(2))
    return waveform[begin : len(waveform) - end]


FAULTS = {
    "clipped": clipped,
    "dc_offset": shifted,
    "narrow_band": narrowed,
    "mostly_silent": silenced,
    "noisy": noisy,
}
"""Flag -> what plants its fault."""
COPIES = {"exact": repeated, "gain": louder, "recoded": recoded, "trimmed": trimmed}
"""Kind of a copy -> what makes it."""
