"""Feature extraction and augmentation. It offers the classes that a config may name."""

from ser.features.augment_features import Augment
from ser.features.augment_waveforms import WaveformAugment, WaveformBank
from ser.features.extractors import MFCC, Extractor, LogMel, Waveform
from ser.features.steps import StepLogMel, StepWaveform
from ser.features.vad import Silence, SilenceDetector

__all__ = [
    "MFCC",
    "Augment",
    "Extractor",
    "LogMel",
    "Silence",
    "SilenceDetector",
    "StepLogMel",
    "StepWaveform",
    "Waveform",
    "WaveformAugment",
    "WaveformBank",
]
