"""Tables: how one launch takes many arrays. The kernel's side is kernels/tables.cuh.

    lists = {"params": params, "grads": grads, "momentum_buffer": None}
    kernel = kernels["sgd"]
    for table in Layout(kernel, lists, part=4096).tables(lists):
        kernel((table.blocks,), (256,), table=table, ...)

A table is passed by value, as a struct among the kernel's parameters: nothing is copied to the device and nothing has
to be kept there. What does not fit into one table goes to another launch.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from xnn.backends.cupy.launch import Kernel, ceil_div, runtime_of
from xnn.backends.cupy.source import Parameter
from xnn.backends.namespaces import Array, dtype_name

__all__ = ["Layout", "Lists", "RememberedByArrays", "Table"]

V = TypeVar("V")

Lists = Mapping[str, Sequence[Array] | None]
"""The arrays by the names that the kernel's source gives to the lists; None where a list may be left out."""


class Table(np.ndarray):
    """A table, filled: an array of one element, which CuPy and the emulator pass by value.

    Attributes:
        blocks: how many blocks the launch must have.
        layout: what it was made by.
        pointers: the byte at which each address stands, and the array that it is of. (The emulator, when a sanitizer
            looks on, runs the kernel in another process, where the arrays lie elsewhere.)
    """

    blocks: int
    layout: Layout
    pointers: Sequence[tuple[int, Array]]


