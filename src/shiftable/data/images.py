"""The images an audit looks at: a file, a folder, an ImageFolder tree, a CSV, or parquet in the Hugging Face layout.

Listing reads names only. Pixels are read one image at a time, by whoever needs them, and as a viewer would show them.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from shiftable.data.boxes import Box
from shiftable.data.decoding import Picture, decode, read_file
from shiftable.errors import InputError

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp", ".avif"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".tga", ".ico"),
    )
)

LAYOUT = "give image = {bytes, path} and label, a class's index"


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Args:
        id: Its name, unique in the data set and the same on every machine.
        label: The index of its class, or None where it is not known.
        read: Gives its pixels: RGB, uint8. Can be pickled. Raises InputError where they can't be read.
        boxes: Where its objects are, or None where that is not known.
    """

    id: str
    label: int | None
    read: Callable[[], Picture]
    boxes: tuple[Box, ...] | None = None


def list_samples(source: str | Path) -> list[Sample]:
    """The images that ``source`` names, in a fixed order.

    Args:
        source: An image file; a folder, searched to the bottom but for what is hidden; a ``.csv`` with columns
            ``file,class_index`` (files relative to it); a ``.parquet`` file or a folder of them in the Hugging Face
            layout (``image`` = {bytes, path}, ``label``).

    Raises:
        InputError: If there is nothing there, or nothing that looks like an image.
    """
    path = Path(source)
    if not path.exists():
        raise InputError("no such file or folder", where=source, todo="give images: a folder, a file, CSV or parquet")
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() == ".csv":
        return [
            Sample(name, label, partial(read_file, path.parent / name)) for name, label in read_labels(path).items()
        ]
    if path.suffix.lower() == ".parquet":
        return _parquet([path])
    return [Sample(path.name, None, partial(read_file, path))]


def _folder(root: Path) -> list[Sample]:
    within = [(path.relative_to(root), path) for path in root.rglob("*") if path.is_file()]
    seen = [(name, path) for name, path in within if not any(part.startswith(".") for part in name.parts)]
    files = sorted((name.as_posix(), path) for name, path in seen)  # by name as written: the same order everywhere
    images = [(name, path) for name, path in files if path.suffix.lower() in SUFFIXES]
    if images:
        return [Sample(name, None, partial(read_file, path)) for name, path in images]
    tables = [path for _, path in files if path.suffix.lower() == ".parquet"]
    if tables:
        return _parquet(tables)
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    found = f"only {files[0][0]}{more}" if files else "it is empty"
    raise InputError(f"no images ({found})", where=root, todo="give a folder that holds .jpg or .png files")


def label_by_folder(samples: Iterable[Sample], classes: int) -> tuple[list[Sample], str | None]:
    """Labels from an ImageFolder tree, where they can be known.

    They can where all folders are named by the numbers of classes, or where there is one folder per class: then the
    folders are the classes in the order of their names.

    Args:
        samples: Images without labels, ids being paths.
        classes: How many classes the model tells apart.

    Returns:
        The samples, labelled or as they were, and a sentence if there are class folders that say nothing to this model.
    """
    samples = list(samples)
    folders = sorted({sample.id.partition("/")[0] for sample in samples})
    if any("/" not in sample.id or sample.label is not None for sample in samples) or len(folders) < 2:
        return samples, None
    if all(name.isdecimal() and int(name) < classes for name in folders):
        index = {name: int(name) for name in folders}
    elif len(folders) == classes:
        index = {name: number for number, name in enumerate(folders)}
    else:
        return samples, (
            f"{len(folders)} class folders but the model has {classes} classes: no labels taken from them "
            "(--labels FILE gives them)"
        )
    return [replace(sample, label=index[sample.id.partition("/")[0]]) for sample in samples], None


