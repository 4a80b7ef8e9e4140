"""Where objects are in images: boxes from VOC, ImageNet, COCO and CSV files."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.parsers import expat

from shiftable.errors import InputError

if TYPE_CHECKING:
    from shiftable.data.images import Sample

Size = tuple[int, int]

ANNOTATION = "annotation"
"""What the XML of VOC and ImageNet begins with."""

SLACK_PX = 1.0
"""How far an annotation may reach out of its image: counting from 1 or from 0 and rounding make that much."""

LONGEST = 60
"""How many characters of a value an error quotes."""

FORMATS = "give VOC or ImageNet .xml or a folder of them, COCO .json, or a .csv with file,xmin,ymin,xmax,ymax"


@dataclass(frozen=True)
class Box:
    """The upright rectangle around an object, in px of the image from its top-left corner: pixel 0 covers 0 to 1.

    Args:
        x0: Its left edge.
        y0: Its upper edge.
        x1: Its right edge, greater than ``x0``.
        y1: Its lower edge, greater than ``y0``.
        label: What it holds, as annotated.
        image_size: (height, width) in px of the image, as annotated; None where the annotation does not say.
        annotation: The XML file it comes from, without its suffix; in a folder its path there. No part of equality.
    """

    x0: float | int
    y0: float | int
    x1: float | int
    y1: float | int
    label: str | None = None
    image_size: Size | None = None
    annotation: str | None = field(default=None, repr=False, compare=False)


def read_boxes(source: str | Path) -> dict[str, tuple[Box, ...]]:
    """The boxes of an annotation, by the name of the image's file; in a tree of XML files, by its path there.

    Args:
        source: One of these.

            - A VOC ``.xml`` file, or a folder of them, other XML in it being left out. VOC counts pixels from 1, the
              last one included (VOC2012 development kit), so the edges are xmin − 1 and xmax.
            - ImageNet's ``.xml``: the same tags, the database being ILSVRC or ImageNet. There 0 occurs, and a box is
              xmax − xmin + 1 px wide (as the ILSVRC development kit computes overlaps), so the edges are xmin and
              xmax + 1. Where files meant edges instead, the box is 1 px too large, never too small.
            - COCO ``.json``: ``bbox`` is x, y, width, height from 0; crowds are left out.
            - A ``.csv`` with ``file,xmin,ymin,xmax,ymax``, edges from 0, and perhaps ``width,height,label``.

    Returns:
        Image → its boxes, none where it is annotated without. What reaches out of the annotated size by 1 px at most
        is cut off.

    Raises:
        InputError: If there is nothing that can be read, or a box is empty, outside its image or no number.
    """
    path = Path(source)
    if not path.exists():
        raise InputError("no such file or folder", where=source, todo=FORMATS)
    if not path.is_dir() and path.suffix.lower() not in READERS:
        raise InputError(f"unknown format of boxes {path.suffix or path.name!r}", where=source, todo=FORMATS)
    boxes = _xml_folder(path) if path.is_dir() else READERS[path.suffix.lower()](path)
    if not any(boxes.values()):
        raise InputError("there are no boxes in it", where=source, todo=FORMATS)
    return boxes


def box_samples(
    samples: "Iterable[Sample]", boxes: Mapping[str, tuple[Box, ...]], where: object = None
) -> "list[Sample]":
    """The samples with their boxes. One that the annotation does not name stays as it is.

    A file is found by its id, else by its bare name if the annotation and the samples have that once. The name may
    lack its suffix, as ImageNet's do. Where XML files speak of no image that is here, as they do once images were
    renamed, their own names are tried.

    Args:
        samples: The images.
        boxes: As `read_boxes` gives them.
        where: Named in the error: the annotation.

    Raises:
        InputError: If the annotation speaks of other files only.
    """
    samples = list(samples)
    named = Counter(PurePosixPath(name).name for name in boxes)
    by_name = {PurePosixPath(name).name: found for name, found in boxes.items() if named[PurePosixPath(name).name] == 1}
    alike = Counter(PurePosixPath(sample.id).name for sample in samples)

    def found(sample: "Sample") -> tuple[Box, ...] | None:
        name = PurePosixPath(sample.id)
        for key in (sample.id, str(name.with_suffix(""))):
            if key in boxes:
                return boxes[key]
        return by_name.get(name.name, by_name.get(name.stem)) if alike[name.name] == 1 else None

    boxed = [found(sample) for sample in samples]
    own = _by_annotation(samples, boxes)
    if own:
        boxed = [
            own.get(str(PurePosixPath(sample.id).with_suffix(""))) if each is None else each
            for sample, each in zip(samples, boxed, strict=True)
        ]
    if samples and all(each is None for each in boxed):
        raise InputError(
            f"the boxes are for other files ({next(iter(boxes), 'none')}, not {samples[0].id})",
            where=where,
            todo="give the boxes of these images",
        )
    return [
        sample if each is None else replace(sample, boxes=each) for sample, each in zip(samples, boxed, strict=True)
    ]


def _by_annotation(samples: "Iterable[Sample]", boxes: Mapping[str, tuple[Box, ...]]) -> dict[str, tuple[Box, ...]]:
    """The boxes of XML files that name no image that is here, by the XML files' own names without suffix."""
    here = {PurePosixPath(sample.id).name for sample in samples}
    here |= {PurePosixPath(name).stem for name in here}
    stale = [each for name, each in boxes.items() if each and PurePosixPath(name).name not in here]
    return {each[0].annotation: each for each in stale if each[0].annotation is not None}


