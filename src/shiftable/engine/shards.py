"""Work through shards, one file each: written whole or not at all, and never twice."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

Progress = Callable[[int, int], None]
"""Told (items done, items in all)."""


def run_shards(
    shards: Sequence[Sequence[Item]],
    folder: Path,
    *,
    load: Callable[[Item], Loaded],
    work: Callable[[Iterator[Loaded], Path], None],
    workers: int = 2,
    progress: Progress | None = None,
) -> list[Path]:
    """Do the shards that are not done yet; which are is read from ``folder``.

    Args:
        shards: The items of each shard. The same shards must be handed in again to go on with a run that was stopped.
        folder: Where shard ``k`` becomes ``part-0000k.parquet``. It appears under this name only when it is complete.
        load: Gets one item ready, in a thread, ahead of its turn.
        work: Given the loaded items of a shard, in order, and a path, writes its file there.
        workers: How many items are loaded at once.
        progress: Called after every item.

    Returns:
        The files of all shards, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".part-*"):
        leftover.unlink()
    paths = [folder / f"part-{number:05d}.parquet" for number in range(len(shards))]
    todo = [(path, shard) for path, shard in zip(paths, shards, strict=True) if not path.exists()]
    total = sum(map(len, shards))
    done = total - sum(len(shard) for _, shard in todo)
    if progress:
        progress(done, total)

    def counted(items: Iterator[Loaded]) -> Iterator[Loaded]:
        nonlocal done
        for item in items:
            yield item
            done += 1
            if progress:
                progress(done, total)

    with ThreadPoolExecutor(workers, thread_name_prefix="load") as pool:
        loaded = _ahead(pool, load, chain.from_iterable(shard for _, shard in todo), 2 * workers)
        try:
            for path, shard in todo:
                write_atomically(path, partial(work, counted(islice(loaded, len(shard)))))
        finally:
            loaded.close()
    return paths


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` write a file under another name, then give it its own: it is there whole or not at all.

    Args:
        path: The file.
        write: Called with the path to write to, in the same folder.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut could leave the name without the bytes
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _ahead(
    pool: ThreadPoolExecutor, load: Callable[[Item], Loaded], items: Iterable[Item], depth: int
) -> Generator[Loaded, None, None]:
    """``map(load, items)`` in order, with ``depth`` items under way at most, so that memory does not grow."""
    rest = iter(items)
    under_way: deque[Future[Loaded]] = deque(pool.submit(load, item) for item in islice(rest, depth))
    try:
        while under_way:
            result = under_way.popleft().result()
            under_way.extend(pool.submit(load, item) for item in islice(rest, 1))
            yield result
    finally:
        for future in under_way:
            future.cancel()
