"""Exported once, a net is answered by another runtime as by PyTorch; in 16 bits or compiled nearly so."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from test_models import VIEWS, Returning, optional, small_net  # noqa: E402
from torch import nn  # noqa: E402

from shiftable.auditing.motions import make_motion  # noqa: E402
from shiftable.auditing.rechecking import first_views, rechecked  # noqa: E402
from shiftable.auditing.showing import Show  # noqa: E402
from shiftable.auditing.walks import make_walk  # noqa: E402
from shiftable.data import find_samples  # noqa: E402
from shiftable.errors import InputError  # noqa: E402
from shiftable.models import Model, open_model  # noqa: E402
from shiftable.models import runtimes as module  # noqa: E402
from shiftable.models.exporting import compared, export_onnx, sample_views  # noqa: E402
from shiftable.models.runtimes import run_by  # noqa: E402

SIZE = {"view_size": [40, 56]}
PACKAGES = {"onnx": ("onnxruntime", "onnxscript"), "openvino": ("openvino", "onnxscript")}


def opened(net, **more):
    return open_model(net, **{"device": "cpu", "preprocessing": SIZE, **more})


def need(runtime):
    for name in PACKAGES[runtime]:
        if name != "openvino":
            pytest.importorskip(name)
    if runtime == "openvino":
        from importlib.util import find_spec

        if find_spec("openvino") is None:
            pytest.skip("openvino is not installed")


def refused(message, **more):
    with pytest.raises(InputError, match=message) as caught:
        opened(more.pop("net", None) or small_net(), **more)
    assert "\n" not in str(caught.value)


# ── other runtimes ──


@pytest.mark.parametrize("runtime", PACKAGES)
def test_answers_are_pytorchs(runtime):
    need(runtime)
    names = [f"class {number}" for number in range(6)]
    more = {"class_offset": 1, "class_names": names, "preprocessing": {**SIZE, "color_order": "BGR", "mean": [0.1]}}
    want = opened(Returning(lambda y: {"logits": y.softmax(1)}), **more)
    got = opened(Returning(lambda y: {"logits": y.softmax(1)}), runtime=runtime, threads=1, **more)
    assert isinstance(got, Model)
    for name in ("spec", "weights_sha256", "preprocessing", "class_names", "class_offset", "scores", "size", "task"):
        assert getattr(got, name) == getattr(want, name)
    assert got.settings["runtime"] == runtime
    assert got.settings["threads"] == 1
    assert got.settings["precision"] == "float32"
    assert got.checks["largest_difference"] < 1e-5
    assert got.checks["other_top1"] == "0 of 64"
    assert not got.settings.keys() & got.checks  # an audit goes on only with the same settings
    for count in (1, 2, 5):
        np.testing.assert_allclose(got(VIEWS[:count]), want(VIEWS[:count]), rtol=1e-4, atol=1e-6)
    assert got(VIEWS).tobytes() == got(VIEWS.copy()).tobytes()
    fed = replace(got, preprocessing=replace(want.preprocessing, color_order="RGB"))
    np.testing.assert_allclose(fed(VIEWS), want(VIEWS[..., ::-1]), rtol=1e-4, atol=1e-6)


class Whole(nn.Module):
    """Takes bytes, channels last, a batch of 32 and no other."""

    def __init__(self):
        super().__init__()
        self.net = small_net()

    def forward(self, x):
        numbers = (x.float() / 255).permute(0, 3, 1, 2)
        return self.net(torch.cat([numbers[i : i + 1] for i in range(len(numbers))]))


@pytest.mark.parametrize("runtime", PACKAGES)
def test_nets_of_other_layouts_and_types_are_fed_as_by_pytorch(runtime):
    need(runtime)
    more = {"preprocessing": {**SIZE, "layout": "NHWC", "dtype": "uint8"}}
    want, got = opened(Whole(), **more), opened(Whole(), runtime=runtime, **more)
    assert got.settings["views_per_call"] == 32  # its loop over the batch can't be exported for any
    for count in (2, 5, 40):
        views = np.concatenate([VIEWS] * 8)[:count]
        np.testing.assert_allclose(got(views), want(views), rtol=1e-4, atol=1e-5)


class Branching(nn.Module):
    """What it computes depends on what it sees."""

    def forward(self, x):
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


@pytest.mark.parametrize("runtime", PACKAGES)
def test_a_net_that_can_not_be_exported_is_refused(runtime):
    need(runtime)
    refused("^Branching: it can't be exported .*; use --runtime torch$", net=Branching(), runtime=runtime)


def test_an_export_that_answers_otherwise_is_refused():
    model = opened(small_net())
    other = opened(small_net())
    with torch.no_grad():
        other.net[-1].weight[0] += 0.1
    with pytest.raises(InputError, match=r"its answers differ from PyTorch's by up to .*; use --runtime torch"):
        compared(model, other)
    with pytest.raises(InputError, match="differ"):
        compared(model, opened(small_net(classes=8)))
    assert compared(model, model) == {"largest_difference": 0.0, "other_top1": "0 of 64"}


def test_an_export_says_nothing(capfd, recwarn):
    need("onnx")
    export_onnx(opened(small_net()))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_sample_views_are_smooth_and_rough_and_always_the_same():
    views = sample_views((40, 56))
    np.testing.assert_array_equal(views, sample_views((40, 56)))
    roughness = np.abs(np.diff(views.astype(float), axis=1)).mean((1, 2, 3))
    assert roughness.max() > 10 * roughness.min() > 0


REFUSED = {
    "bf16 by onnxruntime": ({"runtime": "onnx", "precision": "bf16"}, "onnxruntime has no bf16"),
    "compiled, by another": ({"runtime": "openvino", "compile": True}, "--compile is for --runtime torch"),
    "bf16 embeddings": ({"precision": "bf16", "task": "embed"}, "bf16 is for classifiers; leave --precision out"),
    "compiled embeddings": ({"compile": True, "task": "embed"}, "--compile is for classifiers; leave --compile out"),
}


@pytest.mark.parametrize(("more", "message"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_is_refused(more, message):
    refused(message, **more)


def test_an_accelerator_is_pytorchs(monkeypatch):
    model = opened(small_net())
    elsewhere = replace(model, settings={**model.settings, "device": "cuda"})
    with pytest.raises(InputError, match="--runtime onnx runs on the CPU"):
        run_by(elsewhere, runtime="onnx", precision="fp32", compile=False, threads=None)
    assert run_by(elsewhere, runtime="auto", precision="fp32", compile=False, threads=None) is elsewhere


def test_auto_takes_the_fastest_and_leaves_out_what_fails(monkeypatch):
    need("onnx")
    assert opened(small_net(), runtime="auto").settings["runtime"] in ("torch", "onnx", "openvino")
    assert opened(Branching(), runtime="auto").settings["runtime"] == "torch"
    need("openvino")
    seconds = {"torch": 3, "onnx": 1, "openvino": 2}
    monkeypatch.setattr(module, "_seconds", lambda model: seconds[model.settings["runtime"]])
    assert opened(small_net(), runtime="auto").settings["runtime"] == "onnx"
    assert opened(small_net(), runtime="auto", precision="bf16").settings["runtime"] == "openvino"


def test_openvino_does_not_report_to_anyone():
    need("openvino")
    code = (
        "import sys; from shiftable.models.openvino_model import import_openvino; import_openvino(); "
        "print(sys.modules['openvino.tools.ovc.convert_impl'].tm.__name__, sys.modules['openvino_telemetry'])"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert printed == ["openvino.tools.ovc.telemetry_stub", "None"]


# ── 16 bits, compiled ──


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_bf16_is_a_likeness_of_an_exact_model(runtime):
    if runtime == "openvino":
        need(runtime)
    plain = opened(small_net())
    try:
        fast = opened(small_net(), precision="bf16", runtime=runtime)
    except InputError as error:
        pytest.skip(str(error))  # this CPU has none
    assert fast.settings["precision"] == "bfloat16"
    assert fast.exact.settings["precision"] == "float32"
    assert fast.exact.exact is None
    assert fast(VIEWS).dtype == np.float32
    difference = np.abs(fast(VIEWS) - plain(VIEWS)).max()
    assert 1e-6 < difference < 0.1 * np.ptp(plain(VIEWS))
    np.testing.assert_allclose(fast.exact(VIEWS), plain(VIEWS), rtol=1e-4, atol=1e-5)
    fed = replace(fast, preprocessing=replace(plain.preprocessing, mean=(0.1,)))
    want = replace(plain, preprocessing=fed.preprocessing)(VIEWS)
    np.testing.assert_allclose(fed.exact(VIEWS), want, rtol=1e-4, atol=1e-5)


def test_bf16_shares_its_weights_with_the_exact_net():
    fast = opened(small_net(), precision="bf16")
    assert fast.net is fast.exact.net
    assert next(fast.net.parameters()).dtype == torch.float32


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_compiled_net_answers_batches_of_any_size():
    try:
        fast = opened(small_net(), compile=True)
    except InputError as error:
        pytest.skip(str(error))  # no C++ compiler here
    assert fast.settings["compiled"] is True
    assert fast.exact.settings["compiled"] is opened(small_net()).settings["compiled"] is False
    assert fast.exact.net is fast.net.net._orig_mod
    plain = opened(small_net())
    for count in (1, 5, 40):
        views = np.concatenate([VIEWS] * 8)[:count]
        np.testing.assert_allclose(fast(views), plain(views), rtol=1e-4, atol=1e-5)


def test_a_net_that_can_not_be_compiled_is_refused(monkeypatch):
    def broken(net, **more):
        def compiled(inputs):
            raise RuntimeError("no working C++ compiler\nand a page of advice")

        net = nn.Module()
        net.forward = compiled
        return net

    monkeypatch.setattr(torch, "compile", broken)
    refused(r"it fails with --compile \(no working C\+\+ compiler\); use it without --compile", compile=True)


# ── real nets ──


def real(name, shared, **more):
    library, arguments = ("torchvision", {}) if name == "squeezenet1_1" else ("timm", {"pad_type": "same"})
    optional(library)
    weights = shared / "models" / f"{name}.safetensors"
    return open_model(f"{library}/{name}", weights=weights, model_args=arguments, device="cpu", **more)


def shown(model, shared, steps=3, count=30):
    samples = find_samples(shared / "data" / "imagenet_samples", count)
    show = Show(make_motion("crop", seed=0), make_walk("sweep", steps=steps), model.preprocessing, model.view_size)
    show = replace(show, controls=False)
    return show, samples, np.concatenate([show(number, sample).views for number, sample in enumerate(samples)])


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenetv2_100"])
def test_real_nets_answer_alike_everywhere(name, shared):
    need("onnx")
    need("openvino")
    plain = real(name, shared)
    _, _, views = shown(plain, shared)
    want = plain(views)
    exported = module._Exported(plain, "fp32", 2)  # once for both
    for model in (exported.by_onnxruntime(), exported.by_openvino()):
        got = model(views)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.ptp(want))
        assert (got.argmax(1) == want.argmax(1)).mean() >= 0.999


def test_real_bf16_answers_have_the_top1_of_fp32_after_the_recheck(shared):
    fast = real("squeezenet1_1", shared, precision="bf16")
    show, samples, views = shown(fast, shared)
    model = rechecked(fast, fast.exact, first_views(show, samples, 64), top5=False, seed=0)
    batches = [views[at : at + 32] for at in range(0, len(views), 32)]
    got, want = (np.concatenate([each(batch) for batch in batches]) for each in (model, fast.exact))
    assert (got.argmax(1) == want.argmax(1)).mean() >= 0.999
    assert 0 < model.summary()["rechecked_share"] < 0.6
