"""Models open by name from wherever they come, answer alike however they are laid out, and refuse in one line."""

import hashlib
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

from shiftable.errors import InputError  # noqa: E402
from shiftable.models import Model, Preprocessing, open_model  # noqa: E402
from shiftable.models.outputs import fit_names, scores_by_range  # noqa: E402
from shiftable.models.torch_model import as_scores, read_scores, torch_model  # noqa: E402

SIZE = {"view_size": [40, 56]}
"""Not square."""

VIEWS = np.random.default_rng(1).integers(0, 256, (5, 40, 56, 3), dtype=np.uint8)


def small_net(classes=7, last=None):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
        nn.Conv2d(16, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, classes), *([last] if last else []),
    ).eval()  # fmt: skip


class Returning(nn.Module):
    """Does with a small net's logits whatever is asked."""

    def __init__(self, change):
        super().__init__()
        self.net = small_net()
        self.change = change

    def forward(self, x):
        return self.change(self.net(x))


def opened(net, **more):
    more["preprocessing"] = {**SIZE, **more.get("preprocessing", {})}
    return open_model(net, **more)


def refused(*arguments, **more):
    """The one line with which a model is refused, naming what to do."""
    with pytest.raises(InputError) as caught:
        open_model(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def optional(name):
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    if find_spec("torchvision"):
        from shiftable.models.torchvision_repair import import_torchvision

        import_torchvision()
    return import_module(name)


def by_hand(net, views, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)):
    """A net's answers, everything written out."""
    pixels = ((views / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        return net(torch.tensor(pixels, dtype=torch.float32)).numpy()


# ── answers ──


@pytest.mark.parametrize("fast", [True, False])
def test_answers_are_the_nets(fast):
    model = opened(small_net(), fast=fast)
    assert isinstance(model, Model)
    assert model.settings["layout"] == ("channels_last" if fast else "contiguous")
    assert model.settings["folded_norms"] == (2 if fast else 0)
    assert model.view_size == (40, 56)
    np.testing.assert_allclose(model(VIEWS), by_hand(small_net(), VIEWS), rtol=1e-4, atol=1e-5)
    assert (model(VIEWS).argmax(1) == by_hand(small_net(), VIEWS).argmax(1)).all()


def test_the_same_views_get_the_same_bytes():
    model = opened(small_net())
    assert model(VIEWS).tobytes() == model(VIEWS.copy()).tobytes()


def test_takes_arrays_that_are_read_only_or_mirrored():
    model = opened(small_net())
    frozen = VIEWS.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(model(frozen), model(VIEWS))
    np.testing.assert_array_equal(model(VIEWS[:, :, ::-1]), model(VIEWS[:, :, ::-1].copy()))


@pytest.mark.parametrize("fast", [True, False])
def test_a_net_that_wants_bgr_gets_it(fast):
    model = opened(small_net(), preprocessing={"color_order": "BGR", "mean": [0.1, 0.2, 0.3]}, fast=fast)
    want = by_hand(small_net(), VIEWS[..., ::-1], mean=(0.1, 0.2, 0.3))
    np.testing.assert_allclose(model(VIEWS), want, rtol=1e-4, atol=1e-5)


class ChannelsLast(nn.Module):
    """Takes (view, height, width, channel), as converted nets do."""

    def __init__(self):
        super().__init__()
        self.net = small_net()

    def forward(self, x):
        assert x.shape[1:] == (40, 56, 3)
        return self.net(x.permute(0, 3, 1, 2))


@pytest.mark.parametrize("fast", [True, False])
def test_a_net_that_wants_nhwc_gets_it(fast):
    model = opened(ChannelsLast(), preprocessing={"layout": "NHWC"}, fast=fast)
    np.testing.assert_allclose(model(VIEWS), by_hand(small_net(), VIEWS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "low"), [("uint8", 0), ("int8", -128)])
def test_a_net_that_wants_whole_numbers_gets_them(dtype, low):
    class Whole(nn.Module):
        def forward(self, x):
            assert x.dtype == getattr(torch, dtype)
            return x.float().amin((2, 3)) - low

    model = opened(Whole(), preprocessing={"dtype": dtype})
    np.testing.assert_array_equal(model(VIEWS), VIEWS.min((1, 2)))


def test_one_mean_stands_for_all_channels():
    model = opened(small_net(), preprocessing={"mean": [0.5]})
    np.testing.assert_allclose(model(VIEWS), by_hand(small_net(), VIEWS, mean=0.5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_nets_of_other_precision_are_run_in_float32(dtype):
    model = opened(small_net().to(dtype))
    want = by_hand(small_net().to(dtype).float(), VIEWS)
    np.testing.assert_allclose(model(VIEWS), want, rtol=1e-4, atol=1e-5)


def test_a_net_that_insists_on_its_layout_is_left_plain():
    def stubborn(module, inputs):
        if not inputs[0].is_contiguous():
            raise RuntimeError("view size is not compatible; use .reshape(...) instead")

    net = small_net()
    net[3].register_forward_pre_hook(stubborn)
    model = opened(net)
    assert model.settings["layout"] == "contiguous"
    np.testing.assert_allclose(model(VIEWS), by_hand(small_net(), VIEWS), rtol=1e-4, atol=1e-5)


# ── what scores are ──

SCORES = {
    "logits": (lambda y: y, "logits"),
    "softmax": (lambda y: y.softmax(1), "probabilities"),
    "softmax module": (nn.Softmax(1), "probabilities"),
    "sigmoid": (lambda y: y.sigmoid(), "sigmoid"),
    "sigmoid module": (nn.Sigmoid(), "sigmoid"),
    "sigmoids that sum to about 1": (lambda y: (y * 0.01 - 1.8).sigmoid(), "sigmoid"),
    "log softmax": (lambda y: y.log_softmax(1), "logits"),
    "softmax behind view": (lambda y: y.softmax(1).view(-1, 7), "probabilities"),
    "softmax behind flatten": (lambda y: y.softmax(1)[:, :, None, None].flatten(1), "probabilities"),
    "softmax behind squeeze": (lambda y: y.softmax(1)[:, :, None, None].squeeze(3).squeeze(2), "probabilities"),
    "softmax without its first class": (lambda y: y.softmax(1)[:, 1:], "probabilities"),
    "softmax at four places": (lambda y: y.softmax(1)[..., None].expand(-1, -1, 4).clone().mean(2), "probabilities"),
    "sigmoid behind a channel of 1×1": (lambda y: y.sigmoid()[:, :, None, None], "sigmoid"),
    "logits that lie between 0 and 1": (nn.ReLU(), "logits"),
    "softmax without gradient": (torch.no_grad()(lambda y: y.softmax(1)), "probabilities"),
    "sigmoid without gradient": (torch.no_grad()(lambda y: y.sigmoid()), "sigmoid"),
    "mapping": (lambda y: {"logits": y.softmax(1), "loss": None}, "probabilities"),
}


@pytest.mark.parametrize(("change", "kind"), SCORES.values(), ids=SCORES)
def test_what_scores_are_is_read_from_the_net(change, kind):
    assert opened(Returning(change)).scores == kind
    assert opened(Returning(change), scores="logits").scores == "logits"


def test_small_logits_of_a_linear_layer_are_no_probabilities():
    net = small_net()
    net[-1].weight.data *= 1e-4
    net[-1].bias.data[:] = 1 / 7
    answers = opened(net)(VIEWS)
    assert scores_by_range(answers) == "probabilities"  # so their range would say
    assert opened(net).scores == "logits"
    assert read_scores(torch.tensor(answers)) == "probabilities"  # without a graph there is nothing else to go by


def test_a_net_that_changes_its_input_in_place_opens():
    class InPlace(nn.Module):
        def forward(self, x):
            return x.mul_(2).mean((2, 3)).softmax(1)

    assert opened(InPlace()).scores == "probabilities"


# ── what is refused ──

REFUSED = {
    "tuple": (lambda y: (y, y), "answers with a tuple"),
    "list": (lambda y: [y], "answers with a list"),
    "mapping": (lambda y: {"scores": y}, "answers with a dict without logits"),
    "three axes": (lambda y: y[:, None], r"shape \(2, 1, 7\)"),
    "a map": (lambda y: y[:, :, None, None].expand(-1, -1, 3, 3), r"shape \(2, 7, 3, 3\)"),
    "one number": (lambda y: y[:, 0], r"shape \(2,\)"),
    "one class": (lambda y: y[:, :1], r"shape \(2, 1\).*2 classes or more"),
    "one row": (lambda y: y.mean(0, keepdim=True), "2 views got 1 answers"),
    "NaN": (lambda y: y / 0 * 0, "answers with NaN"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("scores", [None, "logits"])
def test_other_answers_are_refused(change, message, scores):
    with pytest.raises(InputError, match=message) as caught:
        opened(Returning(change), scores=scores)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("Returning: ")


def test_a_view_of_the_wrong_size_is_refused_with_the_remedy():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 5))
    message = refused(net)
    assert "can't take a view of 224×224 px" in message
    assert "--preprocessing 'view_size=[H,W]'" in message
    assert open_model(net, preprocessing={"view_size": [32, 32]}).view_size == (32, 32)
    assert open_model(net, preprocessing={"view_size": 32}).view_size == (32, 32)


@pytest.mark.parametrize("value", ["32", [32], [32, -1], 0, None, [32.5, 32]])
def test_a_view_size_that_is_none_is_refused(value):
    assert "view_size can't be" in refused(small_net(), preprocessing={"view_size": value})


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "no such thing"])
def test_a_device_that_is_not_there_is_refused(device):
    assert f"--device: device '{device}' can't be used" in refused(small_net(), device=device)


def test_a_net_that_can_not_be_copied_is_refused():
    import threading

    net = small_net()
    net.lock = threading.Lock()
    assert "can't be copied" in refused(net, preprocessing=SIZE)


def test_as_scores_takes_what_hugging_face_returns():
    class Output:
        logits = torch.zeros(2, 3)

    assert as_scores(Output()).shape == (2, 3)


# ── names, weights, arguments ──


@pytest.mark.parametrize("spec", ["dmo", "timn/resnet18", "", "timm/", "resnet50"])
def test_an_unknown_source_shows_the_menu(spec):
    message = refused(spec)
    assert f"unknown model '{spec}'" in message
    assert "did you mean" in message or "timm/NAME" in message


def test_an_unknown_name_gets_the_closest():
    optional("timm")
    assert "did you mean" in refused("timm/resnet5O")
    assert "resnet50" in refused("timm/resnet5O")
    assert "squeezenet1_1" in refused("torchvision/squeezenet1.1")


def test_demo():
    model = open_model("demo")
    assert (model.view_size, model.scores) == ((64, 64), "logits")
    assert model(VIEWS[:, :, :40].repeat(2, 1).repeat(2, 2)[:, :64, :64].copy()).shape == (5, len(model.class_names))
    assert "can't be built" in refused("demo", model_args={"depth": 3})


def test_torchvision_with_weights_of_a_file(tmp_path):
    models = optional("torchvision").models
    net = models.squeezenet1_1(num_classes=5)
    file = tmp_path / "net.safetensors"
    save_file(net.state_dict(), file)
    model = open_model(
        "torchvision/squeezenet1_1", weights=file, model_args={"num_classes": 5}, preprocessing={"view_size": [48, 64]}
    )
    assert model.spec == "torchvision/squeezenet1_1"
    assert model.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert model.class_names is None  # torchvision's thousand are not these five
    views = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    np.testing.assert_allclose(model(views), by_hand(net.eval(), views), rtol=1e-4, atol=1e-5)
    # the share of the image that the view covers stays: 48 of 54 as 224 of 256
    assert (model.view_size, model.preprocessing.resize_px) == ((48, 64), 54)


def test_timm_with_arguments():
    timm = optional("timm")
    model = open_model("timm/mobilenetv2_050", model_args={"pretrained": False, "pad_type": "same"}, fast=False)
    kinds = {type(module).__name__ for module in model.net.modules()}
    assert "Conv2dSame" in kinds
    assert len(model.class_names) == 1000
    assert model.preprocessing.resampler == timm.get_pretrained_cfg("mobilenetv2_050").interpolation == "bicubic"


def test_random_weights_are_the_same_every_time_and_leave_the_seed_alone():
    optional("timm")
    arguments = {"pretrained": False, "num_classes": 10}
    fingerprints = set()
    for seed in (5, 6):
        torch.manual_seed(seed)
        want = torch.rand(1)
        torch.manual_seed(seed)
        fingerprints.add(open_model("timm/test_resnet", model_args=arguments, fast=False).weights_sha256)
        assert torch.rand(1) == want
    assert len(fingerprints) == 1


@pytest.mark.parametrize("spec", ["timm/test_resnet", "torchvision/squeezenet1_1"])
def test_an_argument_that_a_model_does_not_take_is_refused(spec):
    optional(spec.partition("/")[0])
    message = refused(spec, model_args={"pretrained": False, "no_such": 1})
    assert "can't be built" in message
    assert "no_such" in message
    assert "--model-arg" in message


def test_weights_that_can_not_be_had_name_the_remedy(monkeypatch):
    timm = optional("timm")

    def offline(name, **more):
        raise OSError("no network\nat all")

    monkeypatch.setattr(timm, "create_model", offline)
    message = refused("timm/test_resnet")
    assert "pretrained weights can't be loaded (no network)" in message
    assert "--weights FILE" in message


def test_preprocessing_is_overridden_field_by_field_and_recorded():
    optional("timm")
    arguments = {"pretrained": False}
    plain = open_model("timm/test_resnet", model_args=arguments, fast=False).preprocessing
    changed = open_model(
        "timm/test_resnet", model_args=arguments, preprocessing={"resampler": "lanczos", "std": [1, 1, 1]}, fast=False
    ).preprocessing
    assert plain.to_json() | {"resampler": "lanczos", "std": [1.0, 1.0, 1.0]} == changed.to_json()
    assert "did you mean resampler" in refused("timm/test_resnet", model_args=arguments, preprocessing={"resampel": 1})


def test_class_names_are_checked():
    names = tuple("abcdefg")
    assert opened(small_net(), class_names=names).class_names == names
    with pytest.raises(InputError, match="6 class names"):
        opened(small_net(), class_names=names[:6])


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(("given", "offset"), [("xabcdef", 1), ("abcdef", 1), ("xabcdef", 0), ("xabcdef", None)])
def test_names_may_be_of_the_classes_or_of_all_outputs(given, offset, asked):
    want = tuple(given if not offset else "abcdef")
    assert fit_names(given, 7, offset, "net", asked=asked) == want


def test_names_that_fit_nothing_are_left_out_unless_they_were_asked_for():
    assert fit_names("abcde", 7, 1, "net", asked=False) is None
    with pytest.raises(InputError, match="there are 5 class names but 6 scores"):
        fit_names("abcde", 7, 1, "net")


# ── Hugging Face ──


@pytest.fixture
def folder(tmp_path):
    transformers = optional("transformers")
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], id2label={0: "cat", 1: "dog", 2: "emu"}
    )
    net = transformers.ResNetForImageClassification(config).eval()
    net.save_pretrained(tmp_path)
    transformers.ViTImageProcessorPil(size={"height": 48, "width": 64}).save_pretrained(tmp_path)
    return tmp_path, net


