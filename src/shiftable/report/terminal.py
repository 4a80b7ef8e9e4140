"""What the command line prints of a result: tables for a terminal, the notes, and where the page is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shiftable.auditing import Audit, Estimate
from shiftable.auditing.comparing.comparison import Comparison
from shiftable.auditing.feeding.parity import Parity
from shiftable.auditing.record import read_run
from shiftable.report.compare_words import SIDE_BY_SIDE
from shiftable.report.compare_words import headline as comparison_headline
from shiftable.report.parity_page import COLUMNS, parity_rows
from shiftable.report.provenance import recheck_words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show_classes(console: "Console", found: Audit, page: Path) -> None:
    """Metrics and controls, a row each."""
    from rich.text import Text

    table = _table("metric", "value", "95 % interval", "images", "pairs")
    for name, each in found.metrics.items():
        table.add_row(name, *_numbers(each))
    for control, metrics in found.controls.items():
        for name, each in metrics.items():
            table.add_row(Text(f"{control}: {name}", "dim"), *_numbers(each))
    recheck = (read_run(found.folder) or {}).get("recheck")
    _show(console, table, found.warnings, page, *([recheck_words(recheck)] if recheck else []))


def show_comparison(console: "Console", found: Comparison, page: Path) -> None:
    """A row for every audit."""
    from rich.text import Text

    figures = [figure for figure in SIDE_BY_SIDE if figure not in found.absent]
    metrics = [name for name in ("accuracy", "margin") if all(name in each.metrics for each in found.audits)]
    table = _table("model", *(SIDE_BY_SIDE[figure] for figure in figures), *metrics)
    for each in found.audits:
        cells = [each.stability[figure] for figure in figures]
        table.add_row(
            Text(each.name),
            *(f"{cell.value:.4f} ({cell.low:.4f} to {cell.high:.4f})" for cell in cells),
            *(f"{each.metrics[name].value:.3f}" for name in metrics),
        )
    _show(console, table, [*found.absent.values(), *found.notes], page, comparison_headline(found))


def show_parity(console: "Console", found: Parity, page: Path) -> None:
    """A row for every way of feeding the model, and for every other file."""
    from rich.text import Text

    table = _table(*COLUMNS)
    for row in parity_rows(found):
        table.add_row(*map(Text, row))
    _show(console, table, found.warnings, page, *found.findings)


def _table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _show(console: "Console", table: "Table", notes: Sequence[str], page: Path, *said: str) -> None:
    from rich.text import Text

    console.print(table)
    for sentence in said:
        console.print(sentence, markup=False)
    for note in notes:
        console.print(Text("note:", "bold"), Text(note))
    console.print(f"report: {page}", markup=False)


def _numbers(estimate: Estimate) -> tuple[str, str, str, str]:
    interval = f"{estimate.low:.4f} to {estimate.high:.4f}" if estimate.low == estimate.low else "–"
    return f"{estimate.value:.4f}", interval, str(estimate.images), str(estimate.pairs)
