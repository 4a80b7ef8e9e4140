"""A torchvision that was built for another torch works again; a healthy one is not touched."""

import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

torch = pytest.importorskip("torch")

from shiftable.errors import InputError  # noqa: E402
from shiftable.models import torchvision_repair  # noqa: E402
from shiftable.models.torchvision_repair import import_torchvision, non_maximum_suppression  # noqa: E402

IN_A_FRESH_PYTHON = """
import sys, warnings
warnings.simplefilter("ignore")
import torch
try:
    import torchvision
    healthy = True
except RuntimeError:
    healthy = False
from shiftable.models.torchvision_repair import _operators, import_torchvision
torchvision = import_torchvision()
assert import_torchvision() is torchvision is sys.modules["torchvision"]
assert bool(_operators) == (not healthy)
boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]])
scores = torch.tensor([0.5, 0.9, 0.1])
assert torchvision.ops.nms(boxes, scores, 0.5).tolist() == [1, 2]
assert torchvision.ops.batched_nms(boxes, scores, torch.tensor([0, 1, 0]), 0.5).tolist() == [1, 0, 2]
from torchvision.transforms import v2
assert v2.Resize(8)(torch.zeros(3, 16, 24)).shape == (3, 8, 12)
net = torchvision.models.get_model("squeezenet1_1", weights=None).eval()
assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
try:
    import timm
except ModuleNotFoundError:
    pass
print("done")
"""


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
def test_everything_works_afterwards_in_a_fresh_python():
    """Also after an import that failed before, whose rubble lies about."""
    done = subprocess.run([sys.executable, "-c", IN_A_FRESH_PYTHON], capture_output=True, text=True, timeout=120)
    assert done.stdout == "done\n", done.stderr


@pytest.fixture
def without_torchvision(monkeypatch):
    """sys.modules as if torchvision had never been imported, and no trace left of what a test puts there."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)


def test_a_healthy_one_is_left_alone(monkeypatch, without_torchvision):
    healthy = ModuleType("torchvision")
    monkeypatch.setitem(sys.modules, "torchvision", healthy)
    monkeypatch.setattr(torchvision_repair, "_define_operators", lambda: pytest.fail("something was defined"))
    assert import_torchvision() is healthy
    assert vars(healthy).keys() == vars(ModuleType("torchvision")).keys()


def fake_package(folder, monkeypatch, code):
    """A torchvision of our own making, first on the path."""
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(folder)


def test_another_failure_is_passed_on_in_one_line(monkeypatch, tmp_path, without_torchvision):
    fake_package(tmp_path, monkeypatch, "raise RuntimeError('no such\\nluck')")
    monkeypatch.setattr(torchvision_repair, "_define_operators", lambda: pytest.fail("something was defined"))
    with pytest.raises(InputError, match=r"torchvision can't be imported \(no such\); install") as caught:
        import_torchvision()
    assert "\n" not in str(caught.value)


def test_a_failure_that_the_operators_do_not_cure_is_passed_on(monkeypatch, tmp_path, without_torchvision):
    fake_package(tmp_path, monkeypatch, "raise RuntimeError('operator torchvision::other does not exist')")
    monkeypatch.setattr(torchvision_repair, "_define_operators", lambda: None)
    with pytest.raises(InputError, match="torchvision::other"):
        import_torchvision()


def test_a_missing_one_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(InputError, match=r"torchvision is not installed; pip install 'shiftable\[torchvision\]'"):
        import_torchvision()


def naive(boxes, scores, threshold):
    """Greedy suppression, box by box, in plain Python: the same IEEE operations in the same order."""
    alive = sorted(range(len(boxes)), key=lambda box: -scores[box])  # stable: ties by order
    kept = []
    while alive:
        best, *rest = alive
        kept.append(best)
        alive = [box for box in rest if not float(overlap(boxes[best], boxes[box])) > threshold]
    return kept


def overlap(a, b):
    """Intersection over union, in float32."""
    width = max(np.float32(0), min(a[2], b[2]) - max(a[0], b[0]))
    height = max(np.float32(0), min(a[3], b[3]) - max(a[1], b[1]))
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    shared = width * height
    union = area[0] + area[1] - shared
    return shared / union if union else np.float32("nan")


def whole(low, high):
    return st.integers(low, high).map(np.float32)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(0, 12), st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.7, 1.0]))
def test_agrees_with_a_plain_loop(data, count, threshold):
    """Small whole coordinates, so that ties, overlaps of exactly the threshold and boxes without area are common."""
    corners = data.draw(arrays.arrays(np.float32, (count, 2), elements=whole(0, 8)))
    sizes = data.draw(arrays.arrays(np.float32, (count, 2), elements=whole(0, 6)))
    scores = data.draw(arrays.arrays(np.float32, count, elements=whole(0, 3)))
    boxes = np.concatenate([corners, corners + sizes], 1)
    kept = non_maximum_suppression(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert kept.tolist() == naive(boxes, scores, threshold)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_agrees_with_a_plain_loop_on_real_coordinates(seed, threshold):
    rng = np.random.default_rng(seed)
    corners = rng.random((30, 2), np.float32)
    boxes = np.concatenate([corners, corners + rng.random((30, 2), np.float32)], 1)
    scores = rng.random(30, np.float32)
    kept = non_maximum_suppression(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert kept.tolist() == naive(boxes, scores, threshold)


def test_no_boxes_give_no_indices():
    kept = non_maximum_suppression(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64


def test_at_exactly_the_threshold_a_box_stays():
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]])  # overlap: exactly one half
    scores = torch.tensor([1.0, 0.5])
    assert non_maximum_suppression(boxes, scores, 0.5).tolist() == [0, 1]
    assert non_maximum_suppression(boxes, scores, 0.49).tolist() == [0]


def test_ties_of_many_boxes_stay_in_order():
    """Sorting few numbers is stable in any case."""
    corners = torch.arange(2000.0)[:, None].expand(-1, 2)
    kept = non_maximum_suppression(torch.cat([corners, corners + 0.5], 1), torch.arange(2000.0) % 2, 0.5)
    assert kept.tolist() == [*range(1, 2000, 2), *range(0, 2000, 2)]


def test_ties_go_to_the_earlier_box():
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2.1], [5, 5, 6, 6]])
    assert non_maximum_suppression(boxes, torch.ones(3), 0.5).tolist() == [0, 2]
    assert non_maximum_suppression(boxes.flip(0), torch.ones(3), 0.5).tolist() == [0, 1]
