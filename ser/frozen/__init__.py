"""Frozen encoders as extractors of features. It offers the classes that a config may name."""

from ser.frozen.features import PretrainedFeatures

__all__ = ["PretrainedFeatures"]
