"""Boxes: every format says the same of the same box, and what can't be meant is refused in one line."""

import json
from textwrap import dedent

import numpy as np
import pytest

from shiftable.data import Box, Sample, box_samples, list_samples, read_boxes
from shiftable.errors import InputError

HEIGHT, WIDTH = 319, 450
EDGES = [(10, 20, 200, 119, "kangaroo"), (0, 0, 450, 319, "field")]
"""Two boxes by their edges from 0: x0, y0, x1, y1, label. The second is the whole image."""


def voc(filename="a.jpg", edges=EDGES, size=(WIDTH, HEIGHT), database="The VOC2012 Database", counted=(1, 0), head=""):
    """A VOC file. Counted from 1, the last pixel included, an edge x0 is written x0 + 1, and x1 is written x1."""
    objects = "".join(
        f"<object><name>{label}</name><part><name>ear</name><bndbox><xmin>1</xmin></bndbox></part><bndbox>"
        f"<xmax>{x1 + counted[1]}</xmax><ymax>{y1 + counted[1]}</ymax>"
        f"<xmin>{x0 + counted[0]}</xmin><ymin>{y0 + counted[0]}</ymin></bndbox></object>"
        for x0, y0, x1, y1, label in edges
    )
    sized = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    return (
        f"{head}<annotation><folder>x</folder><filename>{filename}</filename>"
        f"<source><database>{database}</database></source>{sized}{objects}</annotation>"
    )


def coco(edges=EDGES, **changes):
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT},
                   {"id": 8, "file_name": "empty.jpg", "width": 5, "height": 5}],
        "categories": [{"id": 3, "name": "kangaroo"}, {"id": 4, "name": "field"}],
        "annotations": [
            {"image_id": 7, "category_id": 3 if label == "kangaroo" else 4, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            for x0, y0, x1, y1, label in edges
        ],
    }  # fmt: skip
    return json.dumps({**content, **changes})


def table(edges=EDGES):
    rows = [f"a.jpg,{x0},{y0},{x1},{y1},{WIDTH},{HEIGHT},{label}" for x0, y0, x1, y1, label in edges]
    return "\n".join(["file,xmin,ymin,xmax,ymax,width,height,label", *rows])


