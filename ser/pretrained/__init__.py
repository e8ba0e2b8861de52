"""Encoders of speech that were trained before. It offers the classes that a config may name."""

from ser.pretrained.audio_ntt import AudioNTT
from ser.pretrained.cvt import CvT
from ser.pretrained.encoder import PretrainedEncoder
from ser.pretrained.lora import merge_lora

__all__ = ["AudioNTT", "CvT", "PretrainedEncoder", "merge_lora"]