def label_by_table(samples: Iterable[Sample], labels: Mapping[str, int], where: object) -> list[Sample]:
    """The samples with labels from a table of ``file, class_index``.

    A file is found by its id, else by its bare name if the table has that once.

    Raises:
        InputError: If the table speaks of other files only, or leaves some of these out.
    """
    samples = list(samples)
    names = Counter(Path(name).name for name in labels)
    by_name = {Path(name).name: label for name, label in labels.items() if names[Path(name).name] == 1}
    found = [labels.get(sample.id, by_name.get(Path(sample.id).name)) for sample in samples]
    missing = [sample.id for sample, label in zip(samples, found, strict=True) if label is None]
    if len(missing) == len(samples):
        raise InputError(
            f"the labels are for other files ({next(iter(labels), 'none')}, not {samples[0].id})",
            where=where,
            todo="give the labels of these images",
        )
    if missing:
        raise InputError(
            f"{len(missing)} of {len(samples)} images have no label ({missing[0]})",
            where=where,
            todo="add them, or take them out of the images",
        )
    return [replace(sample, label=label) for sample, label in zip(samples, found, strict=True)]


def check_labels(samples: Iterable[Sample], classes: int, where: object) -> None:
    """Raises InputError for the first label that the model has no class for."""
    for sample in samples:
        if sample.label is not None and not 0 <= sample.label < classes:
            raise InputError(
                f"label {sample.label} of {sample.id} is out of range",
                where=where,
                todo=f"the model's classes are 0 to {classes - 1}",
            )


def read_labels(path: str | Path) -> dict[str, int]:
    """A table of labels: a CSV with the columns ``file`` and ``class_index``, others ignored.

    Raises:
        InputError: For a missing file or column, a class that is no number, a file named twice.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or []
            if not {"file", "class_index"} <= set(columns):
                raise InputError(
                    f"the columns are {', '.join(columns) or 'none'}",
                    where=path,
                    todo="name two of them file and class_index",
                )
            labels: dict[str, int] = {}
            for row in rows:
                name, place = row["file"], f"{path}, line {rows.line_num}"
                if not name:
                    raise InputError("no file is named", where=place, todo="name it, or take the line out")
                if name in labels:
                    raise InputError(f"{name} is there twice", where=place, todo="leave one")
                try:
                    labels[name] = int(row["class_index"])
                except (TypeError, ValueError):
                    raise InputError(
                        f"class_index {row['class_index']!r} is no whole number",
                        where=place,
                        todo="give the class's index",
                    ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"can't be read ({error})", where=path, todo="give a CSV with file,class_index") from None
    if not labels:
        raise InputError("the table has no rows", where=path, todo="give a CSV with file,class_index")
    return labels


def _parquet(tables: list[Path]) -> list[Sample]:
    samples = [sample for table in tables for sample in _rows(table)]
    if not samples:
        raise InputError("the table has no rows", where=tables[0], todo="give a table of images")
    seen = Counter(sample.id for sample in samples)
    # an id with # gets another number as well, so that it can't be what one of the others becomes
    return [
        sample if seen[sample.id] == 1 and "#" not in sample.id else replace(sample, id=f"{sample.id}#{number}")
        for number, sample in enumerate(samples)
    ]


def _rows(table: Path) -> Iterator[Sample]:
    """The rows of one table, named by their paths, or by the table where they have none."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(table) as file:
            names = file.schema_arrow.names
            if "image" not in names:
                raise InputError(f"the columns are {', '.join(names) or 'none'}", where=table, todo=LAYOUT)
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, columns=["image.path", *(["label"] if "label" in names else [])])
                paths = pc.struct_field(rows["image"], "path").to_pylist()
                labels = rows["label"].to_pylist() if "label" in names else [None] * len(paths)
                for row, (path, label) in enumerate(zip(paths, labels, strict=True)):
                    if not isinstance(label, int | None):
                        raise InputError(f"label {label!r} is no whole number", where=table, todo=LAYOUT)
                    yield Sample(path or table.stem, label, partial(read_row, table, group, row))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"no image table ({first})", where=table, todo=LAYOUT) from None


def read_row(table: Path, group: int, row: int) -> Picture:
    """The pixels of one row of an image table. Memory holds the two row groups that were read last.

    Raises:
        InputError: If the table can't be read any more, or the row holds no readable image.
    """
    name = f"{table}, row {row} of group {group}"
    try:
        content = _row_group(table, group)[row].as_py()
    except (OSError, ValueError, IndexError) as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"the table can't be read any more ({first})", where=name) from None
    if not content or not content["bytes"]:
        raise InputError("the row holds no image bytes", where=name)
    return decode(content["bytes"], name)


@lru_cache(maxsize=2)
def _row_group(table: Path, group: int) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(table) as file:
        return file.read_row_group(group, columns=["image"])["image"]
