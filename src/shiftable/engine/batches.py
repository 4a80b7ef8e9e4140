"""Call a function on batches of one size, whatever the sizes of the items the rows come from."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Shaped

Item = TypeVar("Item")
Rows = Shaped[np.ndarray, "..."]


def in_batches(
    items: Iterable[tuple[Item, Sequence[Rows]]], call: Callable[[Rows], Rows], batch_size: int
) -> Iterator[tuple[Item, Rows]]:
    """The results of ``call`` for the rows of each item, item by item, called on exactly ``batch_size`` rows at a time.

    The last batch is filled up with its own first row and the surplus thrown away, for a backend's last bits may
    depend on the batch's size. Every row is copied once, into the batch.

    Args:
        items: Pairs of anything and its rows, one at least, arrays of one shape and type.
        call: Takes ``(batch_size, …)``, gives one result per row. The array it is given is used again afterwards.
        batch_size: Rows at once.

    Example:
        >>> rows = [("a", [np.array([1]), np.array([2])]), ("b", [np.array([3])])]
        >>> [(name, result.ravel().tolist()) for name, result in in_batches(rows, lambda batch: batch * 10, 2)]
        [('a', [10, 20]), ('b', [30])]
    """
    batch: Rows | None = None
    filled = 0
    waiting: list[tuple[Item, int]] = []  # items whose rows are in, with how many they have
    results: list[Rows] = []  # of the waiting items' rows, in order

    def ready() -> Iterator[tuple[Item, Rows]]:
        have = sum(map(len, results))
        while waiting and waiting[0][1] <= have:
            item, count = waiting.pop(0)
            joined = np.concatenate(results) if len(results) > 1 else results[0]
            results[:] = [joined[count:]]
            have -= count
            yield item, joined[:count]

    for item, rows in items:
        waiting.append((item, len(rows)))
        for row in rows:
            if batch is None:
                batch = np.empty((batch_size, *row.shape), row.dtype)
            batch[filled] = row
            filled += 1
            if filled == batch_size:
                results.append(call(batch))
                filled = 0
        if results:
            yield from ready()
    if filled and batch is not None:
        batch[filled:] = batch[0]
        results.append(call(batch)[:filled])
        yield from ready()
