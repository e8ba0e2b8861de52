"""Pre-training of encoders without labels: BYOL-S and BYOL-A. It offers the class that a config may name."""

from ser.pretraining.recipe import Recipe

__all__ = ["Recipe"]
