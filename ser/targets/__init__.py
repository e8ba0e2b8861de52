"""What is predicted: targets, losses, metrics. The names that a config may hold, and the base classes of one's own."""

from ser.targets.base import Scores, Target
from ser.targets.classification import Binary, Classes, MultiView, Quadrant, TwoBinary
from ser.targets.frames import FrameClasses
from ser.targets.losses import AbsoluteError, ConcordanceLoss, CrossEntropy, Focal, Loss, SquaredError
from ser.targets.multi_task import MultiTask
from ser.targets.regression import Regression
from ser.targets.soft_labels import SoftClasses

__all__ = [
    "AbsoluteError",
    "Binary",
    "Classes",
    "ConcordanceLoss",
    "CrossEntropy",
    "Focal",
    "FrameClasses",
    "Loss",
    "MultiTask",
    "MultiView",
    "Quadrant",
    "Regression",
    "Scores",
    "SoftClasses",
    "SquaredError",
    "Target",
    "TwoBinary",
]