def _box(
    given: Iterable[Any],
    size: Size | None,
    label: str | None,
    where: object,
    counted: tuple[int, int] = (0, 0),
) -> Box:
    """A checked box.

    Args:
        given: xmin, ymin, xmax, ymax: numbers, or text.
        size: (height, width) of the image as annotated.
        label: What it holds.
        where: Named in errors.
        counted: What makes an edge of a minimum and of a maximum.
    """
    given = list(given)
    words = f"the box ({', '.join(_short(number) for number in given)})"
    try:
        edges = [float(number) for number in given]
    except (TypeError, ValueError, OverflowError):
        edges = []
    if len(edges) != 4 or not all(map(isfinite, edges)):
        raise InputError(f"{words} is not four numbers", where=where, todo="correct it, or take it out")
    (x0, y0), (x1, y1) = (edge + counted[0] for edge in edges[:2]), (edge + counted[1] for edge in edges[2:])
    if x1 <= x0 or y1 <= y0:
        raise InputError(f"{words} is empty", where=where, todo="correct it, or take it out")
    height, width = size or (inf, inf)
    reaches_out = min(x0, y0) < -SLACK_PX or x1 > width + SLACK_PX or y1 > height + SLACK_PX
    if reaches_out or x0 >= width or y0 >= height or min(x1, y1) <= 0:
        outside = "{}×{} px (height × width)".format(*size) if size else "from its top-left corner on"
        raise InputError(f"{words} leaves its image, {outside}", where=where, todo="correct it, or take it out")
    return Box(max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)), label or None, size)


def _short(value: Any) -> str:
    """A value in words that fit into a line, whatever it is."""
    try:
        text = str(value)
    except ValueError:  # Python writes no numbers of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _size(height: Any, width: Any, where: object) -> Size | None:
    """The annotated size, or None where it is left out: absent, empty or 0."""
    if not any((height, width)):
        return None
    try:
        size = _whole(height), _whole(width)
    except (TypeError, ValueError, OverflowError):
        told = f"the image's size {_short(height)}×{_short(width)} is no two whole numbers"
        raise InputError(told, where=where, todo="correct it, or leave it out") from None
    return size if min(size) > 0 else None


