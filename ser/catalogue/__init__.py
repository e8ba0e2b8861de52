"""Catalogue of published corpora: where to get them, and what their files mean."""

from collections.abc import Mapping
from types import MappingProxyType

from ser.catalogue import acted, rated
from ser.catalogue.corpus import Corpus, LabelTable

CORPORA: Mapping[str, Corpus] = MappingProxyType(
    {
        found.name: found
        for found in sorted(
            (
                value
                for module in (acted, rated)
                for value in vars(module).values()
                if isinstance(value, Corpus)
            ),
            key=lambda corpus: corpus.name,
        )
    }
)
"""Name -> corpus."""

__all__ = ["CORPORA", "Corpus", "LabelTable"]
