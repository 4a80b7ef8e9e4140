"""What the command line prints of a diagnosis: what was found, worst first, and the sites in a compact table."""

from pathlib import Path
from typing import TYPE_CHECKING

from shiftable.explaining.diagnosis import Diagnosis
from shiftable.report import explain_words
from shiftable.report.explain_words import figure, interval, pair

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show_diagnosis(console: "Console", diagnosis: Diagnosis, page: Path) -> None:
    """A sentence, the findings, a row for every site, the remarks.

    Args:
        console: Where to print.
        diagnosis: What was found.
        page: Where its page is.
    """
    from rich.padding import Padding
    from rich.text import Text

    console.print(Text(explain_words.headline(diagnosis, explain_words.model_name(diagnosis.spec)), "bold"))
    for number, each in enumerate(diagnosis.findings, start=1):
        title = explain_words.CAUSES.get(each.cause, each.cause) + (f": {each.site}" if each.site else "")
        within = interval(each, each.unit)
        console.print()
        console.print(Text(f"{number}. {title}  {figure(each.value, each.unit)}", "bold"),
                      Text(f"({within})" if within else ""))  # fmt: skip
        console.print(Padding(Text(each.words), (0, 0, 0, 3)))
        console.print(Padding(Text(f"→ {each.remedy}"), (0, 0, 0, 3)))
    if diagnosis.structure is not None and diagnosis.structure.sites:
        console.print()
        console.print(_sites(diagnosis))
    console.print()
    for remark in explain_words.unseen(diagnosis):
        console.print(Text("note:", "bold"), Text(remark))
    console.print(f"report: {page}", markup=False, highlight=False)


def _sites(diagnosis: Diagnosis) -> "Table":
    """The sites, each with what its spectrum and its intervention say."""
    from rich.table import Table
    from rich.text import Text

    assert diagnosis.structure is not None
    beyond = {each.site: figure(each.aliased.value, "%") for each in diagnosis.spectra}
    removed = {each.sites[0]: figure(each.flips_removed.value, "%") for each in diagnosis.interventions
               if len(each.sites) == 1}  # fmt: skip
    table = Table(box=None, pad_edge=False)
    columns = ["site", "stride", "grid, px", "blurred by"]
    columns += ["beyond limit"] if beyond else []
    columns += ["flips removed"] if removed else []
    for column in columns:
        table.add_column(column, overflow="fold")
    for each in diagnosis.structure.sites:
        after = (each.stride_before_px[0] * each.stride[0], each.stride_before_px[1] * each.stride[1])
        row = [each.name, pair(each.stride), pair(after), each.blur or "nothing"]
        row += [beyond.get(each.name, "–")] if beyond else []
        row += [removed.get(each.name, "–")] if removed else []
        table.add_row(*map(Text, row))
    return table
