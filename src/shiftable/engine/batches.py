"""Call a function on batches of one size, whatever the sizes of the items the rows come from."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import nullcontext
from threading import Event
from typing import TypeVar

import numpy as np
from jaxtyping import Shaped

Item = TypeVar("Item")
Rows = Shaped[np.ndarray, "..."]


def in_batches(
    items: Iterable[tuple[Item, Sequence[Rows]]],
    call: Callable[[Rows], Rows],
    batch_size: int,
    at_once: int = 1,
) -> Iterator[tuple[Item, Rows]]:
    """The results of ``call`` for the rows of each item, item by item, called on exactly ``batch_size`` rows at a time.

    The last batch is filled up with its own first row and the surplus thrown away, for a backend's last bits may
    depend on the batch's size. Every row is copied once, into the batch.

    Args:
        items: Pairs of anything and its rows, one at least, arrays of one shape and type.
        call: Takes ``(batch_size, …)``, gives one result per row. The array it is given is used again afterwards.
        batch_size: Rows at once.
        at_once: Calls under way at once, from as many threads; meanwhile the next batches are filled. For one, ``call``
            is called from here.

    Example:
        >>> rows = [("a", [np.array([1]), np.array([2])]), ("b", [np.array([3])])]
        >>> [(name, result.ravel().tolist()) for name, result in in_batches(rows, lambda batch: batch * 10, 2)]
        [('a', [10, 20]), ('b', [30])]
    """
    waiting: deque[tuple[Item, int]] = deque()  # items whose rows are in, with how many they have
    results: list[Rows] = []  # of the waiting items' rows, in order

    def ready() -> Iterator[tuple[Item, Rows]]:
        have = sum(map(len, results))
        while waiting and waiting[0][1] <= have:
            item, count = waiting.popleft()
            joined = np.concatenate(results) if len(results) > 1 else results[0]
            results[:] = [joined[count:]]
            have -= count
            yield item, joined[:count]

    over = Event()

    def call_if_wanted(batch: Rows) -> Rows:
        if over.is_set():  # a call that waited, after one before it failed
            raise CancelledError
        try:
            return call(batch)
        except BaseException:
            over.set()
            raise

    with ThreadPoolExecutor(at_once, thread_name_prefix="call") if at_once > 1 else nullcontext() as pool:
        under_way: deque[Future[Rows]] = deque()
        try:
            for batch in _batches(items, batch_size, waiting, again=pool is None):
                if pool is None:
                    results.append(call(batch)[: len(batch)])
                    yield from ready()
                    continue
                under_way.append(pool.submit(call_if_wanted, batch))
                while under_way and (len(under_way) > 2 * at_once or under_way[0].done()):
                    results.append(under_way.popleft().result())
                    yield from ready()
            for future in under_way:
                results.append(future.result())
                yield from ready()
        finally:
            over.set()
            for future in under_way:
                future.cancel()


def _batches(
    items: Iterable[tuple[Item, Sequence[Rows]]], batch_size: int, waiting: deque[tuple[Item, int]], again: bool
) -> Iterator[Rows]:
    """Rows of the items, ``batch_size`` at a time; the items are noted in ``waiting`` as they come.

    Args:
        items: As above.
        batch_size: Rows at once.
        waiting: Gets every item and how many rows it has.
        again: Whether the array may be used again once the next batch is asked for.
    """
    batch: Rows | None = None
    filled = 0
    for item, rows in items:
        waiting.append((item, len(rows)))
        for row in rows:
            if batch is None:
                batch = np.empty((batch_size, *row.shape), row.dtype)
            batch[filled] = row
            filled += 1
            if filled == batch_size:
                yield batch
                batch, filled = batch if again else None, 0
    if filled and batch is not None:
        batch[filled:] = batch[0]
        yield batch
