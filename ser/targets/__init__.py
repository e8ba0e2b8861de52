"""What is predicted: targets, losses, metrics. The names that a config may hold, and the base classes of one's own."""

from ser.targets.base import Target
from ser.targets.classification import Binary, Classes, ClassTarget
from ser.targets.frames import FrameClasses, StepRegression
from ser.targets.losses import AbsoluteError, ConcordanceLoss, CrossEntropy, Focal, Loss, SquaredError
from ser.targets.metrics import Scores
from ser.targets.multi_task import MultiTask
from ser.targets.quadrants import MultiView, Quadrant, TwoBinary
from ser.targets.regression import Regression, ValueTarget
from ser.targets.soft_labels import SoftClasses

__all__ = [
    "AbsoluteError",
    "Binary",
    "ClassTarget",
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
    "StepRegression",
    "Target",
    "TwoBinary",
    "ValueTarget",
]
