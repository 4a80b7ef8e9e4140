"""Exported programs answer as the nets they came from, in batches of any size; nothing in a file is run."""

import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from test_models import VIEWS, optional, small_net  # noqa: E402
from torch import nn  # noqa: E402
from torch.export import Dim  # noqa: E402

from shiftable.errors import InputError  # noqa: E402
from shiftable.models import open_model  # noqa: E402
from shiftable.models.artefacts import Options  # noqa: E402
from shiftable.models.exported import from_exported  # noqa: E402
from shiftable.models.exported_net import load_exported  # noqa: E402
from shiftable.models.torch_model import torch_model  # noqa: E402

SIZE = {"view_size": [40, 56]}


def exported(path, net=None, shape=(2, 3, 40, 56), dtype=torch.float32, dims=None):
    """A file as torch.export.save writes it."""
    program = torch.export.export(net or small_net(), (torch.zeros(shape, dtype=dtype),), dynamic_shapes=dims)
    torch.export.save(program, path)
    return str(path)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("pt2") / "net.pt2", dims=({0: Dim("batch", min=1, max=64)},))


def opened(path, **more):
    return open_model(str(path), device="cpu", **more)


def wanted(views=VIEWS, net=None):
    return open_model(net or small_net(), preprocessing=SIZE, device="cpu")(views)


# ── answers ──

BATCHES = {
    "any": ((2, 3, 40, 56), ({0: Dim("batch", min=1)},)),
    "1": ((1, 3, 40, 56), None),
    "4": ((4, 3, 40, 56), None),
    "2 or more": ((3, 3, 40, 56), ({0: Dim("batch", min=2)},)),
    "at most 3": ((3, 3, 40, 56), ({0: Dim("batch", min=1, max=3)},)),
}


