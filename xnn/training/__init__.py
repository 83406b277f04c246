"""Training: the loop, checkpoints, history, figures, runs."""

from xnn.training.amp import PRECISIONS, LossScaler, Precision
from xnn.training.callbacks import Callback, Checkpoints, HistoryFile, Interruptible, ProgressBar
from xnn.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from xnn.training.config import Config
from xnn.training.metrics import confusion_matrix
from xnn.training.plots import plot_confusion, plot_history
from xnn.training.run import Result, Run
from xnn.training.trainer import NonFiniteLossError, Trainer, TrainingStopped

__all__ = [
    "PRECISIONS",
    "Callback",
    "CheckpointError",
    "Checkpoints",
    "Config",
    "HistoryFile",
    "Interruptible",
    "LossScaler",
    "NonFiniteLossError",
    "Precision",
    "ProgressBar",
    "Result",
    "Run",
    "Trainer",
    "TrainingStopped",
    "confusion_matrix",
    "load_checkpoint",
    "plot_confusion",
    "plot_history",
    "save_checkpoint",
]
