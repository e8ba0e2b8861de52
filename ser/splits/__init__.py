"""Rules that split a corpus into train, validation and test. It offers the classes that a config may name."""

from ser.splits.base import SplitFacts, Splits
from ser.splits.folds import LeaveOneGroupOut, LeaveOneSpeakerOut, SpeakerKFold
from ser.splits.published import Published
from ser.splits.rules import (
    Default,
    GroupDisjoint,
    Predefined,
    RandomSplit,
    Rule,
    Serab,
    SpeakerDisjoint,
    WindowSplit,
)
from ser.splits.texts import SpeakerTextDisjoint, TextDisjoint

__all__ = [
    "Default",
    "GroupDisjoint",
    "LeaveOneGroupOut",
    "LeaveOneSpeakerOut",
    "Predefined",
    "Published",
    "RandomSplit",
    "Rule",
    "Serab",
    "SpeakerDisjoint",
    "SpeakerKFold",
    "SpeakerTextDisjoint",
    "SplitFacts",
    "Splits",
    "TextDisjoint",
    "WindowSplit",
]
