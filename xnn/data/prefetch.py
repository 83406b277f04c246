"""Working ahead: a thread makes the next items while the consumer is busy with the last."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator
from typing import Generic, TypeVar

T = TypeVar("T")


class _Shelf(Generic[T]):
    """A few places between maker and taker. Either waits for the other, and none waits once the shelf is closed."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: T) -> bool:
        """Wait for a free place. False if the shelf was closed: nobody will take anything more."""
        with self._changed:
            while len(self._items) >= self._places and not self._closed:
                self._changed.wait()
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def take(self) -> T:
        with self._changed:
            while not self._items:
                self._changed.wait()
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()


def prefetch(items: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    """The same items, up to ``depth`` of them made ahead of need by a thread.

    The thread starts with the first item asked for. It ends when the items end, when making one raises (the
    consumer gets the exception in its place), and when this generator is closed, as a ``for`` loop's is when
    it is left early.
    """
    # An item is (value, None), or (None, why there are no more).
    shelf: _Shelf[tuple[T | None, BaseException | None]] = _Shelf(depth)

    def work() -> None:
        end: BaseException = StopIteration()
        try:
            for item in items:
                if not shelf.put((item, None)):
                    return
        except BaseException as error:
            end = error
        finally:
            items.close()
        shelf.put((None, end))

    thread = threading.Thread(target=work, name="xnn-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, end = shelf.take()
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            yield item  # type: ignore[misc]
    finally:
        shelf.close()
        if threading.current_thread() is not thread:  # the garbage collector may close us from anywhere
            thread.join()