class Layout:
    """Lists of arrays, checked, and laid out in the tables of as many launches as they need. It holds no reference.

    Args:
        kernel: whose `Table` it is.
        lists: the arrays. Those with the same number in each list belong together and have one size.
        part: how many elements a block works on; a multiple of a vector's, 2**30 at most.

    Raises:
        TypeError: a list is missing or unknown, or the dtypes within one differ.
        ValueError: the lists or the sizes of what belongs together differ, or an array is not C-contiguous, read-only
            where the kernel writes, or on another device than the first.
    """

    def __init__(self, kernel: Kernel, lists: Lists, part: int) -> None:
        (parameter,) = (p for p in kernel.signature.parameters if p.lists)
        self._kernel = kernel
        self._parameters = {p.name: (row, p) for row, p in enumerate(parameter.lists)}
        if lists.keys() != self._parameters.keys():
            raise TypeError(
                f"kernel {kernel.name}: expected the lists {', '.join(self._parameters)}, got {', '.join(lists)}"
            )
        given = [arrays for arrays in lists.values() if arrays is not None]
        self.sizes = [x.size for x in given[0]] if given else []
        if not self.sizes:
            raise ValueError(f"kernel {kernel.name}: expected at least one array in {parameter.name}")
        runtime = runtime_of(given[0][0])
        if runtime is None:
            raise TypeError(f"kernel {kernel.name}: expected CUDA arrays, got {type(given[0][0]).__name__}")
        self.runtime, self.device = runtime, runtime.device(given[0][0])
        self.dtypes: dict[str, Any] = {}

        constants = kernel.file.constants
        self._header = constants["TABLE_HEADER"]
        members = [
            i for i, size in enumerate(self.sizes) if size
        ]  # nothing is to be done for arrays without elements
        # Lists that are left out at the end take no room.
        self._rows = 1 + max(
            self._parameters[name][0] for name, arrays in lists.items() if arrays is not None
        )
        room = (constants["TABLE_WORDS"] - self._header) // (self._rows + 2)
        count = ceil_div(len(members), room)
        # Launches of about the same number of arrays.
        self._members = [
            members[len(members) * k // count : len(members) * (k + 1) // count] for k in range(count)
        ]
        self._words = []
        self.blocks = []
        for those in self._members:
            words = np.zeros(constants["TABLE_WORDS"], dtype=np.uint64)
            sizes = np.asarray([self.sizes[i] for i in those], dtype=np.int64)
            blocks = -(-sizes // part)
            n = len(those)
            words[:3] = n, part, self._rows
            tail = self._header + n * self._rows
            words[tail : tail + n] = sizes
            words[tail + n : tail + 2 * n] = np.cumsum(blocks) - blocks
            self._words.append(words)
            self.blocks.append(int(np.sum(blocks)))
        for name, arrays in lists.items():
            self.set(name, arrays)

    def set(self, name: str, arrays: Sequence[Array] | None) -> None:
        """Put other arrays into a list. The checks are those of the constructor."""
        row, p = self._parameters[name]
        if arrays is None or row >= self._rows:
            if arrays is not None or not p.optional:
                raise TypeError(f"{self._at(p)}: expected arrays if they were given at first, got {arrays!r}")
            return
        if len(arrays) != len(self.sizes):
            raise ValueError(f"{self._at(p)}: expected {len(self.sizes)} arrays, got {len(arrays)}")
        runtime, device, writes = self.runtime, self.device, not p.constant
        dtype = self.dtypes[name] = arrays[0].dtype
        array_type: Any = type(arrays[0])
        if runtime_of(arrays[0]) is not runtime:
            raise TypeError(f"{self._at(p)}: expected CUDA arrays, got {array_type.__name__}")
        for i, (x, size) in enumerate(zip(arrays, self.sizes, strict=True)):
            flags = x.flags
            if (
                type(x) is not array_type
                or x.dtype != dtype
                or x.size != size
                or not flags.c_contiguous
                or runtime.device(x) != device
                or (writes and not getattr(flags, "writeable", True))
            ):
                raise self._unfit(p, i, x, array_type, dtype, size, writes)
        address = runtime.address
        for words, those in zip(self._words, self._members, strict=True):
            begin = self._header + row * len(those)
            words[begin : begin + len(those)] = [address(arrays[i]) for i in those]

    def tables(self, lists: Lists) -> Iterator[Table]:
        """The filled tables, one after another: launch each before asking for the next.

        Args:
            lists: the same arrays again, which live at least as long as this takes.
        """
        for words, those, blocks in zip(self._words, self._members, self.blocks, strict=True):
            table = words.view(f"V{words.nbytes}").view(Table)
            table.blocks, table.layout = blocks, self
            table.pointers = _Pointers(self._header, those, [lists[name] for name in self._parameters])  # type: ignore[assignment]
            yield table

    def _at(self, p: Parameter) -> str:
        return f"kernel {self._kernel.name}: {p.name}"

    def _unfit(
        self, p: Parameter, i: int, x: Array, array_type: Any, dtype: Any, size: int, writes: bool
    ) -> Exception:
        at = f"{self._at(p)}[{i}]"
        if type(x) is not array_type or x.dtype != dtype:
            got = f"{type(x).__name__} of {dtype_name(x.dtype)}" if hasattr(x, "dtype") else type(x).__name__
            return TypeError(
                f"{at}: expected {array_type.__name__} of {dtype_name(dtype)}, as [0] is, got {got}"
            )
        if x.size != size:
            return ValueError(f"{at}: expected {size} elements, got shape {x.shape}")
        if not x.flags.c_contiguous:
            return ValueError(
                f"{at}: expected a C-contiguous array, got shape {x.shape} with strides {x.strides}"
            )
        if writes and not getattr(x.flags, "writeable", True):
            return ValueError(f"{at}: the kernel writes into it, but the array is read-only")
        return ValueError(
            f"{at}: expected an array on device {self.device}, as the first is, got one on {self.runtime.device(x)}"
        )


class _Pointers:
    """`Table.pointers`, worked out only if somebody asks."""

    def __init__(self, header: int, members: Sequence[int], lists: Sequence[Sequence[Array] | None]) -> None:
        self._header, self._members, self._lists = header, members, lists

    def __iter__(self) -> Iterator[tuple[int, Array]]:
        for row, arrays in enumerate(self._lists):
            if arrays is not None:
                for k, i in enumerate(self._members):
                    yield 8 * (self._header + row * len(self._members) + k), arrays[i]


class RememberedByArrays(Generic[V]):
    """What was found out about arrays, for as long as all of them live: the same arrays come again at every step.

    It holds no reference to an array, and forgets when one of them is gone.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[V, list[weakref.ref[Any]]]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, what: Any, arrays: Iterable[Array], find: Callable[[], V]) -> V:
        """The value for these very arrays, by ``find()`` if they come for the first time.

        Args:
            what: hashable; tells values for the same arrays apart.
            arrays: compared by identity. Their addresses, sizes and dtypes do not change.
        """
        arrays = list(arrays)
        key = (what, *map(id, arrays))
        entry = self._known.get(key)
        if entry is None:
            known = self._known

            def forget(_: Any) -> None:
                known.pop(key, None)

            entry = known[key] = (find(), [weakref.ref(x, forget) for x in arrays])
        return entry[0]
