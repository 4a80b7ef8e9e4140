"""Every kind of image is shown as a viewer would show it; what can't be read is named in one line."""

import csv
import io
import pickle
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shiftable.data.images import (
    Sample,
    check_labels,
    decode,
    label_by_folder,
    label_by_table,
    list_samples,
    read_file,
    read_labels,
)
from shiftable.errors import InputError

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
"""Neither square nor symmetric."""


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, form, **options)
    return buffer.getvalue()


def shown(image, form="PNG", **options):
    return decode(encoded(image, form, **options), "picture")


def put(path, content=None):
    """A file with an image, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(PICTURE) if content is None else content)
    return path


def refused(call, *arguments):
    """The one line with which something is refused."""
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ── pixels ──


def test_plain_pixels_come_back():
    np.testing.assert_array_equal(shown(PICTURE), PICTURE)
    for form in ("BMP", "PPM", "TIFF"):
        np.testing.assert_array_equal(shown(PICTURE, form), PICTURE)
    assert shown(PICTURE).flags.writeable


UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}
"""What each value of the EXIF orientation asks for."""


def with_orientation(image, value, form="PNG"):
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(image, form, exif=exif)


@pytest.mark.parametrize("value", UPRIGHT)
def test_every_orientation_is_applied(value):
    np.testing.assert_array_equal(decode(with_orientation(PICTURE, value), "p"), UPRIGHT[value](PICTURE))


def test_sixteen_bits_are_turned_as_well():
    ramp = np.arange(54, dtype=np.uint16).reshape(6, 9) * 1000
    turned = decode(with_orientation(ramp, 6), "p")
    np.testing.assert_array_equal(turned, np.rot90(shown(ramp), -1))


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_meaningless_orientations_are_ignored(value):
    np.testing.assert_array_equal(decode(with_orientation(PICTURE, value), "p"), PICTURE)


def test_broken_exif_is_ignored():
    content = encoded(PICTURE, "JPEG", exif=b"Exif\x00\x00II*\x00" + b"\xff" * 40)
    assert decode(content, "p").shape == PICTURE.shape


def test_grey_becomes_rgb():
    np.testing.assert_array_equal(shown(PICTURE[..., 0]), np.repeat(PICTURE[..., :1], 3, 2))
    dots = np.arange(54).reshape(6, 9) % 2 == 0
    np.testing.assert_array_equal(shown(Image.fromarray(dots)), np.repeat(dots[..., None], 3, 2) * np.uint8(255))


def palette_image():
    image = Image.frombytes("P", (9, 6), bytes(np.arange(54, dtype=np.uint8) % 3))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return image


COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])[np.arange(54).reshape(6, 9) % 3]


def test_a_palette_is_looked_up():
    np.testing.assert_array_equal(shown(palette_image()), COLORS)


@pytest.mark.parametrize(("form", "transparency"), [("PNG", 1), ("PNG", b"\xff\x00\xff"), ("GIF", 1)])
def test_a_transparent_palette_color_is_white(form, transparency):
    want = COLORS.copy()
    want[(want == (0, 255, 0)).all(-1)] = 255
    np.testing.assert_array_equal(shown(palette_image(), form, transparency=transparency), want)


@pytest.mark.parametrize("alpha", [0, 1, 51, 102, 204, 255])
def test_transparency_is_laid_on_white(alpha):
    """One grey level for rounding; exact where there is nothing to round."""
    stored = np.concatenate([PICTURE, np.full((6, 9, 1), alpha, np.uint8)], 2)
    want = (PICTURE.astype(float) * alpha + 255 * (255 - alpha)) / 255
    assert np.abs(shown(stored) - want).max() <= (0 if alpha in (0, 255) else 1)
    grey = Image.merge("LA", Image.fromarray(stored).split()[::3])
    assert np.abs(shown(grey) - want[..., :1]).max() <= (0 if alpha in (0, 255) else 1)


def test_half_transparent_black_is_exactly_half_way_to_white():
    stored = np.zeros((2, 2, 4), np.uint8)
    stored[..., 3] = 102  # two fifths
    assert (shown(stored) == 153).all()


def test_a_transparent_color_without_palette_is_white():
    image = Image.fromarray(PICTURE)
    color = tuple(int(value) for value in PICTURE[2, 3])
    want = PICTURE.copy()
    want[2, 3] = 255
    np.testing.assert_array_equal(shown(image, transparency=color), want)


def test_hidden_colors_do_not_show():
    """convert("RGB") would show them."""
    stored = np.concatenate([PICTURE, np.zeros((6, 9, 1), np.uint8)], 2)
    assert (shown(stored) == 255).all()


def test_cmyk_becomes_rgb():
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert np.abs(shown(red, "JPEG", quality=100).astype(int) - (255, 0, 0)).max() <= 3
    assert shown(red, "TIFF")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(form):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    grey = shown(ramp, form)[..., 0].ravel().astype(int)
    assert (np.diff(grey) >= 0).all()
    assert (grey[0], grey[-1]) == (0, 255)
    assert np.abs(grey - np.arange(65536) / 257).max() <= 0.5


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_a_dark_picture_of_sixteen_bits_stays_dark(form):
    """White is 65535 whatever the picture holds, or two frames of one film would differ."""
    dark = np.full((4, 4), 200, np.uint16)
    assert (shown(dark, form) == 1).all()


def test_sixteen_bits_of_the_other_byte_order():
    big = Image.frombytes("I;16B", (2, 1), np.array([200, 65535], ">u2").tobytes())
    assert shown(big, "TIFF")[0, :, 0].tolist() == [1, 255]


@pytest.mark.parametrize(
    ("values", "want"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 127.6, 255]], np.float32), [0, 128, 255]),
        (np.array([[0, 32896, 65535]], np.float32), [0, 128, 255]),
        (np.array([[-1, 0.5, np.nan]], np.float32), [0, 128, 0]),
        (np.array([[0, 128, 255]], np.int32), [0, 128, 255]),
        (np.array([[0, 32896, 65535]], np.int32), [0, 128, 255]),
    ],
)
def test_wide_tiffs_go_by_the_range_of_their_values(values, want):
    assert shown(values, "TIFF")[0, :, 0].tolist() == want


def test_of_an_animation_the_first_frame_is_shown():
    frames = [Image.new("RGB", (5, 4), color) for color in ("red", "blue")]
    for form in ("GIF", "PNG", "WEBP"):
        content = encoded(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)
        assert (decode(content, "p") == (255, 0, 0)).all()


# ── what can't be read ──


def test_a_picture_cut_short_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for form in ("JPEG", "PNG"):
        content = encoded(noise, form)
        for end in (3, 20, len(content) // 2):
            path = put(tmp_path / "cut.jpg", content[:end])
            assert str(path) in refused(read_file, path)


def test_what_is_no_picture_is_refused(tmp_path):
    assert "cut" not in refused(read_file, put(tmp_path / "text.jpg", b"hello"))
    assert "text.jpg: no readable image" in refused(read_file, tmp_path / "text.jpg")
    assert "empty.jpg: the file is empty" in refused(read_file, put(tmp_path / "empty.jpg", b""))
    assert "absent.jpg: No such file" in refused(read_file, tmp_path / "absent.jpg")
    assert "Is a directory" in refused(read_file, tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path):
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    whole = encoded(PICTURE)
    start = whole.index(b"IHDR") + 4
    bomb = whole[:start] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + whole[start + 17 :]
    assert "bomb.png: the image is too large" in refused(read_file, put(tmp_path / "bomb.png", bomb))


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\x00"])
)
def test_no_bytes_raise_anything_else(content, magic):
    message = ""
    try:
        decode(magic + content, "p")
    except InputError as error:
        message = str(error)
    assert "\n" not in message


# ── lists ──


def ids(source):
    return [sample.id for sample in list_samples(source)]


def test_a_folder_is_searched_to_the_bottom_in_a_fixed_order(tmp_path):
    for name in (
        "b.png",
        "a/z.JPG",
        "a-b/x.png",
        "a/deep/er/y.webp",
        "C.png",
        ".hidden.png",
        ".git/x.png",
        "notes.txt",
    ):
        put(tmp_path / name)
    assert ids(tmp_path) == ["C.png", "a-b/x.png", "a/deep/er/y.webp", "a/z.JPG", "b.png"]
    assert ids(str(tmp_path)) == ids(tmp_path)
    np.testing.assert_array_equal(list_samples(tmp_path)[0].read(), PICTURE)


def test_a_hidden_folder_may_be_named_itself(tmp_path):
    put(tmp_path / ".cache" / "x.png")
    assert ids(tmp_path / ".cache") == ["x.png"]


def test_a_file_is_a_list_of_one(tmp_path):
    (sample,) = list_samples(put(tmp_path / "x.png"))
    assert (sample.id, sample.label) == ("x.png", None)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(sample)).read(), PICTURE)


def test_where_there_is_nothing_it_says_so(tmp_path):
    assert "no such file" in refused(list_samples, tmp_path / "absent")
    assert "it is empty" in refused(list_samples, tmp_path)
    put(tmp_path / "notes.txt")
    put(tmp_path / "more.txt")
    assert "only more.txt and 1 more" in refused(list_samples, tmp_path)


def samples(*names):
    return [Sample(name, None, lambda: PICTURE) for name in names]


def labels(samples):
    return [sample.label for sample in samples]


def test_numbered_folders_are_labels():
    found, remark = label_by_folder(samples("2/a", "10/b", "2/c"), classes=11)
    assert (labels(found), remark) == ([2, 10, 2], None)


def test_as_many_folders_as_classes_are_labels_in_order_of_name():
    found, remark = label_by_folder(samples("dog/a", "cat/b", "emu/c/d"), classes=3)
    assert (labels(found), remark) == ([1, 0, 2], None)


@pytest.mark.parametrize("names", [("dog/a", "cat/b"), ("0/a", "11/b")])
def test_other_folders_give_no_labels_but_a_remark(names):
    found, remark = label_by_folder(samples(*names), classes=11)
    assert labels(found) == [None, None]
    assert "2 class folders but the model has 11 classes" in remark


@pytest.mark.parametrize("names", [("a", "b"), ("1/a", "b"), ("1/a", "1/b")])
def test_without_class_folders_there_is_nothing_to_say(names):
    found, remark = label_by_folder(samples(*names), classes=2)
    assert (labels(found), remark) == ([None] * 2, None)


def test_labels_that_are_known_are_kept():
    known = [Sample("0/a", 7, lambda: PICTURE), Sample("1/b", None, lambda: PICTURE)]
    assert label_by_folder(known, classes=10) == (known, None)


def table(path, text):
    path.write_text(text)
    return path


def test_a_csv_names_files_beside_it(tmp_path):
    put(tmp_path / "images" / "x.png")
    path = table(tmp_path / "list.csv", "name,class_index,file\ncat,3,images/x.png\ndog,5,y.png\n")
    first, second = list_samples(path)
    assert [(s.id, s.label) for s in (first, second)] == [("images/x.png", 3), ("y.png", 5)]
    np.testing.assert_array_equal(first.read(), PICTURE)
    assert "y.png: No such file" in refused(second.read)


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("file,class_index\nx.png,1\n", encoding="utf-8-sig")
    assert read_labels(path) == {"x.png": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\nx,1\n", "the columns are name, label"),
        ("", "the columns are none"),
        ("file,class_index\n", "no rows"),
        ("file,class_index\nx.png,cat\n", "line 2: class_index 'cat' is no whole number"),
        ("file,class_index\nx.png\n", "class_index None"),
        ("class_index,file\n1\n", "line 2: no file is named"),
        ("file,class_index\nx.png,1\nx.png,1\n", "line 3: x.png is there twice"),
        ("file,class_index\nx.png,1.5\n", "'1.5' is no whole number"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, text, message):
    path = table(tmp_path / "list.csv", text)
    found = refused(read_labels, path)
    assert message in found
    assert "list.csv" in found


def test_a_table_that_is_none_is_refused(tmp_path):
    assert "bytes.csv: can't be read" in refused(read_labels, put(tmp_path / "bytes.csv", bytes(range(256))))
    assert "absent.csv: can't be read" in refused(read_labels, tmp_path / "absent.csv")


def test_labels_are_found_by_id_else_by_bare_name():
    some = samples("a/x.png", "b/x.png", "c/y.png")
    found = label_by_table(some, {"a/x.png": 1, "b/x.png": 2, "elsewhere/y.png": 3}, "labels.csv")
    assert labels(found) == [1, 2, 3]


def test_a_bare_name_that_the_table_has_twice_says_nothing():
    with pytest.raises(InputError, match="no label"):
        label_by_table(samples("c/x.png", "y.png"), {"a/x.png": 1, "b/x.png": 2, "y.png": 3}, "labels.csv")


def test_labels_of_other_files_are_refused():
    message = refused(label_by_table, samples("x.png"), {"y.png": 1}, "labels.csv")
    assert message.startswith("labels.csv: the labels are for other files (y.png, not x.png)")
    message = refused(label_by_table, samples("x.png", "z.png"), {"x.png": 1}, "labels.csv")
    assert "1 of 2 images have no label (z.png)" in message


def test_labels_out_of_range_are_refused():
    known = [Sample("x", 9, lambda: PICTURE), Sample("y", None, lambda: PICTURE)]
    check_labels(known, 10, "labels.csv")
    assert "label 9 of x is out of range" in refused(check_labels, known, 9, "labels.csv")
    assert "out of range" in refused(check_labels, [Sample("x", -1, lambda: PICTURE)], 9, "labels.csv")


# ── parquet ──


def write_parquet(path, rows, **columns):
    """Rows of (grey level, path) in the Hugging Face layout, two to a row group."""
    images = [
        None if row is None else {"bytes": encoded(np.full((2, 3, 3), row[0], np.uint8)), "path": row[1]}
        for row in rows
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(images, kind), **columns}), path, row_group_size=2)
    return path


def test_parquet_rows_are_read_from_any_group_in_any_order(tmp_path):
    path = write_parquet(tmp_path / "t.parquet", [(n, f"{n}.png") for n in range(7)], label=list(range(7)))
    found = list_samples(path)
    assert [(s.id, s.label) for s in found] == [(f"{n}.png", n) for n in range(7)]
    for number in [6, 0, 3, 1, 5, 2, 4]:
        assert (pickle.loads(pickle.dumps(found[number])).read() == number).all()


def test_parquet_without_labels(tmp_path):
    assert labels(list_samples(write_parquet(tmp_path / "t.parquet", [(0, "a")]))) == [None]


def test_a_folder_of_parquet_files(tmp_path):
    write_parquet(tmp_path / "train-1.parquet", [(2, "c"), (3, "a")])
    write_parquet(tmp_path / "train-0.parquet", [(0, "a"), (1, "b")])
    found = list_samples(tmp_path)
    assert [s.id for s in found] == ["a#0", "b", "c", "a#3"]
    assert [int(s.read()[0, 0, 0]) for s in found] == [0, 1, 2, 3]


@given(st.lists(st.sampled_from(["a", "b", "a#0", "a#1", "a#1#1", "t", None, ""]), min_size=1, max_size=8))
def test_parquet_ids_are_unique_and_keep_what_they_can(paths):
    with tempfile.TemporaryDirectory() as folder:
        found = ids(write_parquet(Path(folder) / "t.parquet", [(0, path) for path in paths]))
    assert len(set(found)) == len(paths)
    assert all(name.startswith(path or "t") for name, path in zip(found, paths, strict=True))
    assert all(paths.count(name) == 1 for name in found if "#" not in name and name != "t")


def test_a_row_without_bytes_is_refused_when_read(tmp_path):
    found = list_samples(write_parquet(tmp_path / "t.parquet", [(0, "a"), None]))
    assert [s.id for s in found] == ["a", "t"]
    assert "row 1 of group 0: the row holds no image bytes" in refused(found[1].read)


def test_bad_parquet_is_refused(tmp_path):
    assert "no image table" in refused(list_samples, put(tmp_path / "text.parquet", b"hello"))
    columns = {"other": pa.table({"a": [1]}), "plain": pa.table({"image": [b"x"]}), "none": pa.table({"image": [1]})}
    for name, content in columns.items():
        pq.write_table(content, tmp_path / f"{name}.parquet")
        message = refused(list_samples, tmp_path / f"{name}.parquet")
        assert f"{name}.parquet" in message
        assert "give image = {bytes, path}" in message
    assert "no rows" in refused(list_samples, write_parquet(tmp_path / "empty.parquet", []))
    text = write_parquet(tmp_path / "text_labels.parquet", [(0, "a")], label=["cat"])
    assert "label 'cat' is no whole number" in refused(list_samples, text)


def test_a_table_that_vanished_is_refused_when_read(tmp_path):
    path = write_parquet(tmp_path / "gone.parquet", [(0, "a")])
    (sample,) = list_samples(path)
    path.unlink()
    assert "gone.parquet, row 0 of group 0: the table can't be read any more" in refused(sample.read)


# ── the shared data ──


def test_the_shared_images_are_read(shared):
    folder = shared / "data" / "imagenet_samples"
    found = list_samples(folder)
    assert len(found) == len({sample.id for sample in found}) == 200
    grey = 0
    for sample in found:
        picture = sample.read()
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        grey += bool((picture == picture[..., :1]).all())
        with Image.open(folder / sample.id) as image:
            assert picture.shape[:2] == image.size[::-1]
    assert grey >= 3


def test_the_shared_labels_fit(shared):
    folder = shared / "data" / "imagenet_samples"
    with (folder / "labels.csv").open() as file:
        want = {row["file"]: int(row["class_index"]) for row in csv.DictReader(file)}
    found = label_by_table(list_samples(folder), read_labels(folder / "labels.csv"), "labels.csv")
    assert {sample.id: sample.label for sample in found} == want
    assert {sample.id: sample.label for sample in list_samples(folder / "labels.csv")} == want


def test_meaningless_orientations_in_the_wild(shared):
    for name in ("00076.jpg", "00103.jpg"):
        (path,) = (shared / "data" / "kangaroo").rglob(name)
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_file(path), np.asarray(image.convert("RGB")))


def test_the_shared_parquet_is_read(shared):
    found = list_samples(shared / "data" / "cifar10" / "test.parquet")
    assert len(found) == len({sample.id for sample in found}) == 10_000
    assert [sample.label for sample in found[:10]] == list(range(10))
    assert found[9_999].read().shape == (32, 32, 3)
