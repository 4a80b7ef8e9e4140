"""Models that are files or servers, with a chosen crop or windows, as folders. Nothing here needs torch."""

import json
import subprocess
import sys

import numpy as np
import pytest

from shiftable.auditing import audit
from shiftable.errors import InputError
from shiftable.models import open_model
from shiftable.models.artefacts import sha256_of
from shiftable.models.preprocessing import CropSelection
from shiftable.repairing.export import write_repaired
from shiftable.repairing.opening import read_plan
from shiftable.repairing.plan import Phases, Plan, repaired
from shiftable.repairing.stable_crop import read_crop, stable_crop_of

HEIGHT, WIDTH, CLASSES = 48, 56, 7
"""Not square."""

PLAN = Plan(crop=CropSelection(room_px=7), phases=Phases(((0, 0), (1, -2))))


@pytest.fixture
def file(tmp_path):
    """A linear ONNX model that sees where every pixel lies, and says how it is fed."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from test_onnx_model import graph, node

    weights = np.random.default_rng(2).normal(size=(3 * HEIGHT * WIDTH, CLASSES)).astype(np.float32)
    made = graph(
        [node("Flatten", ["x"], ["flat"]), node("MatMul", ["flat", "w"], ["y"])],
        {"x": ("float32", ["n", 3, HEIGHT, WIDTH])}, {"y": ("float32", ["n", CLASSES])}, {"w": weights},
    )  # fmt: skip
    onnx.save_model(made, tmp_path / "net.onnx")
    (tmp_path / "net.json").write_text('{"resize_px": 64, "mean": [0.25, 0.5, 0.1], "std": [0.3, 0.7, 0.6]}')
    return tmp_path / "net.onnx"


def noise(model, count=5):
    return np.random.default_rng(0).integers(0, 256, (count, *model.view_size, 3), dtype=np.uint8)


def refused(call, *arguments, **more):
    """The one line with which something is refused, naming what to do."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **more)
    assert "\n" not in str(caught.value)
    assert caught.value.todo
    return str(caught.value)


def same(one, other):
    assert (one.view_size, one.preprocessing, one.scores) == (other.view_size, other.preprocessing, other.scores)
    assert (one.remarks, one.class_names, one.weights_sha256) == (
        other.remarks,
        other.class_names,
        other.weights_sha256,
    )
    assert np.array_equal(one(noise(one)), other(noise(other)))


@pytest.mark.parametrize("plan", [Plan(), Plan(crop=PLAN.crop), Plan(phases=PLAN.phases), PLAN])
def test_a_file_is_copied_and_opened_as_it_was(plan, file, tmp_path):
    out = tmp_path / "out"
    model = open_model(str(file), class_names=list("abcdefg"))
    made = write_repaired(model, plan, out)
    file.unlink()  # the folder is complete
    again = open_model(str(out))
    same(again, made)
    same(again, repaired(model, plan))
    assert again.spec == str(out)
    names = {path.name for path in out.iterdir()}
    assert names == {"model.onnx", "plan.json", *(["crop.json"] if plan.crop else [])}
    assert all(
        sha256_of(out / name) == sha for name, sha in json.loads((out / "plan.json").read_text())["files"].items()
    )
    if plan.crop:
        assert read_crop(out / "crop.json") == stable_crop_of(made)


def test_what_was_assumed_is_still_said(file, tmp_path):
    file.with_suffix(".json").unlink()
    model = open_model(str(file))
    assert model.remarks
    made = write_repaired(model, Plan(crop=PLAN.crop), tmp_path / "out")
    assert open_model(str(tmp_path / "out")).remarks == made.remarks
    assert set(model.remarks) <= set(made.remarks)


def test_it_is_audited_like_any_other(file, tmp_path):
    made = write_repaired(open_model(str(file)), Plan(crop=PLAN.crop), tmp_path / "out")
    found = [
        audit(model, "shapes", count=4, steps=9, controls=False) for model in (made, open_model(str(tmp_path / "out")))
    ]
    assert found[0].metrics == found[1].metrics


def test_weights_beside_a_file_come_along(file, tmp_path):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_model(file)
    onnx.save_model(graph, file, save_as_external_data=True, location="net.bin", size_threshold=0)
    made = write_repaired(open_model(str(file)), PLAN, tmp_path / "out")
    file.unlink()
    (tmp_path / "net.bin").unlink()
    same(open_model(str(tmp_path / "out")), made)
    path = tmp_path / "out" / "net.bin"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    assert "net.bin" in refused(open_model, str(tmp_path / "out"))


