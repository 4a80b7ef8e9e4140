"""Any number of views, asked of what takes so many at once and no others."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Shaped


def filled_up(rows: Shaped[np.ndarray, "row *axes"], size: int) -> Shaped[np.ndarray, "more *axes"]:
    """The rows, followed by as many copies of the first as make their number a multiple of ``size``.

    Example:
        >>> filled_up(np.array([4, 5, 6, 7, 8]), 3)
        array([4, 5, 6, 7, 8, 4])
    """
    missing = -len(rows) % size
    return np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)]) if missing else rows


def in_parts(
    call: Callable[[Shaped[np.ndarray, "part *axes"]], Float[np.ndarray, "part answer"]],
    rows: Shaped[np.ndarray, "row *axes"],
    size: int,
) -> Float[np.ndarray, "row answer"]:
    """The answers to all rows of a function that is asked exactly ``size`` at once.

    Example:
        >>> in_parts(lambda part: part / len(part), np.array([[3], [6], [9], [12]]), 3)
        array([[1.],
               [2.],
               [3.],
               [4.]])
    """
    answers = [call(filled_up(rows[at : at + size], size)) for at in range(0, len(rows), size)]
    return (np.concatenate(answers) if len(answers) > 1 else answers[0])[: len(rows)]
