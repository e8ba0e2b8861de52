"""Rules that split a corpus into train, validation and test. It offers the classes that a config may name."""

from ser.splits.base import SplitFacts, Splits
from ser.splits.folds import LeaveOneGroupOut, LeaveOneSpeakerOut, SpeakerKFold
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

__all__ = [
    "Default",
    "GroupDisjoint",
    "LeaveOneGroupOut",
    "LeaveOneSpeakerOut",
    "Predefined",
    "RandomSplit",
    "Rule",
    "Serab",
    "SpeakerDisjoint",
    "SpeakerKFold",
    "SplitFacts",
    "Splits",
    "WindowSplit",
]
