import gc
import threading
import time

import numpy as np
import pytest
from support import assert_close, host, put

import xnn
from xnn.data import DataLoader, Samples, digits, transforms

PREFETCH = pytest.mark.parametrize("prefetch", [0, 1, 3])


def threads():
    return [t for t in threading.enumerate() if t.name == "xnn-prefetch"]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    assert not threads()
    yield
    assert not threads(), "a prefetching thread outlived its loop"


def pairs(n=10):
    """Inputs of two features and targets that tell which sample it is."""
    return np.arange(2 * n, dtype=np.float32).reshape(n, 2), np.arange(n)


def targets(batches):
    return [host(y).tolist() for _, y in batches]


def flat(lists):
    return [x for some in lists for x in some]


# --- what batches are ---


@PREFETCH
def test_in_order(device, prefetch):
    x, y = (put(device, a) for a in pairs())
    batches = list(DataLoader((x, y), batch_size=4, prefetch=prefetch))
    assert [type(b) for b in batches] == [tuple] * 3
    assert targets(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    for inputs, target in batches:
        assert_close(inputs, pairs()[0][host(target)], device=device)


@PREFETCH
def test_shuffled(device, prefetch):
    x, y = (put(device, a) for a in pairs())
    loader = DataLoader((x, y), batch_size=4, shuffle=True, prefetch=prefetch)
    orders = []
    for _ in range(3):
        batches = list(loader)
        assert [len(t) for t in targets(batches)] == [4, 4, 2]
        orders.append(flat(targets(batches)))
        assert sorted(orders[-1]) == list(range(10)), "each sample once"
        for inputs, target in batches:
            assert_close(inputs, pairs()[0][host(target)], device=device)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert [loader.order(epoch).tolist() for epoch in range(3)] == orders


def test_batches_in_order_are_views():
    x, y = pairs()
    for inputs, _ in DataLoader((x, y), batch_size=4):
        assert np.shares_memory(inputs, x)


def test_structures(device):
    x, y = (put(device, a) for a in pairs())
    (single,) = next(iter(DataLoader(x, batch_size=3)))
    assert_close(single, pairs()[0][:3], device=device)
    batch = next(iter(DataLoader({"x": x, "y": y}, batch_size=3, shuffle=True)))
    assert list(batch) == ["x", "y"]
    assert_close(batch["x"], pairs()[0][host(batch["y"])], device=device)
    batch = next(iter(DataLoader([x, y], batch_size=3)))
    assert type(batch) is tuple
    batch = next(iter(DataLoader(Samples(xnn.Tensor(x), y), batch_size=3)))
    assert type(batch) is tuple
    assert_close(batch[0], pairs()[0][:3], device=device)


def test_to_a_device(device):
    x, y = pairs()
    for data in ((x, y), tuple(put(device, a) for a in (x, y))):
        loader = DataLoader(data, batch_size=4, shuffle=True, device=device, dtype="float64")
        for inputs, target in loader:
            assert_close(inputs, x[host(target)].astype("float64"), device=device)
            assert_close(target, host(target).astype("int64"), device=device)


def test_dtype_is_for_floating_point_only():
    x, y = pairs()
    inputs, target = next(iter(DataLoader((x, y), dtype="float16")))
    assert (inputs.dtype, target.dtype) == (np.float16, y.dtype)


def test_length_and_drop_last():
    x, y = pairs(10)
    assert [len(DataLoader(x, b)) for b in (1, 3, 5, 10, 11)] == [10, 4, 2, 1, 1]
    assert [len(DataLoader(x, b, drop_last=True)) for b in (1, 3, 5, 10)] == [10, 3, 2, 1]
    loader = DataLoader((x, y), 3, drop_last=True)
    assert targets(loader) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert targets(loader) == targets(DataLoader((x[:9], y[:9]), 3))
    assert "10 samples in 3 batches of 3" in repr(loader)


class Squares:
    """Samples that are computed one by one."""

    def __init__(self, sample, n=7):
        self.sample, self.n = sample, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not isinstance(i, int):
            raise TypeError("one at a time")
        return self.sample(i)


@PREFETCH
def test_samples_one_by_one(prefetch):
    data = Squares(lambda i: (np.full((2,), i, np.float32), i * i, i / 2, bool(i % 2)))
    first = next(iter(DataLoader(data, batch_size=3, prefetch=prefetch)))
    assert [a.dtype.name for a in first] == ["float32", "int64", "float32", "bool"]
    assert [a.shape for a in first] == [(3, 2), (3,), (3,), (3,)]
    assert first[1].tolist() == [0, 1, 4]
    loader = DataLoader(data, batch_size=3, shuffle=True, prefetch=prefetch)
    assert sorted(i for batch in loader for i in batch[1].tolist()) == [i * i for i in range(7)]


def test_samples_of_other_kinds(device):
    (batch,) = DataLoader(Squares(lambda i: {"x": put(device, [i]), "n": i}), batch_size=7)
    assert_close(batch["x"], np.arange(7)[:, None], device=device)
    ((x,),) = DataLoader(Squares(float), batch_size=7)
    assert_close(x, np.arange(7, dtype=np.float32))
    (batch,) = DataLoader([(np.float32(1), 2), (np.float32(3), 4)])
    assert_close(batch[0], np.float32([1, 3]))
    assert_close(batch[1], np.asarray([2, 4]))


@pytest.mark.parametrize(
    ("sample", "error", "message"),
    [
        (lambda i: np.zeros(i), ValueError, r"sample of one shape, got \(0,\), \(1,\)"),
        (lambda i: (0,) * (i + 1), ValueError, "samples of 1 fields, got one of 2"),
        (lambda i: {i: 0}, ValueError, r"the keys \[0\], got \[1\]"),
        (lambda i: (0, "text"), TypeError, r"sample\[1\] to be arrays or numbers, got str"),
    ],
)
def test_samples_that_make_no_batch(sample, error, message):
    with pytest.raises(error, match=message):
        list(DataLoader(Squares(sample)))


def test_whole_batches_from_the_data():
    class Whole(Squares):
        def __getitems__(self, indices):
            return self.sample(indices)

    x = np.arange(14.0).reshape(7, 2)
    for shuffle in (False, True):
        for inputs, indices in DataLoader(Whole(lambda i: (x[i], i)), 3, shuffle):
            np.testing.assert_array_equal(inputs, x[indices])
    (batch,) = DataLoader(Whole(lambda i: {"i": i}), 7)
    assert batch["i"].tolist() == list(range(7))
    ((single,),) = DataLoader(Whole(lambda i: x[i]), 7)
    assert single.shape == (7, 2)
    (batch,) = DataLoader(Whole(lambda i: [(k, k) for k in i.tolist()]), 7)
    assert batch[1].tolist() == list(range(7))


# --- determinism, transforms, resuming ---


def noisy(batch, generator):
    return batch[0] + generator.normal(batch[0].shape), batch[1]


def run(loader, epochs):
    return [tuple(a.tolist() for a in batch) for _ in range(epochs) for batch in loader]


def test_the_same_seed_gives_the_same_run_whatever_the_prefetching():
    def a_run(**options):
        return run(DataLoader(pairs(), 3, True, transform=noisy, **options), 2)

    assert a_run() == a_run(prefetch=0) == a_run(prefetch=7)
    assert a_run(seed=1) != a_run()


def test_transforms_draw_anew_each_batch_and_epoch():
    x = np.zeros((4, 1), np.float32)
    draws = run(DataLoader((x, x), 2, transform=noisy), 3)
    assert len({tuple(map(tuple, d[0])) for d in draws}) == 6


@PREFETCH
@pytest.mark.parametrize("shuffle", [False, True])
def test_resumed_at_every_position(shuffle, prefetch):
    def loader(seed=3):
        return DataLoader(pairs(), 3, shuffle, seed=seed, transform=noisy, prefetch=prefetch)

    whole = run(loader(), 3)
    for stop in range(len(whole) + 1):
        first, seen, states = loader(), [], [loader().state_dict()]
        for _ in range(3):
            for batch in first:
                seen.append(tuple(a.tolist() for a in batch))
                states.append(first.state_dict())
        assert seen == whole
        state = states[stop]
        assert (state["epoch"], state["batch"]) == (
            (0, 0) if stop == 0 else ((stop - 1) // 4, (stop - 1) % 4 + 1)
        )
        second = loader(seed=99)
        second.load_state_dict(state)
        assert second.state_dict() == state
        assert seen[:stop] + run(second, 3 - state["epoch"]) == whole


def test_state_after_a_whole_epoch():
    loader = DataLoader(pairs(), 4)
    assert (loader.epoch, loader.batch) == (0, 0)
    list(loader)
    assert (loader.epoch, loader.batch) == (1, 0)
    loader.epoch = 5
    assert loader.state_dict()["epoch"] == 5


def test_position_counts_what_was_handed_out():
    loader = DataLoader(pairs(100), 2, prefetch=10)
    for count, _ in enumerate(loader, 1):
        assert loader.batch == count
        if count == 3:
            time.sleep(0.05)  # time to run ahead
            break
    assert loader.batch == 3


def test_a_loop_left_early_is_followed_by_the_next_epoch():
    loader = DataLoader(pairs(), 4, shuffle=True)
    next(iter(loader))
    assert (loader.epoch, loader.batch) == (0, 1)
    assert flat(targets(loader)) == loader.order(1).tolist()
    assert loader.epoch == 2


def test_an_older_iterator_does_not_move_the_position():
    loader = DataLoader(pairs(), 5, shuffle=True)
    old = iter(loader)
    new = iter(loader)
    next(new)
    assert len(list(old)) == 2
    assert (loader.epoch, loader.batch) == (0, 1)
    assert len(list(new)) == 1
    assert (loader.epoch, loader.batch) == (1, 0)


def test_states_that_do_not_fit():
    loader = DataLoader(pairs(), 4, shuffle=True)
    good = loader.state_dict()
    with pytest.raises(ValueError, match="it is of a loader with batch_size=5, this one has 4"):
        loader.load_state_dict({**good, "batch_size": 5})
    with pytest.raises(ValueError, match="with samples=11, this one has 10"):
        loader.load_state_dict({**good, "samples": 11})
    with pytest.raises(ValueError, match=r"batch in \[0, 3\], got 4"):
        loader.load_state_dict({**good, "batch": 4})
    with pytest.raises(ValueError, match=r"expected the entries .* got \['epoch'\]"):
        loader.load_state_dict({"epoch": 1})
    assert loader.state_dict() == good


def test_with_transforms_on_real_data():
    change = transforms.Compose(
        [transforms.RandomTranslate(1), transforms.RandomErasing(), transforms.OneHot(10)]
    )
    data = digits(normalize=True)
    loader = DataLoader(data.train, 64, shuffle=True, transform=change)
    seen = 0
    for x, y in loader:
        assert x.shape[1:] == (1, 8, 8)
        assert y.shape == (x.shape[0], 10)
        assert (y.sum(1) == 1).all()
        seen += len(x)
    assert seen == len(data.train.inputs)


# --- the thread ---


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_exception_reaches_the_consumer_in_its_place(prefetch):
    def fail_at_6(batch, generator):
        if 6 in batch[0]:
            raise ArithmeticError("six")
        return batch

    seen = []
    loader = DataLoader(np.arange(10), 2, transform=fail_at_6, prefetch=prefetch)
    with pytest.raises(ArithmeticError, match="six") as error:
        seen.extend(x.tolist() for (x,) in loader)
    seen = flat(seen)
    assert seen == [0, 1, 2, 3, 4, 5]
    assert loader.batch == 3
    assert any(entry.name == "fail_at_6" for entry in error.traceback)


def test_the_thread_works_ahead_but_not_further_than_asked():
    made = []

    def note(batch, generator):
        made.append(int(batch[0][0]))
        return batch

    batches = iter(DataLoader(np.arange(20), 1, transform=note, prefetch=3))
    next(batches)
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert made == [0, 1, 2, 3, 4], "one handed out, three waiting, one in hand"
    batches.close()


def test_leaving_early_ends_the_thread():
    loader = DataLoader(np.arange(1000), 1, prefetch=2)
    for _ in loader:
        assert len(threads()) == 1
        break
    assert not threads()

    def fail_in_the_loop():
        for _ in loader:
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail_in_the_loop()
    assert not threads()
    batches = iter(loader)
    assert not threads(), "it starts with the first batch"
    next(batches)
    del batches
    gc.collect()
    assert not threads()


def test_many_loops_left_at_any_moment():
    loader = DataLoader(np.arange(50), 1, prefetch=1)
    for stop in range(60):
        for count, _ in enumerate(loader):
            if count == stop:
                break
    assert not threads()


def test_two_loops_at_once():
    loader = DataLoader(np.arange(10), 2)
    pairs_of = [(a[0].tolist(), b[0].tolist()) for a, b in zip(loader, loader, strict=True)]
    assert [a for a, _ in pairs_of] == [b for _, b in pairs_of] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


# --- what is refused ---


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((np.zeros(4), np.zeros(5)), {}, r"equally many samples, got 4 in data\[0\] and 5 in data\[1\]"),
        ({"x": np.zeros(4), "y": np.zeros(5)}, {}, r"got 4 in data\['x'\] and 5 in data\['y'\]"),
        (Samples(np.zeros(4), np.zeros(5)), {}, r"got 4 in data\.inputs and 5 in data\.targets"),
        (np.zeros(()), {}, r"a dimension of samples, got shape \(\)"),
        (np.zeros((0, 2)), {}, "at least one sample, got none"),
        ([], {}, "at least one sample, got none"),
        ((), {}, r"at least one array, got \(\)"),
        (np.zeros(4), {"batch_size": 0}, "batch_size to be an integer of at least 1, got 0"),
        (np.zeros(4), {"batch_size": 2.0}, "batch_size to be an integer of at least 1, got 2.0"),
        (np.zeros(4), {"prefetch": -1}, "prefetch to be an integer of at least 0, got -1"),
        (np.zeros(4), {"batch_size": 5, "drop_last": True}, "no batch of 5 where there are 4 samples"),
    ],
)
def test_values_that_are_refused(data, options, message):
    with pytest.raises(ValueError, match=f"DataLoader: .*{message}"):
        DataLoader(data, **options)


def test_types_that_are_refused():
    with pytest.raises(TypeError, match=r"expected data\[1\] to be an array, got list"):
        DataLoader((np.zeros(2), [1, 2]))
    with pytest.raises(TypeError, match=r"got Dataset; pass one part of it, such as data\.train"):
        DataLoader(digits())
    with pytest.raises(TypeError, match="got int"):
        DataLoader(3)
    with pytest.raises(ValueError, match="an epoch of at least 0, got -1"):
        DataLoader(np.zeros(2)).epoch = -1
