"""Who is trained on, and who is tested. The names that a config may hold."""

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
