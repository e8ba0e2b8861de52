"""What is predicted: targets, losses, metrics. The names that a config may hold."""

from ser.targets.classification import Binary, Classes, MultiView, Quadrant, Target, TwoBinary
from ser.targets.frames import FrameClasses
from ser.targets.losses import CrossEntropy, Focal

__all__ = [
    "Binary",
    "Classes",
    "CrossEntropy",
    "Focal",
    "FrameClasses",
    "MultiView",
    "Quadrant",
    "Target",
    "TwoBinary",
]
