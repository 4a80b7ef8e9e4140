"""What a study is: arms that are measured one by one, the rows that they give, and what these show."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from shiftable.errors import InputError

Cell: TypeAlias = str | int | float | None
Row: TypeAlias = Mapping[str, Cell]
Arm: TypeAlias = Mapping[str, Cell]
"""What tells one part of an experiment from the others: its net, filter, seed, … Each of its rows begins with these."""

Scale: TypeAlias = Literal["quick", "usual", "full"]
"""A minute, for tests; at most 45 minutes on two cores; what a GPU is for."""

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Setting:
    """In what setting a study is run.

    Args:
        scale: How much is measured.
        shared: The folder with ``models/`` and ``data/``; None where there is none.
        seed: Of what is drawn at random and is no arm's own.
        folder: Where pictures go, and what may be found again when a study goes on.
        nets: Where trained nets are kept, and found again by other studies.
    """

    scale: Scale
    shared: Path | None
    seed: int
    folder: Path
    nets: Path

    def pick(self, quick: Choice, usual: Choice, full: Choice | None = None) -> Choice:
        """What belongs to the scale; a full study takes the usual where nothing else is said."""
        by_scale: dict[Scale, Choice] = {"quick": quick, "usual": usual, "full": usual if full is None else full}
        return by_scale[self.scale]

    def find(self, *parts: str) -> Path:
        """A file or folder among the shared ones.

        Raises:
            InputError: If it is not there.
        """
        todo = "give the folder that holds models/ and data/ by --shared"
        if self.shared is None:
            raise InputError(f"this study needs {'/'.join(parts)}", where="the study", todo=todo)
        path = self.shared.joinpath(*parts)
        if not path.exists():
            raise InputError("is not there", where=path, todo=todo)
        return path


@dataclass(frozen=True)
class Lines:
    """One column against another, a line for each value of a third.

    Rows that share a place on a line are its seeds, or repetitions: their mean is drawn, with a 95 % interval of t; of
    rows by themselves the interval is that of the columns ``{y}_low`` and ``{y}_high``, where the table has them.

    Args:
        title: What stands above.
        x: The column across.
        y: The column upwards.
        by: The column whose values make lines; None makes one.
        where: Only rows with these values.
        x_words: What stands below.
        y_words: What stands beside.
        percent: Whether y is a share.
        log_x: Whether x is drawn on a logarithmic axis.
        log_y: Whether y is.
        joined: Whether points are joined.
        from_zero: Whether y begins at 0; else it is drawn around its values.
    """

    title: str
    x: str
    y: str
    by: str | None = None
    where: Arm = field(default_factory=dict)
    x_words: str = ""
    y_words: str = ""
    percent: bool = False
    log_x: bool = False
    log_y: bool = False
    joined: bool = True
    from_zero: bool = True


@dataclass(frozen=True)
class Bars:
    """One column, a bar for each value of another. Intervals as of `Lines`.

    Args:
        title: What stands above.
        value: The column that is drawn.
        by: The column whose values make bars.
        where: Only rows with these values.
        words: What stands below.
        percent: Whether it is a share.
    """

    title: str
    value: str
    by: str
    where: Arm = field(default_factory=dict)
    words: str = ""
    percent: bool = False


@dataclass(frozen=True)
class Pictures:
    """Pictures in a row, from files that the study wrote.

    Args:
        title: What stands above.
        files: Names in ``pictures/`` of the study's folder.
        captions: A line for each.
    """

    title: str
    files: tuple[str, ...]
    captions: tuple[str, ...]


Panel: TypeAlias = Lines | Bars | Pictures


@dataclass(frozen=True)
class Figure:
    """What belongs together.

    Args:
        name: Of the file, and of the place on the page.
        title: What it shows.
        panels: In their order.
        columns: How many stand side by side where there is room.
        caption: What to see in it.
    """

    name: str
    title: str
    panels: tuple[Panel, ...]
    columns: int = 2
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Rows for a reader: numbers are means over seeds, with their intervals.

    Args:
        title: What stands above.
        by: The columns that tell its rows apart.
        columns: Column of the study's rows → heading.
        where: Only rows with these values.
        percent: Which of the columns are shares.
        rows: Other rows than the study's.
    """

    title: str
    by: tuple[str, ...]
    columns: Mapping[str, str]
    where: Arm = field(default_factory=dict)
    percent: tuple[str, ...] = ()
    rows: Sequence[Row] | None = None


@dataclass(frozen=True)
class Told:
    """What a study's rows show.

    Args:
        answer: The question's answer, one sentence with its number.
        findings: A sentence or two each; what contradicts the paper or the field as well.
        figures: In their order.
        tables: In their order.
    """

    answer: str
    findings: tuple[str, ...]
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Study:
    """One experiment.

    Args:
        name: As on the command line.
        title: Of its page.
        question: What it asks.
        method: How it goes about it, for a reader: sentences.
        published: What others found, with source; "" where nobody asked.
        arms: What is measured, one after the other; each is kept, so that a study that is stopped goes on.
        measure: The rows of one arm, without the arm's own columns.
        tell: What all rows together show. Also called with those of a quick run.
        limits: What it does not show.
    """

    name: str
    title: str
    question: str
    method: tuple[str, ...]
    published: str
    arms: Callable[[Setting], Sequence[Arm]]
    measure: Callable[[Arm, Setting], Iterable[Row]]
    tell: Callable[[Sequence[Row]], Told]
    limits: tuple[str, ...] = ()
