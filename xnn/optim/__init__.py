"""Optimizers, learning-rate schedules, gradient clipping and averages of weights.

Names, defaults and numbers are those of `torch.optim` wherever the concept exists there.
"""

from xnn.optim import lr_scheduler
from xnn.optim._limits import ANY, CLOSED_FRACTION, FRACTION, NON_NEGATIVE
from xnn.optim.adadelta import Adadelta
from xnn.optim.adagrad import Adagrad
from xnn.optim.adam import Adam
from xnn.optim.adamw import AdamW
from xnn.optim.clip_grad import clip_grad_norm_, clip_grad_value_
from xnn.optim.ema import ExponentialMovingAverage
from xnn.optim.lion import Lion
from xnn.optim.muon import Muon
from xnn.optim.nadam import NAdam
from xnn.optim.optimizer import Optimizer
from xnn.optim.radam import RAdam
from xnn.optim.rmsprop import RMSprop
from xnn.optim.rule import Rule, rule
from xnn.optim.sgd import SGD

__all__ = [
    "ANY",
    "CLOSED_FRACTION",
    "FRACTION",
    "NON_NEGATIVE",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "ExponentialMovingAverage",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rule",
    "clip_grad_norm_",
    "clip_grad_value_",
    "lr_scheduler",
    "rule",
]
