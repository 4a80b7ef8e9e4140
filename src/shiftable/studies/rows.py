"""The rows of a study: as CSV, and taken together over seeds."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from shiftable.auditing.intervals import Estimate
from shiftable.engine import write_atomically
from shiftable.studies.study import Arm, Cell, Row


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, whole or not at all. Columns are those of all rows, in the order in which they come."""
    columns = list(dict.fromkeys(name for row in rows for name in row))

    def write(draft: Path) -> None:
        with draft.open("w", encoding="utf-8", newline="") as file:
            lines = csv.DictWriter(file, columns, lineterminator="\n")
            lines.writeheader()
            lines.writerows({name: "" if value is None else value for name, value in row.items()} for row in rows)

    write_atomically(path, write)


def read_rows(path: Path) -> list[Row]:
    """The rows that `write_rows` wrote: whole numbers, numbers and text; what is empty is None."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: _cell(text) for name, text in line.items()} for line in csv.DictReader(file)]


def _cell(text: str) -> Cell:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text or None


def those(rows: Iterable[Row], where: Arm) -> list[Row]:
    """The rows with these values.

    Example:
        >>> those([{"net": "deep", "p": 0.1}, {"net": "wide", "p": 0.2}], {"net": "wide"})
        [{'net': 'wide', 'p': 0.2}]
    """
    return [row for row in rows if all(row.get(name) == value for name, value in where.items())]


def grouped(rows: Iterable[Row], *names: str) -> dict[tuple[Cell, ...], list[Row]]:
    """The rows by the values of some columns, in the order in which these come."""
    found: dict[tuple[Cell, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return found


def estimate(rows: Sequence[Row], name: str) -> Estimate:
    """One number of several rows: their mean, with the 95 % interval of Student's t over them.

    A row by itself brings its own interval, in the columns ``{name}_low`` and ``{name}_high``, or has none (NaN).

    Args:
        rows: Seeds or repetitions of the same.
        name: The column; rows where it is empty are left out.

    Example:
        >>> found = estimate([{"p": 0.1}, {"p": 0.2}, {"p": 0.3}], "p")
        >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
        (0.2, -0.048, 0.448)
    """
    values = np.array([float(row[name]) for row in rows if isinstance(row.get(name), int | float)])  # type: ignore[arg-type]
    count = len(values)
    if count == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, 0)
    mean = float(values.mean())
    if count == 1:
        own = [rows[0].get(f"{name}_{end}") for end in ("low", "high")]
        low, high = (float(end) if isinstance(end, int | float) else float("nan") for end in own)
        return Estimate(mean, low, high, 1, 1)
    from scipy.stats import t

    reach = float(t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return Estimate(mean, mean - reach, mean + reach, count, count)


def said(found: Estimate, percent: bool = False, digits: int = 3) -> str:
    """An estimate in words: value and interval.

    Example:
        >>> said(Estimate(0.125, 0.1, 0.15, 3, 3)), said(Estimate(0.125, 0.1, 0.15, 3, 3), percent=True)
        ('0.125 [0.1, 0.15]', '12.5 % [10.0, 15.0]')
    """

    def number(value: float) -> str:
        return f"{100 * value:.{1 if abs(value) >= 0.01 else 2}f}" if percent else f"{value:.{digits}g}"

    if percent:
        found = within_shares(found)
    interval = "" if np.isnan(found.low) else f" [{number(found.low)}, {number(found.high)}]"
    return number(found.value) + (" %" if percent else "") + interval


def within_shares(found: Estimate) -> Estimate:
    """A share's estimate with its interval cut off at 0 and 1, which Student's t knows nothing of.

    Example:
        >>> within_shares(Estimate(0.99, 0.96, 1.02, 3, 3)).high
        1.0
    """
    if not 0 <= found.value <= 1:
        return found
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def apart(one: Estimate, other: Estimate) -> bool:
    """Whether two estimates' intervals do not meet: then they differ. Where they meet, nothing is said.

    Example:
        >>> apart(Estimate(0.1, 0.05, 0.15, 9, 9), Estimate(0.3, 0.2, 0.4, 9, 9))
        True
    """
    return bool(one.high < other.low or other.high < one.low)


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's; NaN where all are alike.

    Example:
        >>> round(rank_correlation([1.0, 2.0, 3.0], [2.0, 5.0, 9.0]), 6)
        1.0
    """
    from scipy.stats import spearmanr

    return float(spearmanr(x, y).statistic) if min(len(set(x)), len(set(y))) > 1 else float("nan")


def differ(rows: Sequence[Row], others: Sequence[Row], name: str) -> bool:
    """Whether two arms differ, seed by seed: the 95 % interval of their mean difference (Student's t) is without 0.

    Arms of one seed begin with the same weights and see the same pictures in the same order, so what is left between
    them is mostly the arms'. Each such comparison stands alone: of twenty between equals, one will say so by chance.

    Args:
        rows: One arm's, with ``seed``.
        others: The other's.
        name: The column.

    Example:
        >>> one = [{"seed": seed, "p": 0.1 * seed} for seed in range(3)]
        >>> differ(one, [{**row, "p": row["p"] + 0.01} for row in one], "p"), differ(one, one, "p")
        (True, False)
    """
    by_seed = {row.get("seed"): row.get(name) for row in others}
    pairs = [(row.get(name), by_seed.get(row.get("seed"))) for row in rows]
    found = estimate(
        [
            {name: float(one) - float(other)}
            for one, other in pairs
            if isinstance(one, int | float) and isinstance(other, int | float)
        ],
        name,
    )
    return bool(found.low > 1e-9 or found.high < -1e-9)
