"""Progress, on stderr: stdout is for results."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shown_progress(what: str = "images") -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a plain line every few seconds elsewhere.

    Args:
        what: What is counted.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_progress(what)
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_progress(what: str, every_s: float = 10) -> Callable[[int, int], None]:
    begin = last = time.monotonic()
    first: int | None = None

    def show(done: int, total: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        if first is None:
            first = done  # what an earlier run had done already took none of this one's time
            if done:
                print(f"going on after {done} of {total} {what}", file=sys.stderr, flush=True)  # noqa: T201
        if now - last >= every_s and done > first:
            last = now
            left_s = (now - begin) / (done - first) * (total - done)
            print(f"{done} of {total} {what}, about {left_s:.0f} s left", file=sys.stderr, flush=True)  # noqa: T201

    return show
