"""Encoders of speech that were trained before. It offers the classes that a config may name."""

from ser.pretrained.encoder import PretrainedEncoder

__all__ = ["PretrainedEncoder"]
