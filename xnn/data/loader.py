"""DataLoader: batches of a data set, in an order that depends on nothing but the seed and the epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

from xnn._whole import whole
from xnn.backends import DeviceLike, device_of
from xnn.backends import device as find_device
from xnn.backends.device import each_array
from xnn.backends.namespaces import Array, array_namespace, is_array
from xnn.data.fields import Batch, Fields
from xnn.data.items import Items
from xnn.data.prefetch import prefetch as make_ahead
from xnn.random import Generator as Randomness

__all__ = ["DataLoader"]

Transform = Callable[[Batch, Randomness], Batch]


class DataLoader:
    """Batches of samples, epoch after epoch.

        for x, target in DataLoader(data.train, batch_size=64, shuffle=True):
            ...

    Args:
        data: an array, or a tuple, list or dict of arrays with one sample per index of the first dimension;
            or any object with ``__len__`` and ``__getitem__(i)``, which gives a sample: an array, a number,
            or a tuple or dict of them. Where such an object has ``__getitems__(indices)`` too, it is asked
            for a whole batch by an int64 array, and returns a tuple or dict of arrays, or a list of samples.
        batch_size: samples per batch. The last batch of an epoch has what is left.
        shuffle: go through the samples in a random order, another one each epoch: a function of (seed,
            epoch).
        drop_last: leave out the last batch if it is not full.
        seed: of the orders and of what ``transform`` draws.
        transform: ``transform(batch, generator)`` is given each batch and returns what is to take its place.
            What it draws from the generator is a function of (seed, epoch, number of the batch). It must not
            write into the arrays it gets: without shuffling they are views of the data. See
            `xnn.data.transforms`.
        device: where batches are to be; by default where the data are. They are brought there by the consumer's
            thread, on a GPU one batch ahead through pinned memory while it computes; transforms run where the data
            are.
        prefetch: how many batches a background thread makes ahead (gathering and transforming; NumPy and file
            reads let other threads run meanwhile); 0 for none, and for no copies to a GPU ahead of need. No thread
            is used where the data are on a CUDA device, where nothing is waited for anyway.
        dtype: dtype of the floating-point arrays in batches, for example "float16"; by default as in the
            data.

    Yields:
        a tuple of plain arrays (of one, if ``data`` is a single array), or a dict of them.

    Raises:
        ValueError: arrays differ in length, there are no samples, ``batch_size`` < 1, ``prefetch`` < 0, or
            there are fewer samples than ``drop_last`` leaves a batch of.

    An epoch begins with each ``iter(loader)``, that is each ``for``. After `load_state_dict` the first one
    goes on with the batches of its epoch that had not been handed out yet. A loop that is left early does not
    go on later: the next one is the next epoch.

    As ``torch.utils.data.DataLoader``, with one thread for its worker processes, and a state.
    """

    def __init__(
        self,
        data: Any,
        batch_size: int = 32,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        seed: int = 0,
        transform: Transform | None = None,
        device: DeviceLike = None,
        prefetch: int = 2,
        dtype: Any = None,
    ) -> None:
        if whole(batch_size) < 1:
            raise ValueError(
                f"DataLoader: expected batch_size to be an integer of at least 1, got {batch_size!r}"
            )
        if whole(prefetch) < 0:
            raise ValueError(
                f"DataLoader: expected prefetch to be an integer of at least 0, got {prefetch!r}"
            )
        self._source: Fields | Items = _source(data)
        self.samples = self._source.samples
        if not self.samples:
            raise ValueError("DataLoader: expected at least one sample, got none")
        if drop_last and self.samples < whole(batch_size):
            raise ValueError(
                f"DataLoader: drop_last leaves no batch of {batch_size} where there are {self.samples} samples"
            )
        self.batch_size = batch_size = whole(batch_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.transform = transform
        self.device = None if device is None else find_device(device)
        self.prefetch = whole(prefetch)
        self.dtype = dtype
        self._epoch = 0
        self._batch = 0
        self._resumed = False
        self._latest: object = None

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        whole, left = divmod(self.samples, self.batch_size)
        return whole + (left > 0 and not self.drop_last)

    def __repr__(self) -> str:
        order = f", shuffled with seed {self.seed}" if self.shuffle else ""
        return f"DataLoader({self.samples} samples in {len(self)} batches of {self.batch_size}{order})"

    @property
    def epoch(self) -> int:
        """The epoch that is running, or that the next ``for`` begins if the last was run to its end. Can be set."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        if not isinstance(epoch, int) or epoch < 0:
            raise ValueError(f"DataLoader: expected an epoch of at least 0, got {epoch!r}")
        self._epoch, self._batch, self._resumed, self._latest = epoch, 0, False, None

    @property
    def batch(self) -> int:
        """How many batches of `epoch` have been handed out."""
        return self._batch

    def order(self, epoch: int) -> Array:
        """The samples' indices in the order of an epoch: int64, shape (samples,), on the host."""
        if not self.shuffle:
            return find_device("cpu").xp.arange(self.samples)
        return _randomness(self.seed, epoch).permutation(self.samples)

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands: after how many batches of which epoch, and what its order depends on."""
        return {"epoch": self._epoch, "batch": self._batch, **self._settings()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another loader of the same data stood; the seed is taken over.

        Raises:
            ValueError: entries are missing, or the loader differs in what decides which sample is in which
            batch.
        """
        expected = self.state_dict()
        if set(state) != set(expected):
            raise ValueError(
                f"DataLoader state: expected the entries {sorted(expected)}, got {sorted(state)}"
            )
        for name, mine in self._settings().items():
            if name != "seed" and state[name] != mine:
                raise ValueError(
                    f"DataLoader state: it is of a loader with {name}={state[name]}, this one has {mine}"
                )
        batch = int(state["batch"])
        if not 0 <= batch <= len(self):
            raise ValueError(f"DataLoader state: expected batch in [0, {len(self)}], got {batch}")
        self.epoch = int(state["epoch"])
        self.seed = int(state["seed"])
        self._batch, self._resumed = batch, True

    def _settings(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "samples": self.samples,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }

    def __iter__(self) -> Iterator[Batch]:
        if self._batch and not self._resumed:
            self.epoch += 1
        self._resumed = False
        self._latest = token = object()  # only the newest iterator moves the position
        return self._hand_out(self._epoch, self._batch, token)

    def _hand_out(self, epoch: int, first: int, token: object) -> Generator[Batch, None, None]:
        batches = self._make(epoch, first)
        if self.prefetch and self._source.reads_are_free:
            batches = make_ahead(batches, self.prefetch)
        if self.device is not None:
            batches = self.device.upload(batches, ahead=min(self.prefetch, 1))
        try:
            for count, batch in enumerate(batches, first + 1):
                if self._latest is token:
                    self._batch = count
                yield batch
        finally:
            batches.close()
        if self._latest is token:
            self.epoch = epoch + 1

    def _make(self, epoch: int, first: int) -> Generator[Batch, None, None]:
        """The batches of an epoch from number ``first`` on, where the data are."""
        source, size = self._source, self.batch_size
        # Once an epoch to every device the data are on, and no batch waits for its indices.
        orders = [place.asarray(self.order(epoch)) for place in source.devices()] if self.shuffle else None
        for number in range(first, len(self)):
            start, stop = number * size, min((number + 1) * size, self.samples)
            if orders is None:
                batch = source.rows(start, stop)
            else:
                batch = source.gather([order[start:stop] for order in orders])
            if self.transform is not None:
                batch = self.transform(batch, _randomness(self.seed, epoch, number))
            if self.dtype is not None:
                batch = each_array(self._cast, batch)
            yield batch

    def _cast(self, x: Array) -> Array:
        xp = array_namespace(x)
        if not xp.isdtype(x.dtype, "real floating"):
            return x
        return xp.astype(x, device_of(x).dtype(self.dtype), copy=False)


def _source(data: Any) -> Fields | Items:
    if is_array(data) or isinstance(data, (tuple, Mapping)):
        return Fields("DataLoader", data)
    if isinstance(data, list) and data and all(is_array(x) for x in data):
        return Fields("DataLoader", data)
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        hint = "; pass one part of it, such as data.train" if hasattr(data, "train") else ""
        raise TypeError(
            "DataLoader: expected an array, a tuple or dict of arrays, or an object with __len__ and __getitem__, "
            f"got {type(data).__name__}{hint}"
        )
    return Items(data)


def _randomness(*words: int) -> Randomness:
    """A generator of its own for (seed, epoch) or (seed, epoch, batch), unlike that of any seed given elsewhere."""
    text = " ".join(map(str, ("xnn.data.DataLoader", *words)))
    return Randomness(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little"))
