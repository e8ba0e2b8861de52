"""The training loop, and what may be added to it: callbacks, schedules. The names that a config may hold."""

from ser.trackers.learning_rate import LearningRate
from ser.training.callbacks import AveragedWeights, LastCheckpoint
from ser.training.plot_callbacks import Architecture, LossCurve, OutputSpace, Pictures, WaveformPictures
from ser.training.recording_callbacks import CurvePictures, RecordingScores
from ser.training.schedules import cosine, one_cycle, plateau

__all__ = [
    "Architecture",
    "AveragedWeights",
    "CurvePictures",
    "LastCheckpoint",
    "LearningRate",
    "LossCurve",
    "OutputSpace",
    "Pictures",
    "RecordingScores",
    "WaveformPictures",
    "cosine",
    "one_cycle",
    "plateau",
]
