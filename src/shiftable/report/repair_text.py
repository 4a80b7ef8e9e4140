"""What the command line prints of a repair, and of a plan before anything is measured."""

from pathlib import Path
from typing import TYPE_CHECKING

from shiftable.repairing.candidates import Candidate
from shiftable.repairing.proposing import Proposed
from shiftable.repairing.repair import Repair
from shiftable.report import repair_words
from shiftable.report.compare_words import points

if TYPE_CHECKING:
    from rich.console import Console


def show_repair(console: "Console", repair: Repair, page: Path) -> None:
    """A sentence, what was done, a row for every candidate, the notes.

    Args:
        console: Where to print.
        repair: What was done.
        page: Where its page is.
    """
    from rich.table import Table
    from rich.text import Text

    console.print(Text(repair_words.headline(repair), "bold"))
    console.print(Text(repair_words.basis(repair)))
    console.print()
    for sentence in repair_words.done(repair.plan):
        console.print(Text(f"→ {sentence}"))
    console.print()
    table = Table(box=None, pad_edge=False)
    for column in ("candidate", "changed", "removed, points", "MAC", "time", "agreement", "accuracy, points"):
        table.add_column(column, overflow="fold")
    chosen = {each.name for each in repair.steps}
    for each in (*repair.candidates, *repair.combined):
        name = Text(f"{each.name} ✓" if each.name in chosen else each.name)
        table.add_row(name, *map(Text, _cells(each)))
    console.print(table)
    for what, why in repair.left_out.items():
        console.print(Text(f"not measured: {what} ({why})", "dim"))
    for remark in repair.remarks:
        console.print(Text("note:", "bold"), Text(remark))
    console.print(f"report: {page}", markup=False, highlight=False)


def _cells(each: Candidate) -> tuple[str, ...]:
    right, removed = each.accuracy_change, each.flips_removed
    return (
        f"{100 * each.flips.value:.2f} %",
        f"{points(removed.value)} ({points(removed.low)} to {points(removed.high)})",
        f"{each.mac.value:.4f}",
        repair_words.ratio(each.time_ratio.value),
        repair_words.share(each.agreement.value),
        "–" if right is None else points(right.value),
    )


def show_proposed(console: "Console", proposed: Proposed) -> None:
    """The dry run: the sites of the net, and the candidates.

    Args:
        console: Where to print.
        proposed: What would be measured.
    """
    from rich.table import Table
    from rich.text import Text

    if proposed.sites:
        table = Table(box=None, pad_edge=False)
        for column in ("site", "type", "kernel", "stride", "size", "phase", "would become"):
            table.add_column(column, overflow="fold")
        for each in proposed.sites:
            window = each.site.window
            kernel, stride, before, after = (
                "×".join(map(str, pair))
                for pair in (window.kernel, window.stride, window.input_size, window.output_size)
            )
            y, x = each.phase
            becomes = f"refused: {each.refused}" if each.refused else each.becomes or "stays"
            cells = (each.site.name, each.site.type, kernel, stride, f"{before} → {after}", f"({y:g}, {x:g})", becomes)
            table.add_row(*map(Text, cells))
        console.print(table)
        console.print()
    console.print(Text("candidates", "bold"))
    for name in proposed.plans:
        console.print(Text(f"  {name}"))
    for name, why in proposed.refused.items():
        console.print(Text(f"not possible: {name} ({why})", "dim"))
