"""Where objects are: what no preference gives, what a preference gives, and what can't be used."""

import json
import subprocess
import sys

import numpy as np
import pytest

from shiftable import InputError
from shiftable.bias import bias
from shiftable.data import Box
from shiftable.report import write_bias


def boxes(count, place, side=0.3, size=(80, 120), seed=0):
    """One box an image, its room filled up to ``place(rng)``, 0 to 1."""
    rng = np.random.default_rng(seed)
    found = {}
    for at in range(count):
        high, wide = side * size[0], side * size[1]
        y, x = place(rng) * (size[0] - high), place(rng) * (size[1] - wide)
        found[f"{at}.jpg"] = (Box(x, y, x + wide, y + high, "thing", size),)
    return found


def test_no_preference_is_found_where_there_is_none():
    found = bias(boxes(3000, lambda rng: rng.uniform(0.02, 0.98)))
    for side in ("across", "down"):
        each = found.preferences[side]
        assert 0.9 < each.spread.value < 1.02
        assert each.distance < 0.05


@pytest.mark.parametrize("width", [0.1, 0.4])
def test_spread_is_the_width_of_the_preference(width):
    found = bias(boxes(2000, lambda rng: 0.5 + width * rng.uniform(-0.5, 0.5)))
    each = found.preferences["across"]
    assert each.spread.low <= width <= each.spread.high
    assert each.p_value < 1e-6
    assert each.distance == pytest.approx((1 - width) / 2, abs=0.02)


def test_mirrored_images_have_mirrored_histograms_and_the_same_spread():
    one = boxes(200, lambda rng: rng.beta(2, 5))
    other = {
        name: (Box(120 - box.x1, box.y0, 120 - box.x0, box.y1, box.label, box.image_size),)
        for name, (box,) in one.items()
    }
    one, other = bias(one).preferences["across"], bias(other).preferences["across"]
    assert one.spread.value == pytest.approx(other.spread.value)
    assert one.distance == pytest.approx(other.distance)
    assert one.counts.sum() == other.counts.sum() == 200


def test_boxes_at_the_edge_are_told_apart_and_counted():
    size = (100, 100)
    cut = {"a": (Box(0, 20, 40, 60, None, size),), "b": (Box(60, 20, 100, 60, None, size),)}
    free = boxes(20, lambda rng: rng.uniform(0.3, 0.7))
    found = bias({**free, **cut})
    assert found.touching == (2, 0)
    assert found.preferences["across"].counts.sum() == 20
    assert found.preferences["down"].counts.sum() == 22
    assert found.boxes == 22


def test_the_size_is_the_root_of_the_share():
    found = bias(boxes(50, lambda rng: rng.uniform(0.2, 0.8), side=0.5)).preferences["size"]
    assert found.spread.value == pytest.approx(0.0, abs=1e-9)


def test_classes_are_told_of_from_thirty_boxes_on_and_heat_is_conserved():
    found = bias(boxes(40, lambda rng: rng.uniform(0.2, 0.8)))
    assert list(found.classes) == ["thing"]
    assert not bias(boxes(20, lambda rng: rng.uniform(0.2, 0.8))).classes
    assert found.heat.mean() == pytest.approx(1.0)


def test_boxes_without_a_size_are_refused():
    with pytest.raises(InputError, match="size"):
        bias({"a": (Box(0, 0, 1, 1),)})


def test_page_and_file_hold_the_numbers(tmp_path):
    found = bias(boxes(60, lambda rng: rng.normal(0.5, 0.05)))
    page = write_bias(found, tmp_path / "out", "<b>boxes.csv")
    text = page.read_text()
    assert "Objects keep to the middle" in text
    assert "&lt;b&gt;boxes.csv" in text
    record = json.loads((tmp_path / "out" / "bias.json").read_text())
    assert record["preferences"]["across"]["spread"]["value"] == found.preferences["across"].spread.value
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "report.html").write_text("mine")
    with pytest.raises(InputError, match="another page"):
        write_bias(found, tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("boxes.csv", "file,xmin,ymin,xmax,ymax\n", "no boxes"),
        ("boxes.json", "{", "boxes.json"),
        ("x.txt", "", "format"),
    ],
)
def test_broken_annotations_are_one_clear_line(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    code = "from shiftable.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    run = subprocess.run(
        [sys.executable, "-c", code, "bias", str(tmp_path / name), "--out", str(tmp_path / "out")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 2
    assert said in run.stderr
    assert run.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
