"""Words for emotions that mean the same. It contains data only."""

from collections.abc import Mapping
from types import MappingProxyType

SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("angry", "ang", "anger"), "anger"),
        **dict.fromkeys(("bored", "boredom"), "boredom"),
        **dict.fromkeys(("calm", "calmness"), "calm"),
        **dict.fromkeys(("disgusted", "dis", "disgust"), "disgust"),
        **dict.fromkeys(("afraid", "fearful", "fea", "fear"), "fear"),
        **dict.fromkeys(("happy", "hap", "joy", "joyful", "happiness"), "happiness"),
        **dict.fromkeys(("neu", "neutral", "neutrality"), "neutral"),
        **dict.fromkeys(("sad", "sadness"), "sadness"),
        **dict.fromkeys(("sur", "surprised", "surprise"), "surprise"),
    }
)
"""Word for an emotion -> name in the catalogue of published corpora."""
