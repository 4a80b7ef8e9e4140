"""Surgery: sizes, phases and weights stay, the caller's net too, and what is not known is refused."""

import json
from importlib import import_module
from importlib.util import find_spec

import pytest

from shiftable.errors import InputError
from shiftable.models.torchvision_repair import import_torchvision

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from shiftable.layers import BlurConv2d, BlurPool2d, MaxBlurPool2d  # noqa: E402
from shiftable.surgery.calls import run  # noqa: E402
from shiftable.surgery.editing import Edit, edits_of, inspected, operate  # noqa: E402
from shiftable.surgery.sites import find_sites  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded():
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Does(nn.Module):
    """Its forward is a function."""

    def __init__(self, forward):
        super().__init__()
        self.does = forward

    def forward(self, map):
        return self.does(map)


class Standardised(nn.Conv2d):
    """Made from a convolution, and none: its weights are calculated."""

    def forward(self, map):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True) + 0.1
        return functional.conv2d(map, weight, self.bias, self.stride, self.padding)


def sliced_last(map):
    map = map.permute(0, 2, 3, 1)
    parts = [map[:, y::2, x::2, :] for x in (0, 1) for y in (0, 1)]
    return torch.cat(parts, -1).permute(0, 3, 1, 2)


KINDS = {
    "convolution": lambda: nn.Conv2d(3, 4, 3, 2, 1),
    "of 1 by 1": lambda: nn.Conv2d(3, 4, 1, 2, bias=False),
    "patches": lambda: nn.Conv2d(3, 4, 4, 4),
    "grouped": lambda: nn.Conv2d(3, 6, 5, (2, 3), 2, groups=3),
    "calculated weights": lambda: Standardised(3, 4, 3, 2, 1),
    "max pooling": lambda: nn.MaxPool2d(3, 2, 1),
    "ceiled": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
    "average pooling": lambda: nn.AvgPool2d(2),
    "adaptive": lambda: nn.AdaptiveAvgPool2d(16),
    "unshuffle": lambda: nn.PixelUnshuffle(2),
    "max_pool2d": lambda: Does(lambda map: functional.max_pool2d(map, 3, stride=2, padding=1)),
    "max_pool2d, ceiled": lambda: Does(lambda map: functional.max_pool2d(input=map, kernel_size=2, ceil_mode=True)),
    "avg_pool2d": lambda: Does(lambda map: functional.avg_pool2d(map, 3, 2)),
    "slice": lambda: Does(lambda map: map[:, :, ::2, ::2]),
    "slices": lambda: Does(lambda map: torch.cat([map[..., y::2, x::2] for y in (0, 1) for x in (0, 1)], 1)),
    "slice of a slice": lambda: Does(lambda map: map[:, :, ::2][..., ::2]),
    "slices, channels last": lambda: Does(sliced_last),
    "interpolation": lambda: Does(lambda map: functional.interpolate(map, scale_factor=0.5)),
}


