"""`explain` looks into nets: through the library and the command line, every architecture."""

import json

import numpy as np
import pytest
from fakes import pictures

import shiftable as sh
from shiftable.cli import main
from shiftable.errors import InputError
from shiftable.explaining.findings import findings
from shiftable.models.torchvision_repair import import_torchvision

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn

SMALL = {"view_size": [32, 32], "resize_px": 40}


def striding(strides=(2, 2), classes=5, width=8):
    """A convolutional net with a global pooling, one strided convolution a stage; no class leads on noise."""
    torch.manual_seed(3)
    stages, channels = [], 3
    for stride in strides:
        stages += [nn.Conv2d(channels, width, 3, stride, 1), nn.ReLU()]
        channels = width
    net = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        net[-1].bias -= torch.from_numpy(sh.open_model(net, preprocessing=SMALL)(noise)).mean(0)
    return net


@pytest.fixture(scope="module")
def diagnosis():
    model = sh.open_model(striding(), preprocessing=SMALL)
    return sh.explain(model, pictures(6, (48, 56)), steps=9, dense=1, interventions=True, pairs=2)


def test_everything_is_there(diagnosis):
    assert diagnosis.structure.stride_px == (4, 4)
    assert [site.name for site in diagnosis.structure.sites] == [each.site for each in diagnosis.spectra] == ["0", "2"]
    assert diagnosis.sampling.how == "dilated"
    assert {len(each.sites) for each in diagnosis.interventions} == {1, 2}
    assert diagnosis.responses[-1].stride_px == (4, 4)
    assert diagnosis.margins.p_flip.pairs == diagnosis.sampling.flips_measured.pairs == 6 * 8
    assert diagnosis.outside is None
    assert 0 < diagnosis.margins.p_flip.value < 1
    weights = [each.weight for each in diagnosis.findings]
    assert weights == sorted(weights, reverse=True)
    json.dumps(diagnosis.to_json(), allow_nan=False)


def test_the_same_flips_everywhere(diagnosis):
    audit = sh.audit(sh.open_model(striding(), preprocessing=SMALL), pictures(6, (48, 56)), steps=9,
                     direction="horizontal")  # fmt: skip
    assert diagnosis.margins.p_flip.value == pytest.approx(audit.metrics["p_top1_change"].value)
    assert diagnosis.interventions[0].flips_before == diagnosis.margins.p_flip


def test_it_can_be_repeated(diagnosis):
    again = sh.explain(sh.open_model(striding(), preprocessing=SMALL), pictures(6, (48, 56)), steps=9, dense=1)
    timeless = {**diagnosis.to_json(), "interventions": [], "interactions": []}
    for key in ("structure", "responses", "spectra", "sampling", "margins", "risk"):
        assert json.dumps(again.to_json()[key]) == json.dumps(timeless[key]), key


def test_the_callers_net_is_as_it_was():
    net = striding().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    sh.explain(sh.open_model(net, preprocessing=SMALL), pictures(2, (48, 56)), steps=3, dense=0, interventions=True)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_net_without_subsampling():
    model = sh.open_model(striding((1, 1)), preprocessing=SMALL)
    found = sh.explain(model, pictures(4, (48, 56)), steps=5)
    assert found.structure.sites == found.spectra == found.interventions == ()
    assert found.sampling is None
    assert any(each.cause == "stride" and "nothing in it subsamples" in each.words for each in found.findings)


def test_a_net_with_a_flattened_head():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4 * 8 * 8, 5))
    found = sh.explain(sh.open_model(net, preprocessing=SMALL), pictures(4, (48, 56)), steps=5, dense=1)
    assert found.sampling.how == "phases"
    assert found.sampling.why_not


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"direction": "diagonal"}, "choose horizontal or vertical"),
        ({"steps": 2}, "take 3 or more"),
        ({"layers": ["classifer"]}, "unknown layer"),
    ],
)
def test_what_can_not_be_asked(options, words):
    model = sh.open_model(striding(), preprocessing=SMALL)
    with pytest.raises(InputError, match=words):
        sh.explain(model, pictures(2, (48, 56)), **options)


def test_images_that_can_not_be_used_are_left_out_and_said(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (48, 56, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = sh.explain(sh.open_model(striding(), preprocessing=SMALL), tmp_path, steps=3, dense=0)
    assert found.images["used"] == 3
    assert any("broken.png" in each for each in found.remarks)


def test_a_resize_that_aliases_is_found(diagnosis):
    none = findings(None, diagnosis.margins.p_flip, None, (), (), None, None, antialias=False, shrinks=True)
    assert [each.cause for each in none] == ["resize"]


def test_the_command(tmp_path, capsys):
    out = tmp_path / "why"
    assert main(["explain", "--images", "4", "--steps", "5", "--dense", "0", "--out", str(out)]) == 0
    assert "report:" in capsys.readouterr().out
    assert {"diagnosis.json", "structure.json", "risk.json", "report.html", "figures"} <= {
        p.name for p in out.iterdir()
    }
    assert sh.read_risk(out / "risk.json")(np.array([0.0, 5.0])).shape == (2,)
    assert main(["explain", "--images", "4", "--out", str(out)]) == 2  # nothing is overwritten unasked
    assert "--overwrite" in capsys.readouterr().err
    again = ["explain", "--images", "4", "--steps", "5", "--dense", "0", "--beside", str(out), "--format", "json"]
    assert main([*again, "--out", str(tmp_path / "other")]) == 0
    assert json.loads(capsys.readouterr().out)["spec"] == "demo"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["explain", "model.onnx"], "no images given"),
        (["explain", "--direction", "up"], "take horizontal or vertical"),
        (["explain", "--layer", "4.9", "--images", "2", "--steps", "3"], "unknown layer '4.9'"),
        (["explain", "--beside", "nowhere"], "nowhere"),
    ],
)
def test_commands_that_can_not_be_carried_out(arguments, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in errors if line.startswith("shiftable:")]) == 1
    assert words in errors[-1]
    assert not list(tmp_path.rglob("report.html"))


ARCHITECTURES = {
    "vgg11": {"mlp_ratio": 0.05},
    "resnet18": {},
    "densenet121": {"growth_rate": 8, "block_config": (2, 2, 2, 2)},
    "mobilenetv2_050": {"pad_type": "same"},
    "mobilenetv3_small_050": {},
    "efficientnet_b0": {},
    "convnext_atto": {},
    "inception_resnet_v2": {},
    "vit_tiny_patch16_224": {"img_size": 96},
    "swin_tiny_patch4_window7_224": {"img_size": 96, "window_size": 3, "embed_dim": 48, "depths": (1, 1, 1, 1)},
}
PHASES = ("vgg11", "inception_resnet_v2", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224")
"""What can't be made dense: flattened heads, unpadded branches beside padded ones, attention."""


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_explained(name):
    import_torchvision()  # first: timm imports it
    timm = pytest.importorskip("timm", reason="timm is not installed")

    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=10, **ARCHITECTURES[name])
    model = sh.open_model(net, preprocessing={"view_size": [96, 96], "resize_px": 112})
    found = sh.explain(model, pictures(2, (112, 120)), steps=3, dense=0)
    structure = found.structure
    assert structure.stride_px == ((16, 16) if name.startswith("vit") else (32, 32))
    assert len(found.responses) >= 2
    assert {each.site for each in found.spectra} == {site.name for site in structure.sites}
    assert found.sampling.how == ("phases" if name in PHASES else "dilated"), found.sampling.why_not
    assert found.findings