def _whole(number: Any) -> int:
    """A whole number, written as one or as 100.0."""
    if not float(number).is_integer():
        raise ValueError(number)
    return int(float(number))


def _xml_folder(root: Path) -> dict[str, tuple[Box, ...]]:
    within = sorted((path.relative_to(root), path) for path in root.rglob("*.[xX][mM][lL]") if path.is_file())
    boxes: dict[str, tuple[Box, ...]] = {}
    foreign: InputError | None = None
    for name, path in within:
        if any(part.startswith(".") for part in name.parts):
            continue
        tree = _xml_tree(path)
        if tree.tag != ANNOTATION:
            foreign = foreign or _no_annotation(tree, path)
            continue
        for image, found in _annotated(tree, path).items():
            key = str(PurePosixPath(*name.parent.parts, image))
            if key in boxes:
                raise InputError(f"{key} is annotated twice", where=path, todo="leave one")
            own = str(PurePosixPath(*name.with_suffix("").parts))
            boxes[key] = tuple(replace(box, annotation=own) for box in found)
    if not boxes and foreign:
        raise foreign
    if not boxes:
        raise InputError("no .xml files in it", where=root, todo=FORMATS)
    return boxes


def _xml(path: Path) -> dict[str, tuple[Box, ...]]:
    """One file of VOC or ImageNet."""
    root = _xml_tree(path)
    if root.tag != ANNOTATION:
        raise _no_annotation(root, path)
    return _annotated(root, path)


def _no_annotation(root: ElementTree.Element, path: Path) -> InputError:
    return InputError(f"no VOC annotation (it begins with <{_short(root.tag)}>)", where=path, todo=FORMATS)


def _annotated(root: ElementTree.Element, path: Path) -> dict[str, tuple[Box, ...]]:
    size = _size(root.findtext("size/height"), root.findtext("size/width"), path)
    database = f"{root.findtext('source/database')} {root.findtext('database')}".lower()
    counted = (0, 1) if "ilsvrc" in database or "imagenet" in database else (-1, 0)

    boxes = []
    for number, thing in enumerate(root.iterfind("object"), start=1):
        where = f"{path}, object {number}"
        if thing.find("bndbox") is None:
            raise InputError("it has no bndbox", where=where, todo="add it, or take the object out")
        edges = [(thing.findtext(f"bndbox/{name}") or "").strip() for name in ("xmin", "ymin", "xmax", "ymax")]
        box = _box(edges, size, (thing.findtext("name") or "").strip(), where, counted)
        boxes.append(replace(box, annotation=path.stem))
    name = _with_slashes(root.findtext("filename") or "").rpartition("/")[2]
    return {path.stem if name in ("", "%s") else name: tuple(boxes)}  # ImageNet has files that are called %s


def _with_slashes(name: str) -> str:
    """A file's name as ids have it, whatever system wrote it."""
    return name.strip().replace("\\", "/")