@pytest.mark.parametrize(("shape", "dims"), BATCHES.values(), ids=BATCHES)
def test_answers_are_the_nets_whatever_batches_it_was_exported_for(shape, dims, tmp_path):
    model = opened(exported(tmp_path / "net.pt2", shape=shape, dims=dims))
    assert model.view_size == (40, 56)
    assert model.scores == "logits"
    for count in (1, 2, 5):
        np.testing.assert_allclose(model(VIEWS[:count]), wanted(VIEWS[:count]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fast", [True, False])
def test_layout_and_size_are_read(file, fast):
    model = opened(file, fast=fast)
    assert model.settings["layout"] == ("channels_last" if fast else "contiguous")
    np.testing.assert_allclose(model(VIEWS), wanted(), rtol=1e-4, atol=1e-5)
    assert model.size["layers"] == 3
    assert model.size["parameters"] == sum(weight.numel() for weight in small_net().parameters())


class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = small_net(last=nn.Softmax(1))

    def forward(self, x):
        pixels = (x.float() / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
        return {"logits": self.net(pixels.permute(0, 3, 1, 2))}


@pytest.mark.parametrize("batch", [1, 2])
def test_what_a_program_takes_and_answers_is_read_from_its_graph(batch, tmp_path):
    model = opened(exported(tmp_path / "net.pt2", ChannelsLast(), (batch, 40, 56, 3), torch.uint8))
    assert (model.preprocessing.layout, model.preprocessing.dtype) == ("NHWC", "uint8")
    assert model.scores == "probabilities"
    want = torch.tensor(wanted()).softmax(1).numpy()
    np.testing.assert_allclose(model(VIEWS), want, rtol=1e-4, atol=1e-6)


def test_sides_that_may_vary_are_those_of_the_example(tmp_path):
    dims = ({0: Dim("batch"), 2: Dim("height", min=33, max=80), 3: Dim("width", min=33, max=80)},)
    path = exported(tmp_path / "net.pt2", dims=dims)
    assert opened(path).view_size == (40, 56)
    views = np.random.default_rng(2).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    other = opened(path, preprocessing={"view_size": [48, 64]})
    want = open_model(small_net(), preprocessing={"view_size": [48, 64]}, device="cpu")(views)
    np.testing.assert_allclose(other(views), want, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"can't take a view of 96×96 px .exported for sides of 33 to 80, 33 to 80 px"):
        opened(path, preprocessing={"view_size": 96})


def test_a_view_of_another_size_is_refused(file):
    with pytest.raises(InputError, match="its input is fixed at 40×56 px, and view_size asks for 48×48 px"):
        opened(file, preprocessing={"view_size": 48})
    net = from_exported(file, Options(), True).net
    with pytest.raises(ValueError, match="exported for sides of 40, 56 px"):  # PyTorch itself would answer
        net(torch.zeros(1, 3, 48, 48))


def test_a_program_in_memory_opens_as_well():
    program = torch.export.export(small_net(), (torch.zeros(2, 3, 40, 56),), dynamic_shapes=({0: Dim("batch")},))
    with pytest.warns(FutureWarning, match="treespec"):
        model = open_model(program.module(), preprocessing=SIZE, device="cpu")
    np.testing.assert_allclose(model(VIEWS), wanted(), rtol=1e-4, atol=1e-5)


def test_the_fingerprint_is_the_files_and_assumptions_are_told(tmp_path):
    path = exported(tmp_path / "net.pt2")
    origin = from_exported(path, Options(), True)
    assert origin.weights_sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert "nothing says how net.pt2 is fed" in origin.remarks[0]
    assert origin.preprocessing.resize_px == 45
    model = torch_model(
        origin.net, spec=path, view_size=origin.view_size, preprocessing=origin.preprocessing, remarks=origin.remarks
    )
    assert model.remarks == origin.remarks
    (tmp_path / "net.json").write_text(json.dumps({"mean": [0.5], "std": [0.5], "resize_px": 64}))
    origin = from_exported(path, Options(), True)
    assert origin.remarks == ()
    assert (origin.preprocessing.mean, origin.preprocessing.resize_px) == ((0.5,), 64)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenetv2_100"])
def test_a_real_net_answers_the_same_from_its_program(name, shared, tmp_path):
    library, arguments = ("torchvision", {}) if name == "squeezenet1_1" else ("timm", {"pad_type": "same"})
    optional(library)
    weights = shared / "models" / f"{name}.safetensors"
    model = open_model(f"{library}/{name}", weights=weights, model_args=arguments, device="cpu")
    net = model.net.to(memory_format=torch.contiguous_format)
    path = exported(tmp_path / "net.pt2", net, (2, 3, 224, 224), dims=({0: Dim("batch")},))
    rng = np.random.default_rng(0)
    views = rng.integers(0, 256, (8, 224, 224, 3), dtype=np.uint8) // rng.integers(1, 9, (8, 1, 1, 1), dtype=np.uint8)
    want, got = model(views), opened(path)(views)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.ptp(want))
    assert (got.argmax(1) == want.argmax(1)).all()


# ── what is refused ──


def refused(path, message, **more):
    with pytest.raises(InputError, match=message) as caught:
        opened(path, **more)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def zipped(**files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/"), text)
    return content.getvalue()


NO_PROGRAMS = {
    "nothing": (b"", "it is empty"),
    "text": (b"not a model at all, just text", "it begins with b'not a mo'"),
    "pickle": (pickle.dumps({"a": 1}), "no exported program"),
    "another zip": (zipped(**{"readme.txt": "hello"}), "another kind of archive"),
    "cut zip": (zipped(a="b")[:-30], "cut short or damaged"),
    "the old format": (
        zipped(version="8.2", **{"serialized_exported_program.json": "{}"}),
        "exported by an old PyTorch",
    ),
    "no model": (zipped(a__archive_format="pt2", a__archive_version="0", a__version="3"), "no exported program named"),
}


@pytest.mark.parametrize(("content", "message"), NO_PROGRAMS.values(), ids=NO_PROGRAMS)
def test_other_files_are_refused(content, message, tmp_path):
    path = tmp_path / "net.pt2"
    path.write_bytes(content)
    refused(path, message)


def test_more_files_that_are_no_program(file, tmp_path):
    path = tmp_path / "net.pt2"
    refused(path, "no such file")
    path.write_bytes(Path(file).read_bytes()[:-2000])
    refused(path, "another kind of archive, or damaged")  # the example input in it is an archive itself
    torch.save(small_net().state_dict(), path)
    refused(path, "another kind of archive")
    torch.jit.script(nn.Linear(3, 2)).save(path)
    refused(path, "TorchScript program")


DAMAGES = {
    "no JSON": ("models/model.json", b'{"schema_version": '),
    "no text": ("models/model.json", b"\xff\xfe\xfd"),
    "JSON too deep": ("models/model.json", b"[" * 100_000),
    "another form": ("data/weights/model_weights_config.json", b"{}"),
    "a list": ("data/weights/model_weights_config.json", b"[]"),
    "nothing in it": ("data/weights/model_weights_config.json", b'{"config": {"0.weight": null}}'),
    "a nameless weight": ("data/weights/model_weights_config.json", b'{"config": {"0.weight": {}}}'),
}


@pytest.mark.parametrize(("name", "content"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_programs_are_refused(name, content, file, tmp_path):
    refused(changed(file, tmp_path / "net.pt2", name, lambda _: content), "it is damaged .*; give what")


def test_programs_that_are_plain_but_no_programs_are_refused(file, tmp_path):
    path = tmp_path / "net.pt2"
    for content in (b"{}", b"[]", b"null"):
        refused(changed(file, path, "models/model.json", lambda _, content=content: content), "can't be loaded")


def test_flipped_bits_are_no_tracebacks(file):
    whole, rng = Path(file).read_bytes(), np.random.default_rng(0)
    begin, messages = whole.index(b"graph_module"), []
    for place in rng.integers(begin, begin + 8000, 40):  # its description; weights have no form that could be broken
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        try:
            load_exported(bytes(content), Path("net.pt2"))
        except InputError as error:
            messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)


def test_options_for_nets_that_are_built_are_refused(file):
    refused(file, "--model-arg is for nets that are built", model_args={"a": 1})
    refused(file, "--weights is for nets that are built", weights="any.safetensors")


class Two(nn.Module):
    def forward(self, x, y):
        return x.mean((2, 3)) + y


def test_programs_that_take_no_batch_of_images_are_refused(tmp_path):
    path = tmp_path / "net.pt2"
    exported(path, nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), (2, 1, 3, 4))
    refused(path, r"takes an input of the shape \(2, 1, 3, 4\)")
    exported(path, small_net().double(), dtype=torch.float64)
    refused(path, "takes numbers of type float64; export it in float32")
    torch.export.save(torch.export.export(Two(), (torch.zeros(2, 3, 4, 4), torch.zeros(2, 3))), path)
    refused(path, "takes 2 inputs")


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.BatchNorm2d(3)])
def test_programs_exported_in_training_mode_are_refused(layer, tmp_path):
    net = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    refused(exported(tmp_path / "net.pt2", net), "training mode .*call net.eval")


# ── nothing in the file is run ──


class Malice:
    """A pickle that leaves a file behind."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (self.trace, "w")


def changed(source, path, name, change):
    """A copy of an archive with one record changed, or added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        top = old.namelist()[0].partition("/")[0]
        full = f"{top}/{name}"
        for entry in old.namelist():
            content = old.read(entry)
            new.writestr(entry, change(content) if entry == full else content)
        if full not in old.namelist():
            new.writestr(full, change(b""))
    return path


def in_graph(old, new):
    def change(content):
        text = json.dumps(json.loads(content))
        assert old in text
        return text.replace(old, new).encode()

    return change


def unpickle_weights(content):
    config = json.loads(content)
    next(iter(config["config"].values()))["use_pickle"] = True
    return json.dumps(config).encode()


@pytest.fixture
def trace(tmp_path):
    """A file that must never come to be."""
    trace = tmp_path / "trace"
    yield trace
    assert not trace.exists()


def test_pickles_in_a_program_are_not_run(file, tmp_path, trace):
    saved = io.BytesIO()
    torch.save(Malice(trace), saved)
    path = changed(file, tmp_path / "net.pt2", "data/sample_inputs/model.pt", lambda _: saved.getvalue())
    refused(path, r"could run code \(data/sample_inputs/model.pt calls io.open\)")
    changed(file, path, "data/sample_inputs/model.pt", lambda _: pickle.dumps(Malice(trace)))
    refused(path, "could run code")
    changed(file, path, "data/weights/model.pt", lambda _: saved.getvalue())
    refused(path, "could run code")
    changed(file, path, "data/weights/model_weights_config.json", unpickle_weights)
    refused(path, "could run code .*says to unpickle weight_0")
    changed(file, path, "data/aotinductor/model/net.so", lambda _: b"\x7fELF")
    refused(path, "could run code .a compiled library")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"torch.ops.aten.relu.default"', '"torch.os.system"'),
        ('"torch.ops.aten.relu.default"', '"torch.ops.load_library"'),
        ('"torch.ops.aten.relu.default"', '"torch.ops.aten.from_file.default"'),
        ('"torch.ops.aten.relu.default"', '"_operator.methodcaller"'),
        ('"torch.ops.aten.relu.default"', '"torch.ops.aten.__class__"'),
        ("Symbol('", "__import__('os').system('"),
        ("positive=True", "positive=exec('import os')"),
        ('"name": "conv2d"', '"name": "x, y=print(1)"'),
        ('"p_0_weight"', '"p_0_weight=open(1)"'),
        ("builtins.tuple", "__enum__"),
    ],
)
def test_code_in_a_graph_is_not_run(old, new, file, tmp_path, trace):
    path = changed(file, tmp_path / "net.pt2", "models/model.json", in_graph(old, new))
    refused(path, "could run code")


def test_guards_in_a_program_are_left_out(file, tmp_path, trace):
    code = f"__import__('pathlib').Path('{trace}').touch() or True"
    change = in_graph('"guards_code": []', f'"guards_code": ["{code}"]')
    path = changed(file, tmp_path / "net.pt2", "models/model.json", change)
    np.testing.assert_allclose(opened(path)(VIEWS), wanted(), rtol=1e-4, atol=1e-5)
