"""Rules that split a corpus into train, validation and test. It offers the classes that a config may name."""

from ser.splits.base import SplitFacts, Splits
from ser.splits.rules import (
    Default,
    GroupDisjoint,
    LeaveOneGroupOut,
    LeaveOneSpeakerOut,
    Predefined,
    RandomSplit,
    Rule,
    Serab,
    SpeakerDisjoint,
    SpeakerKFold,
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
