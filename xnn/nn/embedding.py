"""Embedding layer: a vector for each of a set of numbers."""

from __future__ import annotations

from typing import Any

from xnn import init
from xnn.backends import DeviceLike
from xnn.backends.namespaces import Array, unwrap
from xnn.functional.embedding import embedding, normalize_padding_idx
from xnn.nn.module import Module
from xnn.nn.parameter import Parameter
from xnn.tensor import Tensor


class Embedding(Module):
    """The rows of a table that the input names. See `xnn.functional.embedding`.

    Args:
        num_embeddings: how many rows the table has: the size of the vocabulary.
        embedding_dim: how long a row is.
        padding_idx: the number of a row that is zeros at first and is not trained, or None.
        max_norm: not supported yet: it changes the table in the forward pass.
        norm_type: belongs to ``max_norm``.
        scale_grad_by_freq: divide the gradient of a row by how often it occurs in the input.
        sparse: not supported: gradients have the shape of the table.
        device, dtype: of the table.

    Parameters:
        weight: shape (num_embeddings, embedding_dim), at first standard normal.

    >>> table = xnn.nn.Embedding(10, 3, padding_idx=0)
    >>> table(np.asarray([[0, 4, 5], [0, 0, 9]])).shape
    (2, 3, 3)
    >>> table(np.asarray([0])).data
    array([[0., 0., 0.]], dtype=float32)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        *,
        device: DeviceLike = "cpu",
        dtype: Any = "float32",
        _weight: Parameter | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("num_embeddings", num_embeddings), ("embedding_dim", embedding_dim)):
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"Embedding: expected a non-negative integer for {name}, got {value!r}")
        if max_norm is not None:
            raise NotImplementedError(
                f"Embedding: max_norm is not supported yet, expected None, got {max_norm!r}; "
                "rescale weight.data after the optimizer's step instead"
            )
        if sparse:
            raise NotImplementedError("Embedding: sparse gradients are not supported, expected sparse=False")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = normalize_padding_idx("Embedding", padding_idx, num_embeddings)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if _weight is not None:
            self.weight = _weight
        else:
            self.weight = Parameter(init.empty((num_embeddings, embedding_dim), dtype=dtype, device=device))
            self.reset_parameters()

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Array | Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """A layer around a table that exists: a plain array or Tensor of shape (num_embeddings, embedding_dim), shared.

        With ``freeze`` it is not trained.
        """
        table = unwrap(embeddings)
        if len(table.shape) != 2:
            raise ValueError(
                "Embedding.from_pretrained: expected embeddings of shape (num_embeddings, embedding_dim), "
                f"got {tuple(table.shape)}"
            )
        weight = Parameter(table, requires_grad=not freeze)
        rows, columns = table.shape
        return cls(
            rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight=weight
        )

    def reset_parameters(self) -> None:
        """Draw the table afresh, distributed as in PyTorch; the row ``padding_idx`` is zeros."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx, ...] = 0.0

    def forward(self, indices: Any) -> Any:
        """Integers of any shape (...) to (..., embedding_dim)."""
        return embedding(indices, self.weight, self.padding_idx, scale_grad_by_freq=self.scale_grad_by_freq)

    def extra_repr(self) -> str:
        """The sizes."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
