"""Neural-network operations, each with its hand-derived backward beside its forward."""

from xnn.functional.accuracy import accuracy
from xnn.functional.activations import elu, gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh
from xnn.functional.batch_norm import batch_norm, batch_norm_training
from xnn.functional.bias_activation import bias_gelu, bias_silu
from xnn.functional.binary_cross_entropy import binary_cross_entropy_with_logits
from xnn.functional.cross_entropy import cross_entropy
from xnn.functional.dropout import dropout, keyed_dropout
from xnn.functional.embedding import embedding
from xnn.functional.erf import erf
from xnn.functional.flatten import flatten, unflatten
from xnn.functional.huber_loss import huber_loss, smooth_l1_loss
from xnn.functional.kl_div import kl_div
from xnn.functional.l1_loss import l1_loss
from xnn.functional.layer_norm import layer_norm
from xnn.functional.linear import linear
from xnn.functional.mse_loss import mse_loss
from xnn.functional.nll_loss import nll_loss
from xnn.functional.rms_norm import rms_norm
from xnn.functional.softmax import log_softmax, softmax
from xnn.functional.softmax_mse_loss import softmax_mse_loss

__all__ = [
    "accuracy",
    "batch_norm",
    "batch_norm_training",
    "bias_gelu",
    "bias_silu",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "erf",
    "flatten",
    "gelu",
    "huber_loss",
    "keyed_dropout",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "relu",
    "rms_norm",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softmax_mse_loss",
    "softplus",
    "tanh",
    "unflatten",
]
