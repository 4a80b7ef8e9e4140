"""The command line as a user meets it: real commands, their output and exit codes, a line for what can't be used."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from shiftable.cli import main

pytest.importorskip("torch")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        Image.effect_noise((90, 70), 60 + number).convert("RGB").save(folder / f"{number}.jpg")
    return folder


def test_without_arguments_it_audits_the_demo(run, tmp_path):
    code, out, _ = run("audit", "--images", 6)
    assert code == 0
    assert "p_top1_change" in out
    assert "report: audits" in out
    folder = tmp_path / "audits" / "demo-crop-sweep"
    audit = json.loads((folder / "audit.json").read_text())
    assert audit["metrics"]["accuracy"]["images"] == 6
    assert audit["controls"]["still"]["p_top1_change"]["value"] == 0
    assert (folder / "report.html").exists()
    again, _, _ = run("audit", "--images", 6)
    assert again == 0
    assert json.loads((folder / "audit.json").read_text()) == audit


def test_json_is_the_audit_file_and_nothing_else(run, tmp_path):
    code, out, _ = run("audit", "--images", 3, "--format", "json", "--out", "here")
    assert code == 0
    assert out == (tmp_path / "here" / "audit.json").read_text()


def test_broken_files_are_named_and_left_out(run, photos):
    (photos / "empty.jpg").touch()
    whole = (photos / "0.jpg").read_bytes()
    (photos / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "page.png").write_text("<html>not found</html>")
    code, out, _ = run("audit", "demo", photos, "--steps", 3, "--out", "o")
    assert code == 0
    assert "3 of 7 images were skipped: empty.jpg" in out
    code, _, err = run("audit", "demo", photos, "--steps", 3, "--out", "p", "--strict")
    assert code == 2
    assert err == "shiftable: empty.jpg: the file is empty\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "nowhere"], "nowhere: no such file or folder; give images"),
        (["demo", "EMPTY"], "no images (it is empty)"),
        (["dem", "PHOTOS"], "unknown model 'dem'; did you mean demo?"),
        (["timm/resnet5O", "PHOTOS"], "did you mean resnet50"),
        (["torchvision/squeezenet", "PHOTOS"], "did you mean squeezenet1"),
        (["torchvision/squeezenet1_1"], "no images given"),
        (["no_such_module:build", "PHOTOS"], "no module 'no_such_module'"),
        (["--motion", "corp"], "unknown motion 'corp'; did you mean crop?"),
        (["--walk", "sweeep"], "did you mean sweep?"),
        (["--direction", "up"], "unknown direction 'up'"),
        (["--metric", "macc"], "did you mean mac?"),
        (["demo", "PHOTOS", "--metric", "accuracy"], "accuracy needs labels; give --labels FILE"),
        (["demo", "PHOTOS", "--labels", "none.csv"], "none.csv"),
        (["--weights", "none.safetensors"], "none.safetensors: no such file; give a .safetensors file"),
        (["--weights", "PHOTOS/0.jpg"], "no weights file"),
        (["--model-arg", "width"], "'width' has no value; write key=value"),
        (["--preprocessing", "resampler=cubic"], "resampler can't be 'cubic'"),
        (["--preprocessing", "resizer=bicubic"], "unknown preprocessing field 'resizer'; did you mean"),
        (["--preprocessing", "none.json"], "none.json: No such file or directory"),
        (["--device", "cudda"], "device 'cudda' can't be used"),
        (["--scores", "odds"], "unknown scores 'odds'"),
        (["--steps", "99"], "leaves the image"),
        (
            ["demo", "shapes", "--steps", "35", "--no-enlarge"],
            "step 0 (dy = -17 px) leaves the image; 1 px are missing",
        ),
        (["--format", "yaml"], "take text or json"),
        (["--images", "0"], "Invalid value for '--images'"),
        (["--stps", "3"], "No such option: --stps"),
        (["--out", "PHOTOS/0.jpg"], "can't be written"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(run, photos, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    places = {"PHOTOS": str(photos), "EMPTY": str(tmp_path / "empty")}
    filled = [argument.replace("PHOTOS", places["PHOTOS"]).replace("EMPTY", places["EMPTY"]) for argument in arguments]
    if "--steps" in filled and "99" in filled:
        filled += ["--no-enlarge"]
    code, out, err = run("audit", *filled)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("shiftable: ")
    assert message in err


def test_another_audit_in_the_folder_needs_overwrite(run):
    assert run("audit", "--images", 3, "--steps", 3, "--out", "o")[0] == 0
    code, _, err = run("audit", "--images", 3, "--steps", 5, "--out", "o")
    assert code == 2
    assert "o: holds another audit (its steps is 3, not 5); give another --out, or --overwrite to delete it" in err
    assert run("audit", "--images", 3, "--steps", 5, "--out", "o", "--overwrite")[0] == 0


def test_own_factory_own_weights_own_preprocessing(run, photos, tmp_path):
    (tmp_path / "mynet.py").write_text(
        "import torch\n"
        "def build(classes=4):\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, classes, 5, stride=4), torch.nn.AdaptiveAvgPool2d(1),\n"
        "                               torch.nn.Flatten(), torch.nn.Softmax(1))\n"
    )
    arguments = [
        "mynet:build",
        photos,
        "--model-arg",
        "classes=7",
        "--preprocessing",
        "view_size=[32,40];mean=[0.5,0.5,0.5]",
    ]
    assert run("audit", *arguments, "--out", "o")[0] == 0
    model = json.loads((tmp_path / "o" / "audit.json").read_text())["model"]
    assert model["classes"] == 7
    assert model["scores"] == "probabilities"
    assert model["view_size"] == [32, 40]
    assert model["preprocessing"]["mean"] == [0.5] * 3


def test_help_and_version_are_quick_and_need_no_extra():
    code = "import sys; from shiftable.cli import main; main(['--version']); main(['audit', '--help']); " + (
        "assert not {'torch', 'scipy', 'matplotlib', 'timm'} & set(sys.modules)"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "--motion" in out


def test_killed_audits_end_in_the_same_bytes():
    """A few kills; `make kills` does twenty."""
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    script = Path(__file__).parent.parent / "scripts" / "kill_and_resume.py"
    spec = spec_from_file_location("kill_and_resume", script)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.kill_and_resume(times=3, images=120)


@pytest.fixture
def export(tmp_path):
    """The demo as an ONNX file, fed by its own preprocessing."""
    pytest.importorskip("onnxscript")
    import shiftable as sh
    from shiftable.models.exporting import export_onnx

    model = sh.open_model("demo", device="cpu")
    path = tmp_path / "demo.onnx"
    path.write_bytes(export_onnx(model))
    fields = {name: value for name, value in model.preprocessing.to_json().items() if name not in ("layout", "dtype")}
    path.with_suffix(".json").write_text(json.dumps(fields))
    return path


def test_the_same_weights_flip_alike_in_torch_and_onnx(run, export, tmp_path):
    assert run("audit", "demo", "--images", 12, "--out", "torch")[0] == 0
    assert run("audit", export, "shapes", "--images", 12, "--out", "onnx")[0] == 0
    assert run("audit", "demo", "--images", 12, "--runtime", "onnx", "--out", "runtime")[0] == 0
    found = [
        json.loads((tmp_path / name / "audit.json").read_text())["metrics"] for name in ("torch", "onnx", "runtime")
    ]
    for name in ("p_top1_change", "accuracy", "jaggedness"):
        assert found[0][name] == found[1][name] == found[2][name]
    record = json.loads((tmp_path / "runtime" / "run.json").read_text())
    assert record["settings"]["runtime"] == "onnx"
    assert record["checks"]["largest_difference"] < 1e-3
    assert record["checks"]["other_top1"] == "0 of 64"


def test_compare_prints_a_row_per_audit_and_writes_a_page(run, tmp_path):
    for seed in ("a", "b"):
        assert run("audit", "demo", "--images", 8, "--walk", "pairs", "--out", f"audits/{seed}")[0] == 0
    code, out, _ = run("compare", "audits/a", "audits/b", "--out", "both")
    assert code == 0
    assert out.count("demo (") >= 2
    assert (tmp_path / "both" / "report.html").exists()
    code, out, _ = run("compare", "audits/a", "audits/b", "--out", "both", "--format", "json")
    assert json.loads(out) == json.loads((tmp_path / "both" / "comparison.json").read_text())
    assert run("audit", "demo", "--images", 8, "--walk", "grid", "--radius", 1, "--out", "audits/c")[0] == 0
    code, _, err = run("compare", "audits/a", "audits/c")
    assert (code, err.count("\n")) == (2, 1)
    assert "walk" in err
    code, _, err = run("compare", "audits/a", "nowhere")
    assert (code, err.count("\n")) == (2, 1)


def test_parity_names_a_planted_fault(run, export, tmp_path):
    faulty = tmp_path / "faulty.onnx"
    faulty.write_bytes(export.read_bytes())
    fields = json.loads(export.with_suffix(".json").read_text())
    faulty.with_suffix(".json").write_text(json.dumps(fields | {"color_order": "BGR"}))
    code, _, _ = run(
        "audit", "demo", "shapes", "--images", 12, "--walks", 1, "--parity", "--against", export, "--against", faulty,
        "--out", "parity",
    )  # fmt: skip
    assert code == 0
    found = json.loads((tmp_path / "parity" / "parity.json").read_text())
    models = [each for each in found["compared"] if each["kind"] == "model"]
    verdicts = {each["title"]: (each["explanation"]["verdict"], each["explanation"]["variant"]) for each in models}
    assert verdicts["demo.onnx"][0] == "same"
    assert verdicts["faulty.onnx"] == ("explained", "bgr")
    assert (tmp_path / "parity" / "report.html").exists()


def test_tiles_of_the_demo(run):
    code, out, _ = run("tiles", "demo")
    assert code == 0
    assert "total stride" in out
    code, out, _ = run("tiles", "demo", "--format", "json")
    assert code == 0
    assert json.loads(out)["spec"] == "demo"


def test_trace_of_the_demo(run, tmp_path):
    code, out, _ = run("trace", "demo", "shapes", "--motion", "crop", "--steps", 5)
    assert code == 0
    assert out.startswith("crop: ")
    assert (tmp_path / "traces" / "demo-shapes" / "trace.html").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("trace", "demo", "shapes", "--motion", "crpo"), "unknown motion 'crpo'"),
        (("trace", "demo", "shapes", "--start", "2"), "--start: a start is a clip's"),
        (("trace", "demo", "clip.mp4", "--steps", "5"), "--steps: a clip that goes frame by frame has no steps"),
        (("tiles", "net.onnx"), "net.onnx: only PyTorch nets can be looked into"),
        (("tiles", "demo", "--image-size", "abc"), "--image-size: 'abc' is no size"),
        (("audit", "demo", "notes.txt", "--motion", "video"), "notes.txt"),
        (("audit", "demo", "notes.txt", "--motion", "video", "--steps", "5"), "a video have no steps"),
        (("audit", "no/model", "shapes", "--boxes", "boxes.csv"), "--boxes: crop uses no boxes"),
        (("audit", "no/model", "shapes", "--motion", "keep-box", "--walk", "grid"), "keep-box has no grid"),
    ],
)
def test_slips_of_every_command_are_one_line(run, tmp_path, arguments, says):
    (tmp_path / "notes.txt").write_text("not a video")
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--against", "other.onnx"), "--against is for --parity"),
        (("--fill", "mean"), "--motion canvas"),
        (("--motion", "canvas", "--fill", "pink"), "unknown fill"),
        (("--task", "detect"), "--task"),
        (("--precision", "int4"), "--precision"),
        (("--runtime", "tensorrt"), "--runtime"),
        (("--runtime", "onnx", "--compile"), "--compile"),
        (("--threshold", "0.5"), "threshold"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(run, arguments, says):
    code, _, err = run("audit", "demo", "--images", 2, *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert says in err


def test_near_ties_of_a_faster_precision_are_answered_again(run, tmp_path):
    assert run("audit", "demo", "--images", 12, "--out", "exact", "--device", "cpu")[0] == 0
    code, out, _ = run("audit", "demo", "--images", 12, "--out", "fast", "--device", "cpu", "--precision", "bf16")
    assert code == 0
    assert "answered again in plain fp32" in out
    found = json.loads((tmp_path / "fast" / "run.json").read_text())["recheck"]
    assert found["threshold"] > 0
    assert 0 < found["rechecked_share"] < 1
    assert found["disagreed"] == 0
    exact, fast = (json.loads((tmp_path / name / "audit.json").read_text())["metrics"] for name in ("exact", "fast"))
    assert exact["p_top1_change"] == fast["p_top1_change"]


def test_an_address_leaves_no_secret_in_the_folder_it_names():
    from shiftable.cli.opening import short_name as _short_name

    assert _short_name("https://me:secret@host:8321/models/resnet?key=hidden") == "resnet"
    assert _short_name("http://127.0.0.1:8321/") == "127_0_0_1_8321"
    assert _short_name("../models/net.tflite") == "net_tflite"
