"""Experiment trackers: TensorBoard, CSV files, MLflow, Weights & Biases. The names that a config may hold."""

from ser.trackers.base import Tracker
from ser.trackers.csv_files import CSV
from ser.trackers.mlflow_store import MLflow
from ser.trackers.tensorboard import TensorBoard
from ser.trackers.wandb_run import WandB

__all__ = ["CSV", "MLflow", "TensorBoard", "Tracker", "WandB"]
