"""Several corpora in one training. It offers the class that a config may name."""

from ser.mix.corpus import MixedCorpus

__all__ = ["MixedCorpus"]
