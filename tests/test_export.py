"""A repaired PyTorch model, written and opened again, is the same model; so is every file that it is exported to."""

import json
import runpy
import shutil
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fakes import FakeModel, hashed  # noqa: E402
from test_models import SIZE, optional, small_net  # noqa: E402

from shiftable.auditing import audit, read_parts  # noqa: E402
from shiftable.errors import InputError  # noqa: E402
from shiftable.models import open_model  # noqa: E402
from shiftable.models.other_net import plain, with_net  # noqa: E402
from shiftable.models.preprocessing import CropSelection  # noqa: E402
from shiftable.models.weights import fingerprint  # noqa: E402
from shiftable.repairing.export import net_of, write_repaired  # noqa: E402
from shiftable.repairing.graphs import to_onnx, to_pt2  # noqa: E402
from shiftable.repairing.opening import read_plan  # noqa: E402
from shiftable.repairing.plan import Phases, Plan, repaired, source_of  # noqa: E402
from shiftable.surgery.editing import Edit  # noqa: E402

EDITS = (Edit("1.0", match=True), Edit("3.0", taps=5), Edit("5.0", "dense"))
WINDOWS = ((0, 0), (1, -2), (-3, 2))

PLANS = {
    "nothing": Plan(),
    "crop": Plan(crop=CropSelection(room_px=9, width_px=4)),
    "phases": Plan(phases=Phases(WINDOWS)),
    "edits": Plan(edits=EDITS),
    "all": Plan(
        None, CropSelection(), Phases(WINDOWS, "circle", only_below=1.0), EDITS, measured={"flips": [0.1, None]}
    ),
}


def demo(**more):
    return open_model("demo", device="cpu", **more)


def noise(model, count=5):
    return np.random.default_rng(0).integers(0, 256, (count, *model.view_size, 3), dtype=np.uint8)


def moved(net):
    """A copy with all weights a little elsewhere, as after a fine-tune."""
    copy = deepcopy(net)
    with torch.no_grad():
        for weight in copy.parameters():
            weight.mul_(1.01)
    return copy