def _xml_tree(path: Path) -> ElementTree.Element:
    """A parsed file, its tags without their namespaces.

    One that declares entities is refused: they can make a small file fill the memory.
    """

    def refuse(*_: object) -> None:
        raise InputError("it declares entities, which no annotation needs", where=path, todo="take the DOCTYPE out")

    try:
        content = path.read_bytes()
        checker = expat.ParserCreate()
        checker.EntityDeclHandler = refuse
        checker.Parse(content, True)
        root = ElementTree.fromstring(content)
    except (OSError, ElementTree.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        raise InputError(f"no readable XML ({error})", where=path, todo=FORMATS) from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _coco(path: Path) -> dict[str, tuple[Box, ...]]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"no readable JSON ({error})", where=path, todo=FORMATS) from None
    if not isinstance(content, dict) or not {"images", "annotations"} <= set(content):
        raise InputError("no COCO file: images and annotations are missing", where=path, todo=FORMATS)
    images: dict[Any, dict[str, Any]] = {}
    for entry in _entries(content, "images", ("id", "file_name"), path):
        if entry["id"] in images:
            told = f"the image id {_short(entry['id'])} is there twice"
            raise InputError(told, where=f"{path}, images", todo="give every image its own")
        images[entry["id"]] = entry
    labels = {entry["id"]: str(entry["name"]) for entry in _entries(content, "categories", ("id", "name"), path)}
    found: dict[Any, list[Box]] = {number: [] for number in images}
    for at, entry in enumerate(_entries(content, "annotations", ("image_id", "bbox"), path)):
        where = f"{path}, annotations[{at}]"
        if entry.get("iscrowd"):
            continue
        if entry["image_id"] not in images:
            raise InputError(f"there is no image {_short(entry['image_id'])}", where=where, todo="add it to images")
        category = entry.get("category_id")
        if labels and category not in labels:
            raise InputError(f"there is no category {_short(category)}", where=where, todo="add it to categories")
        image = images[entry["image_id"]]
        bbox, size = entry["bbox"], _size(image.get("height"), image.get("width"), where)
        if not isinstance(bbox, list) or [type(number) in (int, float) for number in bbox] != [True] * 4:
            raise InputError(f"bbox {_short(bbox)} is not four numbers", where=where, todo="give [x, y, width, height]")
        box = _box(_corners(bbox, where), size, labels.get(category), where)
        found[entry["image_id"]].append(box)
    boxes: dict[str, tuple[Box, ...]] = {}
    for number, image in images.items():
        name = _with_slashes(str(image["file_name"]))
        if name in boxes:
            raise InputError(f"{name} is there twice", where=f"{path}, images", todo="leave one")
        boxes[name] = tuple(found[number])
    return boxes


def _corners(bbox: list[float | int], where: str) -> tuple[float | int, ...]:
    """xmin, ymin, xmax, ymax of x, y, width, height."""
    x, y, width, height = bbox
    try:
        return x, y, x + width, y + height
    except OverflowError:  # a whole number that is no float, and one with a point
        raise InputError(
            f"bbox {_short(bbox)} is not four numbers", where=where, todo="give [x, y, width, height]"
        ) from None


def _entries(content: Mapping[str, Any], name: str, keys: tuple[str, ...], path: Path) -> Iterator[dict[str, Any]]:
    """The entries of one of a COCO file's lists, checked for what they must have."""
    entries = content.get(name, [])
    if not isinstance(entries, list):
        raise InputError(f"{name} is no list", where=path, todo=FORMATS)
    for at, entry in enumerate(entries):
        missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise InputError(f"{' and '.join(missing)} missing", where=f"{path}, {name}[{at}]", todo="add it")
        if any(isinstance(entry.get(key), list | dict) for key in ("id", "image_id", "category_id")):
            raise InputError("an id is no number", where=f"{path}, {name}[{at}]", todo="give a number")
        yield entry


def _table(path: Path) -> dict[str, tuple[Box, ...]]:
    needed = ("xmin", "ymin", "xmax", "ymax")
    boxes: dict[str, list[Box]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            columns = rows.fieldnames = [name.strip() for name in rows.fieldnames or []]
            missing = [name for name in ("file", *needed) if name not in columns]
            if missing:
                raise InputError(
                    f"the columns are {', '.join(columns) or 'none'}", where=path, todo=f"add {', '.join(missing)}"
                )
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                name = _with_slashes(row["file"] or "")
                if not name:
                    raise InputError("no file is named", where=where, todo="name it, or take the line out")
                size = _size(row.get("height"), row.get("width"), where)
                box = _box([row[edge] for edge in needed], size, row.get("label"), where)
                boxes.setdefault(name, []).append(box)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"can't be read ({error})", where=path, todo=FORMATS) from None
    return {name: tuple(found) for name, found in boxes.items()}


READERS = {".xml": _xml, ".json": _coco, ".csv": _table}
"""Which file is read how."""