def deep():
    """Layers and functions one after the other."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
        Does(lambda map: functional.avg_pool2d(functional.max_pool2d(map, 2), 2, 1)),
        nn.Conv2d(8, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).eval()  # fmt: skip


def edits_for(net, inputs, **settings):
    return [Edit(site.name, **settings) for site in find_sites(net, inputs)]


def sizes(net, inputs):
    """What every module gives."""
    found = {}
    run(net, inputs, lambda call: call(), lambda name, _, answers: found.update({name: [a.shape for a in answers]}))
    return found


# what stays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("match", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_ramp_comes_out_where_it_did(kind, match):
    """Symmetric filters leave slopes alone: so nothing moved, by no fraction of a position, and constants stay."""
    net = KINDS[kind]().eval()
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(36.0), indexing="ij")
    ramp = torch.stack([y, x, 3 + 0.5 * y - x])[None]
    if match and kind in ("unshuffle", "slices", "slice of a slice", "slices, channels last"):
        with pytest.raises(InputError, match="can't be matched"):
            operate(net, edits_for(net, ramp, match=True), ramp)
        return
    made = operate(net, edits_for(net, ramp, match=match), ramp)
    before, after = net(ramp), made(ramp)
    assert type(made) is not type(net)
    assert before.shape == after.shape
    assert torch.allclose(before[..., 3:-3, 3:-3], after[..., 3:-3, 3:-3], atol=1e-4)
    noise = torch.randn_like(ramp)
    assert not torch.allclose(net(noise), made(noise), atol=1e-2)


def test_the_callers_net_is_left_alone_and_weights_keep_their_names():
    net, picture = deep(), torch.randn(2, 3, 64, 64)
    edits = edits_for(net, picture)
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modules = [(type(module), module.training, dict(module._forward_hooks)) for module in net.modules()]
    made = operate(net, edits, picture)
    inspected(net, edits, picture)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert modules == [(type(module), module.training, dict(module._forward_hooks)) for module in net.modules()]
    assert list(made.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert all(module.training for module in made.modules())
    assert not {each.data_ptr() for each in made.parameters()} & {each.data_ptr() for each in net.parameters()}


def test_nothing_to_do_gives_the_same_net():
    net, picture = deep(), torch.randn(1, 3, 64, 64)
    made = operate(net, [], picture)
    assert made is not net
    assert torch.equal(made(picture), net(picture))
    assert [type(each) for each in made.modules()] == [type(each) for each in net.modules()]


def test_twice_is_once_and_one_by_one_is_together():
    net, picture = deep(), torch.randn(1, 3, 64, 64)
    edits = edits_for(net, picture)
    once = operate(net, edits, picture)
    twice = operate(once, edits, picture)
    step = net
    for edit in edits:
        step = operate(step, [edit], picture)
    assert torch.equal(once(picture), twice(picture))
    assert torch.equal(once(picture), step(picture))
    assert edits_of(twice) == tuple(edits) == edits_of(step)
    assert sizes(once, picture)[""] == sizes(net, picture)[""]
    with pytest.raises(InputError, match="another way already"):
        operate(once, [Edit(edits[0].site, taps=5)], picture)


def test_a_layer_that_is_passed_twice_is_edited_as_one():
    pool = nn.MaxPool2d(2)
    net = nn.Sequential(pool, nn.Conv2d(3, 3, 1), pool).eval()
    picture = torch.randn(1, 3, 32, 32)
    edits = edits_for(net, picture)
    assert len(edits) == 2
    made = operate(net, edits, picture)
    assert isinstance(made[0], MaxBlurPool2d)
    assert made[0] is made[2]
    with pytest.raises(InputError, match="is passed 2 times; edit 0:max_pool2d_1, 0:max_pool2d_2 alike"):
        operate(net, edits[:1], picture)


def test_hooks_and_modes_of_what_is_replaced_stay():
    net, picture, seen = deep(), torch.randn(1, 3, 64, 64), []
    net[3].register_forward_hook(lambda module, args, answer: seen.append(type(module)))
    net[3].train()
    made = operate(net, [Edit("3")], picture)
    seen.clear()
    made(picture)
    assert seen == [MaxBlurPool2d]
    assert made[3].training
    assert made[3].blur.training
    assert not made[2].training


# what is planned and refused ------------------------------------------------------------------------------------------


def test_an_edit_is_plain_json():
    edit = Edit("layer1.0", filter="kaiser", taps=7, padding="circular", match=True)
    assert Edit.from_json(json.loads(json.dumps(edit.to_json()))) == edit
    for wrong, message in [
        ({"site": "a", "filter": "gauss"}, "unknown filter"),
        ({"site": "a", "colour": 1}, "unknown field"),
        ({"remedy": "dense", "site": "a", "match": True}, "no moments"),
        ([], "names no site"),
    ]:
        with pytest.raises(InputError, match=message):
            Edit.from_json(wrong)


def test_a_plan_shows_every_site_and_changes_nothing():
    net = nn.Sequential(deep()[:4], nn.AdaptiveMaxPool2d(4), nn.MaxPool2d(2)).eval()
    picture = torch.randn(1, 3, 63, 64)
    plan = inspected(net, [Edit("0.0"), Edit("1"), Edit("2", match=True)], picture)
    conv, pool, adaptive, last = plan
    assert (conv.becomes, pool.becomes, adaptive.becomes) == ("BlurConv2d", "", "")
    assert last.becomes == "MaxBlurPool2d, matched"
    assert "adaptive_max_pool2d, which is not known" in adaptive.refused
    assert (conv.phase, pool.phase) == ((0, 0), (1, 1))
    assert "Conv2d, convolution 3×3, stride 2×2, 63×64 → 32×32, from (0, 0)): BlurConv2d" in str(conv)
    assert str(pool).endswith("stays")
    with pytest.raises(InputError, match="unknown site"):
        inspected(net, [Edit("features")], picture)


class Undecided(nn.Module):
    def forward(self, map):
        return functional.max_pool2d(map, 2) if map.sum() < 1e9 else map


class WithPlaces(nn.Module):
    def forward(self, map):
        return functional.max_pool2d(map, 2, return_indices=True)[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Undecided, r"0: the forward of Undecided can't be traced"),
        (WithPlaces, r"0: max pooling in the forward of WithPlaces"),
        (lambda: nn.utils.weight_norm(nn.Conv2d(3, 3, 3, 2)), "weights calculated anew each time"),
        (lambda: nn.AdaptiveMaxPool2d(4), "adaptive_max_pool2d, which is not known"),
        (lambda: BlurConv2d(3, 3, 3, 2), "BlurConv2d takes care of aliasing already"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # the old weight norm
def test_what_is_not_known_is_refused(make, message):
    net, picture = nn.Sequential(make()).eval(), torch.randn(1, 3, 32, 32)
    with pytest.raises(InputError, match=message):
        operate(net, edits_for(net, picture), picture)


def test_contradictions_are_refused():
    net, picture = deep(), torch.randn(1, 3, 64, 64)
    with pytest.raises(InputError, match="two different edits"):
        operate(net, [Edit("0"), Edit("0", "dense")], picture)
    with pytest.raises(InputError, match="unknown site '1'"):
        operate(net, [Edit("1")], picture)


# dense ----------------------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self, squeeze=False):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        self.short = nn.Conv2d(4, 4, 1, 2)
        self.pool = nn.MaxPool2d(3, 1, 1)
        self.squeeze = squeeze

    def forward(self, map):
        main = self.conv(map)
        if self.squeeze:
            main = main * main.mean((2, 3), keepdim=True).sigmoid()
        return self.pool(main + self.short(map))


def classifier(*layers):
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


@pytest.mark.parametrize("size", [(16, 16), (15, 17)])
@pytest.mark.parametrize(
    ("layers", "sites"),
    [
        (lambda: (Residual(), nn.Conv2d(4, 6, 5, padding=2)), ["1.conv.0", "1.short"]),
        (lambda: (nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(4, 6, 3, padding=1)), ["1"]),
        (lambda: (nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(4, 6, 3, padding=1)), ["1"]),
        (lambda: (nn.AvgPool2d(2), nn.Conv2d(4, 6, 3, padding="same")), ["1"]),
        (lambda: (nn.Conv2d(4, 4, 3, (3, 2), 1), nn.Conv2d(4, 6, 3, 2, 1)), ["1"]),  # of two in a row the first
    ],
)
def test_a_dense_map_holds_the_old_one(layers, sites, size):
    net, picture = classifier(*layers()), torch.randn(2, 3, *size)
    y, x = next(site.window.stride for site in find_sites(net, picture) if site.name == sites[0])
    made = operate(net, [Edit(site, "dense") for site in sites], picture)
    old, new = net[:-2](picture), made[:-2](picture)
    assert new.shape[2] > old.shape[2]
    held = new[:, :, ::y, ::x][:, :, : old.shape[2], : old.shape[3]]
    assert held.shape == old.shape
    assert torch.allclose(held, old, atol=1e-4)
    assert torch.allclose(made(picture), new.mean((2, 3)), atol=1e-5)  # all phases' mean
    assert list(made.state_dict()) == list(net.state_dict())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((Residual(squeeze=True),), "whole map .global pooling"),
        ((nn.PixelUnshuffle(2),), "merging in a PixelUnshuffle"),
        ((nn.Conv2d(4, 4, 3, 2), nn.AvgPool2d(3, 1)), "a AvgPool2d that can't be dilated"),
        ((nn.Conv2d(4, 4, 3, 2), nn.GroupNorm(2, 4)), "whole map .group norm"),
        ((nn.Conv2d(4, 4, 3, 2), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")), "can't be dilated"),
        ((nn.Conv2d(4, 4, 3, 2), nn.Flatten(), nn.Linear(196, 4), nn.Unflatten(1, (4, 1, 1))), "whole map .flattened"),
    ],
)
def test_what_mixes_positions_can_not_follow_a_dense_map(layers, message):
    net, picture = classifier(*layers), torch.randn(1, 3, 16, 16)
    sites = [site.name for site in find_sites(net, picture)]
    with pytest.raises(InputError, match=message):
        operate(net, [Edit(name, "dense") for name in sites], picture)


def test_branches_that_meet_have_to_be_dense_together():
    net, picture = classifier(Residual()), torch.randn(1, 3, 16, 16)
    with pytest.raises(InputError, match="sites of all branches that meet"):
        operate(net, [Edit("1.conv.0", "dense")], picture)


# real nets ------------------------------------------------------------------------------------------------------------


def torchvision_net(name, **settings):
    return getattr(import_torchvision().models, name)(weights=None, **settings)


def timm_net(name, **settings):
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    import_torchvision()
    return import_module("timm").create_model(name, **settings)


def hugging_face_net(name, **settings):
    if find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    import_torchvision()
    zoo = import_module("transformers")
    return getattr(zoo, f"{name}ForImageClassification")(getattr(zoo, f"{name}Config")(**settings))


NETS = {
    "SqueezeNet": lambda: torchvision_net("squeezenet1_1"),
    "ResNet": lambda: torchvision_net("resnet18"),
    "ShuffleNet": lambda: torchvision_net("shufflenet_v2_x0_5"),
    "MobileNetV2, same": lambda: timm_net("mobilenetv2_035", pad_type="same"),
    "ConvNeXt": lambda: timm_net("convnext_atto"),
    "BiT": lambda: timm_net("resnetv2_18", stem_type="fixed", conv_layer=import_module("timm.layers").StdConv2d),
    "Hugging Face's MobileNetV2": lambda: hugging_face_net("MobileNetV2", depth_multiplier=0.35),
    "Hugging Face's ResNet": lambda: hugging_face_net(
        "ResNet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_real_nets_keep_all_sizes(name):
    net, picture = NETS[name]().eval(), torch.randn(1, 3, 64, 64)
    edits = edits_for(net, picture)
    made = operate(net, edits, picture)
    before, after = sizes(net, picture), sizes(made, picture)
    assert {key: after[key] for key in before} == before
    assert list(made.state_dict()) == list(net.state_dict())
    aliasing = [site.name for site in find_sites(made, picture) if ".blur" not in site.name]
    layers = dict(made.named_modules())
    assert all(isinstance(layers[name], BlurConv2d | BlurPool2d) or "Traced" in str(type(layers[name]).__mro__)
               for name in aliasing)  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # the exporters' own
def test_an_operated_net_is_exported():
    net, picture = torchvision_net("squeezenet1_1").eval(), torch.randn(1, 3, 64, 64)
    made = operate(net, edits_for(net, picture), picture)
    answer = made(picture)
    exported = torch.export.export(made, (picture,)).module()
    assert torch.allclose(exported(picture), answer, atol=1e-4)
    if find_spec("onnxscript") is None or find_spec("onnxruntime") is None:
        pytest.skip("onnxscript or onnxruntime is not installed")
    program = torch.onnx.export(made, (picture,), dynamo=True, verbose=False)
    session = import_module("onnxruntime").InferenceSession(program.model_proto.SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: picture.numpy()})
    assert torch.allclose(torch.from_numpy(found), answer, atol=1e-3)
