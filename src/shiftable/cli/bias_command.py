"""``shiftable bias``."""

from pathlib import Path
from typing import Annotated

import typer

from shiftable.cli import options
from shiftable.cli.opening import one_of
from shiftable.cli.telling import tell


def bias(
    annotations: Annotated[
        Path, typer.Argument(help="VOC or ImageNet .xml or a folder of them, COCO .json, or CSV (file,xmin,ymin,…).")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for the results. [default: biases/NAME]")] = None,
    seed: options.Seed = 0,
    format: options.Format = "text",
) -> None:
    """Where a data set's objects are, and how large: a net learns to expect them there.

    Tests positions and sizes against no preference, with effect sizes, for all boxes and class by class.
    """
    one_of("--format", format, ("text", "json"))
    from shiftable import report
    from shiftable.bias import bias as bias_of
    from shiftable.data import read_boxes

    found = bias_of(read_boxes(annotations), seed=seed)
    page = report.write_bias(found, out or Path("biases", annotations.stem), annotations.name)
    tell(found, format, lambda console: report.show_bias(console, found, page))
