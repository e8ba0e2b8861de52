"""Compress short recordings for a page."""

import io

import numpy as np

from ser.errors import DataError, install_command

RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""Sample rates of MP3, in Hz."""


def encode_mp3(waveform: np.ndarray, sample_rate: int) -> bytes:
    """Compress a waveform [samples] in -1..1 as MP3, which all browsers play; louder samples are clipped.

    Args:
        waveform: The waveform.
        sample_rate: Sample rate in Hz, one of RATES.

    Raises:
        DataError: soundfile is not installed, or its libsndfile cannot write MP3.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: soundfile without libsndfile
        raise DataError(
            f"MP3: the package that writes recordings cannot be imported ({error}). Run: {install_command('audio')}"
        ) from error
    content = io.BytesIO()
    try:
        soundfile.write(content, np.clip(waveform, -1, 1), sample_rate, format="MP3")
    except soundfile.SoundFileError as error:
        raise DataError(
            f"MP3: libsndfile {soundfile.__libsndfile_version__} cannot write it ({error}). Set report.audio=false, or "
            "update libsndfile to 1.1."
        ) from error
    return content.getvalue()
