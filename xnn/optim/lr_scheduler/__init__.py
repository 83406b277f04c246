"""Schedules of the learning rate: names, arguments and numbers of `torch.optim.lr_scheduler`."""

from xnn.optim.lr_scheduler.base import LRScheduler
from xnn.optim.lr_scheduler.chained_scheduler import ChainedScheduler
from xnn.optim.lr_scheduler.constant_lr import ConstantLR
from xnn.optim.lr_scheduler.cosine_annealing_lr import CosineAnnealingLR
from xnn.optim.lr_scheduler.cosine_annealing_warm_restarts import CosineAnnealingWarmRestarts
from xnn.optim.lr_scheduler.exponential_lr import ExponentialLR
from xnn.optim.lr_scheduler.lambda_lr import LambdaLR
from xnn.optim.lr_scheduler.linear_lr import LinearLR
from xnn.optim.lr_scheduler.multi_step_lr import MultiStepLR
from xnn.optim.lr_scheduler.one_cycle_lr import OneCycleLR
from xnn.optim.lr_scheduler.polynomial_lr import PolynomialLR
from xnn.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateau
from xnn.optim.lr_scheduler.sequential_lr import SequentialLR
from xnn.optim.lr_scheduler.step_lr import StepLR

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