def refused(call, *arguments, **more):
    """The one line with which something is refused, naming what to do."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **more)
    assert "\n" not in str(caught.value)
    assert caught.value.todo
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    """A model with edits, and a crop, in a folder."""
    write_repaired(demo(), Plan(crop=CropSelection(room_px=9), edits=EDITS[:1]), tmp_path / "out")
    return tmp_path / "out"


# ── the same net ──


@pytest.mark.parametrize("fast", [True, False])
def test_a_model_with_its_own_net_is_the_model(fast):
    model = demo(fast=fast)
    same = with_net(model, plain(model).net)
    assert np.array_equal(same(noise(model)), model(noise(model)))
    assert (same.settings, same.weights_sha256, same.spec) == (model.settings, model.weights_sha256, model.spec)


def test_the_plain_net_is_as_its_source_gives_it():
    fast, slow = demo(), demo(fast=False)
    assert fast.settings["folded_norms"] > 0
    assert plain(fast).net.state_dict().keys() == slow.net.state_dict().keys()
    assert fingerprint(plain(fast).net) == fingerprint(slow.net) == fast.weights_sha256
    assert np.array_equal(plain(fast)(noise(fast)), slow(noise(fast)))


def test_the_callers_model_stays():
    model = demo()
    before, answers = fingerprint(model.net), model(noise(model))
    made = repaired(model, PLANS["all"])
    assert not np.array_equal(made.model(noise(model)), answers)
    assert fingerprint(model.net) == before
    assert np.array_equal(model(noise(model)), answers)


def test_a_compiled_or_16_bit_model_is_repaired_with_its_exact_one():
    model = demo(precision="bf16")
    made = repaired(model, PLANS["edits"])
    assert made.settings["precision"] == "bfloat16"
    exact = repaired(demo(), PLANS["edits"])
    assert np.array_equal(made.exact(noise(model)), exact(noise(model)))


# ── a folder ──


@pytest.mark.parametrize("name", PLANS)
def test_opened_again_it_answers_bit_for_bit(name, tmp_path):
    model, plan = demo(), PLANS[name]
    made = write_repaired(model, plan, tmp_path / "out")
    again = open_model(str(tmp_path / "out"), device="cpu")
    assert again.spec == str(tmp_path / "out")
    assert (again.preprocessing, again.view_size, again.class_names) == (
        made.preprocessing, made.view_size, made.class_names,
    )  # fmt: skip
    assert np.array_equal(again(noise(made)), made(noise(made)))
    assert np.array_equal(made(noise(made)), repaired(model, plan)(noise(made)))
    assert read_plan(tmp_path / "out") == replace(plan, source=source_of(model))
    assert (tmp_path / "out" / "crop.json").exists() == (plan.crop is not None)


def test_weights_that_a_plan_can_not_say_are_kept(tmp_path):
    model = demo()
    net = moved(net_of(repaired(model, PLANS["edits"])))
    made = write_repaired(model, PLANS["edits"], tmp_path, net=net)
    again = open_model(str(tmp_path), device="cpu")
    assert np.array_equal(again(noise(model)), made(noise(model)))
    assert not np.array_equal(made(noise(model)), repaired(model, PLANS["edits"])(noise(model)))


def test_an_audit_of_the_folder_is_that_of_the_model(folder):
    made = repaired(demo(), read_plan(folder))
    found = [audit(model, "shapes", count=6, steps=9, controls=False) for model in (made, open_model(str(folder)))]
    assert found[0].metrics == found[1].metrics


def test_the_python_file_rebuilds_the_net(folder):
    again, built = open_model(str(folder), device="cpu"), runpy.run_path(str(folder / "model.py"))["repaired"]()
    with torch.inference_mode():
        scores = built(plain(again).inputs(noise(again)))
    assert np.array_equal(scores.numpy(), plain(again)(noise(again)))


@pytest.mark.parametrize("source", ["timm", "torchvision"])
def test_nets_of_libraries_are_rebuilt(source, tmp_path):
    optional(source)
    name = {"timm": "timm/test_resnet", "torchvision": "torchvision/squeezenet1_1"}[source]
    arguments = {"pretrained": False, "num_classes": 7}
    shown = {"view_size": [64, 72]}
    for task in ("classify", "embed") if source == "timm" else ("classify",):
        model = open_model(name, device="cpu", model_args=arguments, preprocessing=shown, task=task)
        out = tmp_path / task
        made = write_repaired(model, Plan(), out)
        assert np.array_equal(open_model(str(out), device="cpu")(noise(made)), model(noise(made)))
        built = runpy.run_path(str(out / "model.py"))["repaired"]()
        assert fingerprint(built) == fingerprint(net_of(made))


def test_segmenters_too(tmp_path):
    optional("torchvision")
    how = {"task": "segment", "device": "cpu"}
    shown = {"view_size": [96, 128], "resize_px": 140, "crop": "center"}
    arguments = {"pretrained": False, "num_classes": 5}
    model = open_model("torchvision/lraspp_mobilenet_v3_large", model_args=arguments, preprocessing=shown, **how)
    made = write_repaired(model, Plan(crop=CropSelection(room_px=12)), tmp_path)
    again = open_model(str(tmp_path), **how)
    assert (again.preprocessing, again.remarks) == (made.preprocessing, made.remarks)
    assert np.array_equal(again(noise(made)), made(noise(made)))


def test_two_writes_give_the_same_bytes(tmp_path):
    for name in "ab":
        write_repaired(demo(), PLANS["all"], tmp_path / name)
    files = [sorted((tmp_path / name).iterdir()) for name in "ab"]
    assert [path.name for path in files[0]] == ["crop.json", "model.py", "model.safetensors", "plan.json"]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_another_repair_leaves_nothing_of_the_first(folder):
    (folder / "before").mkdir()
    (folder / "report.html").write_text("seen")
    assert "another repair" in refused(write_repaired, demo(), Plan(), folder)
    write_repaired(demo(), Plan(), folder, overwrite=True)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["before", "model.py", "model.safetensors", "plan.json", "report.html"]


@pytest.mark.parametrize("name", ["audit.json", "model.py", "plan.json", "model.safetensors"])
def test_a_folder_of_something_else_is_left_alone(name, tmp_path):
    (tmp_path / name).write_text("{}")
    refused(write_repaired, demo(), Plan(), tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "{}"


def test_what_does_not_come_back_the_same_is_not_written(tmp_path, monkeypatch):
    """A function whose nets are never the same but for their weights."""
    (tmp_path / "turning.py").write_text(TURNING)
    monkeypatch.chdir(tmp_path)
    model = open_model("turning:net", device="cpu", preprocessing={"view_size": [32, 32]})
    assert "answers otherwise" in refused(write_repaired, model, Plan(), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


TURNING = """
from torch import nn

class Net(nn.Module):
    count = 0

    def __init__(self):
        super().__init__()
        Net.count += 1
        self.number = Net.count
        self.last = nn.Linear(3, 4)

    def forward(self, images):
        return self.last(images.mean((2, 3))) * self.number

def net():
    return Net()