def test_a_file_that_was_changed_meanwhile_is_not_written(file, tmp_path):
    model = open_model(str(file))
    with file.open("ab") as opened:
        opened.write(b"\x00")
    assert "changed" in refused(write_repaired, model, PLAN, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_without_torch_it_opens(file, tmp_path):
    made = write_repaired(open_model(str(file)), PLAN, tmp_path / "out")
    code = (
        "import sys; sys.modules['torch'] = None; import numpy as np; from shiftable.models import open_model; "
        f"model = open_model({str(tmp_path / 'out')!r}); views = np.load({str(tmp_path / 'views.npy')!r}); "
        f"np.save({str(tmp_path / 'scores.npy')!r}, model(views))"
    )
    np.save(tmp_path / "views.npy", noise(made))
    subprocess.run([sys.executable, "-c", code], check=True)
    assert np.array_equal(np.load(tmp_path / "scores.npy"), made(noise(made)))


def test_without_torch_edits_are_refused_in_a_line(file, tmp_path):
    out = tmp_path / "out"
    write_repaired(open_model(str(file)), PLAN, out)
    record = json.loads((out / "plan.json").read_text())
    (out / "plan.json").write_text(json.dumps({**record, "edits": [{"site": "0"}]}))
    code = (
        "import sys; sys.modules['torch'] = None; from shiftable.cli import main; "
        f"sys.exit(main(['audit', {str(out)!r}, 'shapes']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "shiftable[torch]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_has_no_surgery(file, tmp_path):
    pytest.importorskip("torch")
    from shiftable.surgery.editing import Edit

    assert "exported file" in refused(write_repaired, open_model(str(file)), Plan(edits=(Edit("0"),)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tflite_files_too(shared, tmp_path):
    pytest.importorskip("ai_edge_litert")
    model = open_model(str(shared / "models" / "mobilenet_v1_0.25_128_quant.tflite"), class_offset=1)
    made = write_repaired(model, Plan(crop=CropSelection()), tmp_path / "out")
    same(open_model(str(tmp_path / "out")), made)
    assert read_plan(tmp_path / "out").source.class_offset == 1


def test_detectors_too(shared, tmp_path):
    pytest.importorskip("onnxruntime")
    decoder = "examples/fastestdet.py:decode"
    how = {"task": "detect", "decoder": decoder}
    model = open_model(str(shared / "models" / "fastestdet_coco.onnx"), **how, preprocessing={"resize_px": 400})
    write_repaired(model, Plan(crop=CropSelection()), tmp_path / "out")
    again = open_model(str(tmp_path / "out"), **how)
    assert again.preprocessing == repaired(model, Plan(crop=CropSelection())).preprocessing
    ours, theirs = model(noise(model, 2)), again(noise(model, 2))
    assert all(np.array_equal(one.boxes, other.boxes) for one, other in zip(ours, theirs, strict=True))


def test_a_server_is_asked_only_where_the_user_says_so(tmp_path):
    pytest.importorskip("httpx")
    from test_http_model import DESCRIPTION, Server

    server = Server(description={**DESCRIPTION, "preprocessing": {"resize_px": 24}})
    try:
        model = open_model(server.url)
        out = tmp_path / "out"
        made = write_repaired(model, Plan(phases=PLAN.phases), out)
        asked = len(server.counts)
        said = refused(open_model, str(out))
        assert f"source={model.spec}" in said
        assert "not" in refused(open_model, str(out), model_args={"source": "http://elsewhere/"})
        assert len(server.counts) == asked
        again = open_model(str(out), model_args={"source": server.url})
        assert np.allclose(again(noise(made)), made(noise(made)))
        assert again.preprocessing == made.preprocessing
        assert [path.name for path in out.iterdir()] == ["plan.json"]
    finally:
        server.stop()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 1}', '{"schema": 1, "source": {"spec": "demo"}}'])
def test_what_is_no_repair_is_refused(content, tmp_path):
    assert "hf/FOLDER" in refused(open_model, str(tmp_path))
    (tmp_path / "plan.json").write_text(content)
    assert "plan.json" in refused(open_model, str(tmp_path))