@pytest.mark.parametrize("pretrained", [True, False])
def test_hugging_face(folder, pretrained):
    path, net = folder
    model = open_model(f"hf/{path}", model_args={} if pretrained else {"pretrained": False})
    assert (model.view_size, model.class_names) == ((48, 64), ("cat", "dog", "emu"))
    assert model.scores == "logits"
    views = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    want = by_hand(lambda x: net(x).logits, views, (0.5,) * 3, (0.5,) * 3)
    assert np.allclose(model(views), want, rtol=1e-4, atol=1e-5) == pretrained


def test_a_hugging_face_embedder(tmp_path):
    transformers = optional("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    net = transformers.Dinov2Model(transformers.Dinov2Config(**small)).eval()
    net.save_pretrained(tmp_path)
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    model = open_model(f"hf/{tmp_path}", task="embed")
    views = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    want = by_hand(lambda x: net(x).pooler_output, views, (0.5,) * 3, (0.5,) * 3)
    np.testing.assert_allclose(model(views), want, rtol=1e-4, atol=1e-5)
    assert (model.task, model.class_names) == ("embed", None)


def test_clip_embeds_images_alone(tmp_path):
    transformers = optional("transformers")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    seen = transformers.CLIPVisionConfig(**small, image_size=32, patch_size=8, projection_dim=12)
    read = transformers.CLIPTextConfig(**small, vocab_size=10, projection_dim=12, bos_token_id=0, eos_token_id=1)
    whole = transformers.CLIPConfig(text_config=read.to_dict(), vision_config=seen.to_dict(), projection_dim=12)
    net = transformers.CLIPModel(whole).eval()
    net.save_pretrained(tmp_path)
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    model = open_model(f"hf/{tmp_path}", task="embed")
    views = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    found = model(views)
    want = by_hand(lambda x: net.visual_projection(net.vision_model(x).pooler_output), views, (0.5,) * 3, (0.5,) * 3)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_timm_embeds_by_what_comes_before_the_head(tmp_path):
    timm = optional("timm")
    net = timm.create_model("test_resnet").eval()
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    model = open_model("timm/test_resnet", weights=tmp_path / "net.safetensors", task="embed", fast=False)
    views = np.random.default_rng(0).integers(0, 256, (2, *model.view_size, 3), dtype=np.uint8)
    fields = model.preprocessing
    want = by_hand(lambda x: net.forward_head(net.forward_features(x), pre_logits=True), views, fields.mean, fields.std)
    np.testing.assert_allclose(model(views), want, rtol=1e-4, atol=1e-4)


def test_hugging_face_with_weights_of_a_file(folder, tmp_path):
    path, _ = folder
    model = open_model(f"hf/{path}", weights=path / "model.safetensors")
    assert model(np.zeros((1, 48, 64, 3), np.uint8)).shape == (1, 3)
    assert "missing" in refused(f"hf/{path}", weights=empty_file(tmp_path / "other.safetensors"))


def empty_file(path):
    save_file({"a": torch.zeros(1)}, path)
    return path


def test_a_head_without_weights_is_refused_not_drawn_at_random(folder):
    path, net = folder
    net.resnet.save_pretrained(path)
    message = refused(f"hf/{path}")
    assert "its weights lack classifier.1.bias" in message


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    optional("transformers")
    assert f"hf/{tmp_path}: can't be loaded" in refused(f"hf/{tmp_path}")


# ── factories ──

FACTORY = """
import torch
from torch import nn

def build(classes=4, pretrained_from=None):
    return nn.Sequential(nn.Conv2d(3, classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def fails():
    raise KeyError("inside")

def number():
    return 3

constant = 5
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A working folder with a module, and no trace of it afterwards."""
    (tmp_path / "my_factory.py").write_text(FACTORY)
    (tmp_path / "broken_factory.py").write_text("def build(:\n")
    (tmp_path / "lacking_factory.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("my_factory", "broken_factory", "lacking_factory"):
        sys.modules.pop(name, None)


def test_a_factory_in_the_working_folder(workplace):
    model = open_model("my_factory:build", model_args={"classes": 6}, preprocessing=SIZE)
    assert (model.spec, model(VIEWS).shape) == ("my_factory:build", (5, 6))


def test_a_factory_with_weights_of_a_file(workplace):
    from shiftable.models.weights import fingerprint

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    save_file(net.state_dict(), workplace / "net.safetensors")
    model = open_model("my_factory:build", weights=workplace / "net.safetensors", preprocessing=SIZE)
    np.testing.assert_allclose(model(VIEWS), by_hand(net, VIEWS), rtol=1e-4, atol=1e-5)
    assert fingerprint(net) == fingerprint(model.net)


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        ("my_factory:biuld", {}, "unknown function 'biuld'; did you mean build"),
        ("my_factory:constant", {}, "unknown function 'constant'"),
        ("my_factory:number", {}, "returned a int; return a PyTorch net"),
        ("my_factory:fails", {}, "can't be built \\(KeyError: 'inside'\\)"),
        ("my_factory:build", {"depth": 3}, "can't be built .*depth.*--model-arg"),
        ("no_such_module_here:build", {}, "no module 'no_such_module_here'"),
        ("lacking_factory:build", {}, "no module 'no_such_package'"),
        ("broken_factory:build", {}, "importing it fails \\(SyntaxError"),
    ],
)
def test_a_factory_that_can_not_be_used_is_refused(workplace, spec, arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        open_model(spec, model_args=arguments)
    assert "\n" not in str(caught.value)


class Ready:
    """A model of the user's own."""

    spec, weights_sha256, task, view_size = "ready", None, "classify", (4, 4)
    preprocessing, scores, class_names, batch_size, settings = Preprocessing(), "logits", None, 1, {}

    def __call__(self, views):
        return np.zeros((len(views), 2), np.float32)


def test_a_factory_may_return_a_model(workplace, monkeypatch):
    ready = Ready()
    monkeypatch.setattr(import_fresh("my_factory", workplace), "ready", lambda: ready, raising=False)
    assert open_model("my_factory:ready") is ready
    assert "it is ready as it is" in refused("my_factory:ready", preprocessing={"resize_px": 3})


def import_fresh(name, folder):
    sys.path.insert(0, str(folder))
    return import_module(name)


def test_the_callers_net_is_not_touched(tmp_path):
    net = small_net().train()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    other = small_net()
    other[0].weight.data += 1
    save_file(other.state_dict(), tmp_path / "net.safetensors")
    model = opened(net, weights=tmp_path / "net.safetensors")
    model(VIEWS)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert not model.net.training


# ── what is not installed ──


@pytest.mark.parametrize(
    ("missing", "spec", "extra"),
    [
        ("torch", "demo", "torch"),
        ("torchvision", "torchvision/resnet18", "torchvision"),
        ("timm", "timm/resnet18", "timm"),
        ("torchvision", "timm/resnet18", "timm"),
        ("transformers", "hf/some/model", "hf"),
    ],
)
def test_a_missing_package_names_the_extra(monkeypatch, missing, spec, extra):
    monkeypatch.setitem(sys.modules, missing, None)
    message = refused(spec)
    assert message.endswith(f"is not installed; pip install 'shiftable[{extra}]'")


def test_importing_the_package_imports_no_framework():
    code = (
        "import sys, shiftable.models; from shiftable.models import opening, zoos, hugging_face, preprocessing;"
        "print(*{'torch', 'torchvision', 'timm', 'transformers', 'pydantic', 'scipy'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []


# ── the shared models ──


@pytest.mark.parametrize(
    ("spec", "arguments", "right"),
    [("torchvision/squeezenet1_1", {}, 5), ("timm/mobilenetv2_100", {"pad_type": "same"}, 8)],
)
def test_the_shared_models_know_the_shared_images(shared, spec, arguments, right):
    from shiftable.data.images import list_samples
    from shiftable.models.preprocessing import deployed_view

    optional(spec.partition("/")[0])
    file = shared / "models" / f"{spec.partition('/')[2]}.safetensors"
    model = open_model(spec, weights=file, model_args=arguments)
    samples = list_samples(shared / "data" / "imagenet_samples" / "labels.csv")[::20]
    views = np.stack([deployed_view(sample.read(), model.preprocessing, model.view_size) for sample in samples])
    scores = model(views)
    assert sum(scores.argmax(1) == [sample.label for sample in samples]) >= right
    assert model.settings["layout"] == "channels_last"
    assert model.scores == "logits"


def test_torch_model_is_frozen():
    model = torch_model(small_net(), spec="x", view_size=(40, 56), preprocessing=Preprocessing(56))
    with pytest.raises(AttributeError):
        model.scores = "sigmoid"