@pytest.fixture
def written(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_every_format_says_the_same_of_the_same_boxes(written):
    expected = tuple(Box(*edges, (HEIGHT, WIDTH)) for edges in EDGES)
    assert read_boxes(written("a.xml", voc()))["a.jpg"] == expected
    assert read_boxes(written("a.json", coco()))["a.jpg"] == expected
    assert read_boxes(written("a.csv", table()))["a.jpg"] == expected
    imagenet = voc("n01_1", database="ILSVRC_2014", counted=(0, -1))  # from 0, the last pixel included
    assert read_boxes(written("b.xml", imagenet))["n01_1"] == expected
    assert read_boxes(written("folder/a.xml", voc()).parent)["a.jpg"] == expected
    assert read_boxes(written("u.xml", voc().encode("utf-16")))["a.jpg"] == expected


def test_imagenets_boxes_may_touch_0_and_the_width(written):
    whole = voc(edges=[(0, 0, WIDTH, HEIGHT, "n01")], database="ImageNet", counted=(0, 0))
    (box,) = read_boxes(written("a.xml", whole))["a.jpg"]
    assert (box.x0, box.y0, box.x1, box.y1) == (0, 0, WIDTH, HEIGHT)


def test_a_box_of_one_pixel_is_a_box_in_voc(written):
    (box,) = read_boxes(written("a.xml", voc(edges=[(4, 9, 5, 10, "dot")])))["a.jpg"]
    assert (box.x0, box.y0, box.x1, box.y1) == (4, 9, 5, 10)


def test_crowds_are_left_out_and_images_without_boxes_are_known(written):
    crowd = {"image_id": 8, "category_id": 3, "iscrowd": 1, "bbox": [0, 0, 0, 0], "segmentation": {"counts": []}}
    plain = json.loads(coco())
    boxes = read_boxes(written("a.json", coco(annotations=[*plain["annotations"], crowd])))
    assert boxes["empty.jpg"] == ()
    assert len(boxes["a.jpg"]) == 2


def test_sizes_may_be_left_out(written):
    for size in (None, (0, 0)):
        (box, _) = read_boxes(written("a.xml", voc(size=size)))["a.jpg"]
        assert box.image_size is None
    assert read_boxes(written("a.csv", "file,xmin,ymin,xmax,ymax\nb.png,1,2,3,4.5"))["b.png"] == (Box(1, 2, 3, 4.5),)


def test_names_come_from_the_xml_file_where_it_does_not_say(written):
    assert list(read_boxes(written("n01_2.xml", voc("%s", database="ILSVRC")))) == ["n01_2"]
    assert list(read_boxes(written("c.xml", voc("somewhere\\else\\d.jpg")))) == ["d.jpg"]


def test_a_tree_of_xml_files_keeps_its_folders(written):
    written("tree/one/a.xml", voc("a.jpg"))
    written("tree/.hidden/a.xml", "nothing")
    written("tree/two/A.XML", voc("a.jpg"))
    assert sorted(read_boxes(written("tree/two/A.XML", voc("a.jpg")).parents[1])) == ["one/a.jpg", "two/a.jpg"]


BAD = {
    "empty box": ("a.csv", table([(5, 5, 5, 9, "x")]), r"a\.csv, line 2: the box \(5, 5, 5, 9\) is empty"),
    "turned box": ("a.csv", table([(1, 1, 2, 2, "x"), (9, 5, 5, 9, "x")]), r"line 3: .* is empty"),
    "outside": ("a.csv", table([(5, 5, 452, 9, "x")]), r"line 2: .* leaves its image, 319×450 px"),
    "negative": ("a.csv", table([(-2, 5, 45, 9, "x")]), r"leaves its image"),
    "no number": ("a.csv", table([("wide", 5, 45, 9, "x")]), r"line 2: the box \(wide, 5, 45, 9\) is not four numbers"),
    "NaN": ("a.csv", table([("nan", 5, 45, 9, "x")]), r"not four numbers"),
    "infinite": ("a.csv", table([(0, 5, "inf", 9, "x")]), r"not four numbers"),
    "short line": ("a.csv", "file,xmin,ymin,xmax,ymax\na.jpg,1,2,3", r"line 2: .* not four numbers"),
    "column": ("a.csv", "file,xmin,ymin,xmax\na.jpg,1,2,3", r"the columns are file, xmin, ymin, xmax; add ymax"),
    "no name": ("a.csv", "file,xmin,ymin,xmax,ymax\n,1,2,3,4", r"line 2: no file is named"),
    "size": ("a.csv", "file,xmin,ymin,xmax,ymax,width,height\na,1,2,3,4,big,5", r"line 2: the image's size 5×big"),
    "no rows": ("a.csv", "file,xmin,ymin,xmax,ymax\n", r"there are no boxes in it"),
    "bytes": ("a.csv", b"file,xmin,ymin,xmax,ymax\n\xff", r"can't be read"),
    "format": ("a.txt", "1 2 3 4", r"unknown format of boxes '\.txt'"),
    "no XML": ("a.xml", "<annotation><object>", r"a\.xml: no readable XML"),
    "other XML": ("a.xml", "<svg/>", r"it begins with <svg>"),
    "XML object": ("a.xml", voc().replace(">200<", "><", 1), r"a\.xml, object 1: .* is not four numbers"),
    "XML without": ("a.xml", "<annotation><object/></annotation>", r"object 1: it has no bndbox"),
    "XML no boxes": ("a.xml", "<annotation/>", r"there are no boxes in it"),
    "no JSON": ("a.json", "{", r"no readable JSON"),
    "deep JSON": ("a.json", "[" * 100_000, r"no readable JSON"),
    "list": ("a.json", "[]", r"no COCO file"),
    "COCO lists": ("a.json", coco(images={}), r"images is no list"),
    "COCO image": ("a.json", coco(images=[{"id": 9, "file_name": "b"}]), r"annotations\[0\]: there is no image 7"),
    "COCO class": ("a.json", coco(categories=[{"id": 9, "name": "b"}]), r"annotations\[0\]: there is no category 3"),
    "COCO keys": ("a.json", coco(annotations=[{"bbox": [1, 2, 3, 4]}]), r"annotations\[0\]: image_id missing"),
    "COCO box": ("a.json", coco(annotations=[{"image_id": 7, "category_id": 3, "bbox": [1, 2, "3", 4]}]), r"four num"),
    "COCO NaN": ("a.json", coco(edges=[(1, 2, float("nan"), 4, "field")]), r"annotations\[0\]: .* not four numbers"),
    "COCO huge": ("a.json", coco(edges=[(1, 2, 10**400, 4, "field")]), r"annotations\[0\]: .* not four numbers"),
    "COCO flat": ("a.json", coco(edges=[(1, 2, 9, 2, "field")]), r"annotations\[0\]: .* is empty"),
    "COCO id": ("a.json", coco(images=[{"id": [7], "file_name": "a"}]), r"images\[0\]: an id is no number"),
    "COCO two ids": ("a.json", coco(images=[{"id": 7, "file_name": n} for n in "ab"]), r"image id 7 is there twice"),
    "COCO inf": ("a.json", coco(images=[{"id": 7, "file_name": "a", "width": float("inf"), "height": 3}]), r"whole"),
    "COCO twice": ("a.json", coco(images=[{"id": n, "file_name": "a"} for n in (7, 8)]), r"a is there twice"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "text", "says"), BAD.values(), ids=BAD)
def test_what_can_not_be_meant_is_refused_in_one_line(name, text, says, written):
    with pytest.raises(InputError, match=says) as caught:
        read_boxes(written(name, text))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_folders_without_annotations_and_names_of_nothing_are_refused(tmp_path, written):
    with pytest.raises(InputError, match=r"no \.xml files in it"):
        read_boxes(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        read_boxes(tmp_path / "nothing")
    written("a.xml", voc())
    with pytest.raises(InputError, match=r"b\.xml: a\.jpg is annotated twice"):
        read_boxes(written("b.xml", voc()).parent)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_they_grow(encoding, written):
    lines = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    bomb = dedent(f"""\
        <?xml version="1.0" encoding="{encoding}"?>
        <!DOCTYPE annotation [<!ENTITY e0 "boom">{lines}]>
        <annotation><filename>&e11;</filename></annotation>""")
    with pytest.raises(InputError, match="it declares entities"):
        read_boxes(written("a.xml", bomb.encode(encoding)))
    secret = written("secret.txt", "secret")
    outside = f'<!DOCTYPE a [<!ENTITY e SYSTEM "{secret.as_uri()}">]><annotation><filename>&e;</filename></annotation>'
    with pytest.raises(InputError, match="it declares entities"):
        read_boxes(written("b.xml", outside))


def test_a_doctype_alone_is_harmless(written):
    assert read_boxes(written("a.xml", voc(head="<!DOCTYPE annotation>")))["a.jpg"]


def test_numbers_too_large_for_floats_are_one_short_line(written):
    for bbox in ([0.5, 2, 10**400, 4], [10**4200, 2, 10**400, 4], [1, 2, float("inf"), 4]):
        text = coco(annotations=[{"image_id": 7, "category_id": 3, "bbox": bbox}])
        with pytest.raises(InputError, match="not four numbers") as error:
            read_boxes(written("a.json", text))
        assert len(str(error.value)) < 500
    sized = coco(images=[{"id": 7, "file_name": "a", "width": 10**400, "height": 3}])
    with pytest.raises(InputError, match="no two whole numbers") as error:
        read_boxes(written("a.json", sized))
    assert len(str(error.value)) < 400


def test_small_liberties_are_taken(written):
    expected = tuple(Box(*edges, (HEIGHT, WIDTH)) for edges in EDGES)
    assert read_boxes(written("f.xml", voc(size=(f"{WIDTH}.0", f" {HEIGHT}.0 "))))["a.jpg"] == expected
    with pytest.raises(InputError, match=r"319×450\.5 is no two whole"):
        read_boxes(written("f.xml", voc(size=(450.5, HEIGHT))))
    named = voc().replace("<annotation>", '<annotation xmlns="http://example.org/voc">')
    assert read_boxes(written("n.xml", named))["a.jpg"] == expected
    loose = table().replace("file,xmin,ymin", " file, xmin ,ymin").replace("a.jpg,", "sub\\a.jpg , ")
    assert read_boxes(written("a.csv", loose))["sub/a.jpg"] == expected


def test_other_xml_in_a_folder_is_left_out(written):
    written("it/a.xml", voc())
    folder = written("it/feed.xml", "<rss/>").parent
    assert list(read_boxes(folder)) == ["a.jpg"]
    with pytest.raises(InputError, match=r"b\.xml: no VOC annotation \(it begins with <rss>\)"):
        read_boxes(written("other/b.xml", "<rss/>").parent)


def test_xml_that_speaks_of_a_file_that_is_gone_is_found_by_its_own_name(written):
    written("it/sub/new.xml", voc("old.jpg"))
    written("it/b.xml", voc("a.jpg", edges=[(1, 1, 5, 5, "x")]))
    boxes = read_boxes(written("it/c.xml", voc("c.jpg")).parent)
    samples = box_samples(_named("sub/new.jpg", "a.jpg", "b.jpg", "c.jpg", "new.jpg"), boxes)
    # b.xml is of a.jpg, which is here, so b.jpg is not annotated
    assert [sample.boxes and len(sample.boxes) for sample in samples] == [2, 1, None, 2, None]
    alone = read_boxes(written("d.xml", voc("old.jpg")))
    assert box_samples(_named("d.png"), alone)[0].boxes == alone["old.jpg"]


def _named(*names):
    return [Sample(name, None, lambda: np.zeros((4, 4, 3), np.uint8)) for name in names]


def test_boxes_are_found_by_id_else_by_bare_name():
    a, b = (Box(0, 0, 1, 1),), (Box(0, 0, 2, 2),)
    samples = box_samples(_named("one/a.jpg", "two/a.jpg", "two/b.jpg", "c.jpg"), {"one/a.jpg": a, "x/b": b}, "where")
    assert [sample.boxes for sample in samples] == [a, None, b, None]


def test_a_bare_name_that_several_have_is_nobodys():
    a = (Box(0, 0, 1, 1),)
    samples = box_samples(_named("one/a.jpg", "two/a.jpg", "b.jpg"), {"a.jpg": a, "b.jpg": ()}, "where")
    assert [sample.boxes for sample in samples] == [None, None, ()]
    samples = box_samples(_named("a.jpg", "b.jpg"), {"x/a.jpg": a, "y/a.jpg": a, "b.jpg": a}, "where")
    assert [sample.boxes for sample in samples] == [None, a]


def test_boxes_of_other_files_are_refused():
    with pytest.raises(InputError, match=r"where: the boxes are for other files \(z\.jpg, not a\.jpg\)"):
        box_samples(_named("a.jpg"), {"z.jpg": (Box(0, 0, 1, 1),)}, "where")


def test_the_shared_boxes_fit_their_images(shared):
    source = shared / "data" / "kangaroo"
    samples = box_samples(list_samples(source), read_boxes(source / "boxes.csv"), source)
    assert sum(len(sample.boxes) for sample in samples) == 160
    for sample in samples[::10]:
        assert sample.boxes[0].image_size == sample.read().shape[:2]