"""


def test_a_net_without_a_name_is_written_as_its_operations(tmp_path):
    model = open_model(small_net(), device="cpu", preprocessing=SIZE)
    made = write_repaired(model, Plan(phases=Phases(WINDOWS), edits=(Edit("3"),)), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt2", "plan.json"]
    again = open_model(str(tmp_path), device="cpu")
    assert np.allclose(again(noise(made)), made(noise(made)), rtol=0, atol=1e-5)
    assert (again.view_size, again.preprocessing) == (made.view_size, made.preprocessing)


def test_a_function_that_builds_the_net_is_run_only_when_it_is_said(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(TURNING.replace("self.number = Net.count", "self.number = 1"))
    monkeypatch.chdir(tmp_path)
    model = open_model("mine:net", device="cpu", preprocessing={"view_size": [32, 32]})
    write_repaired(model, Plan(), "out")
    assert "source=mine:net" in refused(open_model, "out")
    assert "mine:net" in refused(open_model, "out", model_args={"source": "yours:net"})
    again = open_model("out", device="cpu", model_args={"source": "mine:net"})
    assert np.array_equal(again(noise(model)), model(noise(model)))


# ── what is wrong with a folder ──


def test_damaged_weights_are_seen(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "sha256" in refused(open_model, str(folder))


@pytest.mark.parametrize("name", ["model.safetensors", "model.py", "crop.json", "plan.json"])
def test_missing_files_are_named(name, folder):
    (folder / name).unlink()
    assert name in refused(open_model, str(folder))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 99}, "99"),
        ({"source": None}, "what model"),
        ({"files": {}}, "no model"),
        ({"files": {"../model.safetensors": "0"}}, "what model"),
        ({"edits": [{"site": "nowhere"}]}, "nowhere"),
        ({"edits": []}, "do not fit"),
        ({"crop": {"rule": "none"}}, "none"),
    ],
)
def test_a_plan_that_is_wrong_is_seen(change, said, folder):
    path = folder / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert said in refused(open_model, str(folder))


def test_what_would_run_code_is_not_taken_from_a_folder(folder):
    path = folder / "plan.json"
    record = json.loads(path.read_text())
    for name in ("trust_remote_code", "checkpoint_path", "pretrained"):
        record["source"] |= {"spec": "timm/test_resnet", "model_args": {name: "x"}}
        path.write_text(json.dumps(record))
        assert name in refused(open_model, str(folder))


@pytest.mark.parametrize(
    "more",
    [{"weights": "x.safetensors"}, {"preprocessing": {"resize_px": 80}}, {"scores": "logits"}, {"class_offset": 0},
     {"model_args": {"num_classes": 3}}, {"task": "embed"}],
)  # fmt: skip
def test_a_repaired_model_is_as_it_is(more, folder):
    refused(open_model, str(folder), **more)


def test_how_it_is_run_may_be_said(folder):
    assert open_model(str(folder), device="cpu", fast=False).settings["folded_norms"] == 0
    assert open_model(str(folder), class_names=list("abcdefghij")).class_names == tuple("abcdefghij")


def test_a_repaired_model_is_not_repaired_again(folder, tmp_path):
    assert "already" in refused(write_repaired, open_model(str(folder)), Plan(), tmp_path / "more")


# ── exports ──


@pytest.mark.parametrize(
    ("export", "name"), [(to_pt2, "edits"), (to_onnx, "windows"), (to_pt2, "circle")], ids=["pt2", "onnx", "rolled"]
)
def test_an_export_flips_where_the_model_does(export, name, tmp_path):
    ending = export.__name__.removeprefix("to_")
    if ending == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    phases = {"edits": None, "windows": Phases(WINDOWS), "circle": Phases(WINDOWS, "circle")}[name]
    model = repaired(demo(), Plan(crop=CropSelection(room_px=9), phases=phases, edits=EDITS))
    exported = export(model, tmp_path / f"model.{ending}")
    assert (exported.view_size, exported.preprocessing) == (model.view_size, model.preprocessing)
    assert np.allclose(exported(noise(model)), model(noise(model)), rtol=0, atol=1e-4)
    alone = open_model(str(tmp_path / f"model.{ending}"), device="cpu")
    found = [audit(each, "shapes", count=6, steps=9, controls=False, out=tmp_path / str(number))
             for number, each in enumerate((model, alone))]  # fmt: skip
    top1 = [
        [row for part in read_parts(each.folder, ["top1"]) for row in part.table["top1"].to_pylist()] for each in found
    ]
    assert top1[0] == top1[1]
    assert found[0].metrics["p_top1_change"] == found[1].metrics["p_top1_change"]


def test_a_folder_is_exported_like_its_model(folder, tmp_path):
    exported = to_pt2(folder, tmp_path / "model.pt2")
    model = open_model(str(folder), device="cpu")
    assert np.allclose(exported(noise(model)), model(noise(model)), rtol=0, atol=1e-4)


def test_exports_are_refused_in_a_line(tmp_path):
    unsure = repaired(demo(), Plan(phases=Phases(WINDOWS, only_below=1.0)))
    assert "unsure" in refused(to_pt2, unsure, tmp_path / "a.pt2")
    assert ".pt2" in refused(to_pt2, demo(), tmp_path / "a.onnx")
    (tmp_path / "a.json").write_text("mine")
    assert "already" in refused(to_pt2, demo(), tmp_path / "a.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "mine"
    assert "PyTorch" in refused(to_pt2, FakeModel(hashed), tmp_path / "b.pt2")


def test_squeezenet_with_real_weights_comes_back(shared, tmp_path):
    optional("torchvision")
    weights = shared / "models" / "squeezenet1_1.safetensors"
    model = open_model("torchvision/squeezenet1_1", weights=weights, device="cpu")
    plan = Plan(crop=CropSelection(), edits=(Edit("features.5"),))
    made = write_repaired(model, plan, tmp_path / "out")
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    again = open_model(str(tmp_path / "elsewhere"), device="cpu")
    assert np.array_equal(again(noise(made)), made(noise(made)))
    assert not np.allclose(made(noise(made)), model(noise(made)), atol=0.1)
