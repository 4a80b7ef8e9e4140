"""Structure: strides, receptive fields and counts agree with arithmetic and with what tiles measure."""

from io import StringIO
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from rich.console import Console

from shiftable.errors import InputError
from shiftable.explaining import tiles
from shiftable.explaining.resize_words import resize_words
from shiftable.models import open_model
from shiftable.models.preprocessing import Preprocessing
from shiftable.models.torchvision_repair import import_torchvision
from shiftable.report.structure_diagram import structure_diagram
from shiftable.report.structure_text import show_structure

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from shiftable.explaining.structure import structure  # noqa: E402
from shiftable.surgery.blurs import filter_words  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded():
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def conv(inputs, outputs, kernel=3, **settings):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, **settings), nn.ReLU())


def head(channels, classes=5):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Net(nn.Module):
    """Its forward is a function of some layers and the picture."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.does = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.does(self, x)


def main_product(found):
    y = x = 1
    for site in found.main_path:
        assert site.stride_before_px == (y, x)
        y, x = y * site.stride[0], x * site.stride[1]
    return y, x


# strides and receptive fields -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layers",
    [
        [(3, 2, 0, 1, False), (3, 2, 0, 1, True), (3, 1, 1, 1, False)],
        [(7, 2, 3, 1, False), (3, 2, 1, 1, True), (3, 2, 1, 1, False), (3, 1, 2, 2, False)],
        [(3, 3, 1, 1, False), (5, 5, 2, 1, True)],
        [((5, 1), (4, 1), (2, 0), 1, False), ((1, 7), (1, 2), 0, 1, False)],
    ],
)
def test_the_known_recurrence(layers):
    modules, channels = [], 3
    field, jump = [1, 1], [1, 1]
    for kernel, stride, padding, dilation, pools in layers:
        if pools:
            modules.append(nn.MaxPool2d(kernel, stride, padding, dilation))
        else:
            modules.append(conv(channels, 4, kernel, stride=stride, padding=padding, dilation=dilation))
            channels = 4
        for axis in (0, 1):
            window, step = (each if isinstance(each, int) else each[axis] for each in (kernel, stride))
            field[axis] += (window - 1) * dilation * jump[axis]
            jump[axis] *= step
    found = structure(nn.Sequential(*modules, head(4)), (120, 120))
    assert found.stride_px == main_product(found) == tuple(jump)
    assert found.receptive_field_px == tuple(field)
    assert found.copies == jump[0] * jump[1]
    assert found.guaranteed == 1 / found.copies
    assert found.last_map == str(len(layers) - 1)


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.long = nn.Sequential(conv(inputs, outputs, stride=stride, padding=1), conv(outputs, outputs, padding=1))
        self.short = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x):
        return functional.relu(self.long(x) + self.short(x))


class Same(nn.Conv2d):
    """TensorFlow's padding, uneven."""

    def forward(self, x):
        return super().forward(functional.pad(x, (0, 1, 0, 1)))


TILED = {
    "residual": lambda: nn.Sequential(conv(3, 4, stride=2, padding=1), Block(4, 4, 2), Block(4, 4, 1), head(4)),
    "same": lambda: nn.Sequential(Same(3, 4, 3, 2), nn.ReLU(), Same(4, 4, 3, 2), nn.ReLU(), head(4)),
    "inception": lambda: nn.Sequential(
        conv(3, 4, stride=2, padding=1),
        Net(lambda net, x: torch.cat([net.one(x), net.two(x), functional.max_pool2d(x, 3, 2, 1)], 1),
            one=conv(4, 2, stride=2, padding=1),
            two=nn.Sequential(conv(4, 2, 5, padding=2), conv(2, 2, stride=2, padding=1))),
        head(8),
    ),
    "slices": lambda: nn.Sequential(
        conv(3, 4, padding=1),
        Net(lambda net, x: torch.cat([x[:, :, y::2, x_::2] for y in (0, 1) for x_ in (0, 1)], 1)),
        conv(16, 4, stride=2, padding=1),
        head(4),
    ),
    "space to depth": lambda: nn.Sequential(conv(3, 4, padding=1), nn.PixelUnshuffle(2), nn.MaxPool2d(2), head(16)),
}  # fmt: skip


@pytest.mark.parametrize("name", TILED)
def test_tiles_measure_the_same(name):
    net = TILED[name]().eval()
    found, measured = structure(net, (64, 64)), tiles(SimpleNamespace(net=net, spec=name, view_size=(64, 64)))
    assert found.stride_px == measured.stride_px == main_product(found)
    assert found.receptive_field_px == measured.receptive_field_px
    assert found.last_map == measured.part


def test_branches_stand_beside_the_longest_way():
    found = structure(TILED["residual"]().eval(), (64, 64))
    assert [(site.name, site.on_main_path) for site in found.sites] == [
        ("0.0", True), ("1.long.0.0", True), ("1.short", False),
    ]  # fmt: skip
    assert {site.stride_before_px for site in found.sites[1:]} == {(2, 2)}
    assert (found.layers, found.layers_in_all) == (6, 8)


def test_a_decoder_keeps_the_stride_of_the_coarsest_map():
    net = Net(lambda net, x: net.last(functional.interpolate(net.down(net.first(x)), scale_factor=4) + net.first(x)),
              first=conv(3, 4, padding=1), down=conv(4, 4, 4, stride=4), last=nn.Conv2d(4, 5, 1))  # fmt: skip
    found = structure(net, (32, 32))
    assert found.stride_px == (4, 4)
    assert found.last_map == "last"
    assert found.mixes == ()


# paddings and blurs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding_just_before_counts_as_the_sites_own(mode):
    net = Net(lambda net, x: net.conv(functional.pad(x, (1, 2, 3, 0), mode=mode)), conv=nn.Conv2d(3, 4, 3, 2, (1, 0)))
    (site,) = structure(net, (16, 16)).sites
    assert site.padding == ((4, 1), (1, 2))
    assert site.input_size == (16, 16)
    assert site.output_size == (10, 9)


def test_a_circular_convolution_is_padded_by_itself():
    (site,) = structure(nn.Conv2d(3, 4, 3, 2, 1, padding_mode="circular"), (16, 16)).sites
    assert site.padding == ((1, 1), (1, 1))
    assert site.input_size == (16, 16)


def blur_pool(size, stride, channels=4):
    row = torch.tensor([[1.0, 1], [1, 2, 1], [1, 4, 6, 4, 1]][size // 2 + size % 2 - 1]) if size != 2 else torch.ones(2)
    filters = (row[:, None] * row / row.sum() ** 2).expand(channels, 1, size, size)
    return Net(lambda _, x: functional.conv2d(x, filters, stride=stride, padding=size // 2, groups=channels))


@pytest.mark.parametrize(
    ("before", "site", "said"),
    [
        (nn.ReLU(), nn.MaxPool2d(2), None),
        (nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, 2), None),
        (nn.MaxPool2d(3, 1), nn.Conv2d(4, 4, 3, 2), None),
        (blur_pool(3, 1), nn.Conv2d(4, 4, 3, 2), "binomial 3×3"),
        (nn.Sequential(nn.AvgPool2d(2, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)), nn.MaxPool2d(2), "average 2×2"),
        (nn.Sequential(blur_pool(3, 1), nn.Conv2d(4, 4, 3)), nn.MaxPool2d(2), None),
        (nn.ReLU(), blur_pool(5, 2), "its own kernel, binomial 5×5"),
        (nn.ReLU(), nn.AvgPool2d(2), "its own kernel, average 2×2"),
        (nn.ReLU(), nn.AvgPool2d(1, 2), None),
    ],
)
def test_what_blurs_before_a_site(before, site, said):
    found = structure(nn.Sequential(conv(3, 4, padding=1), before, site, head(4)), (32, 32))
    assert [each.blur for each in found.sites] == [said]


def test_a_blur_before_one_site_is_none_before_the_next():
    found = structure(nn.Sequential(blur_pool(3, 2, 3), nn.MaxPool2d(2)), (32, 32))
    assert [site.blur for site in found.sites] == ["its own kernel, binomial 3×3", None]


def test_only_fixed_low_passes_are_blurs():
    def said(row, groups=4):
        return filter_words(torch.tensor(row)[None, None, None].expand(4, 1, 1, len(row)), groups, 4)

    assert said([0.5, 0.5]) == "average 1×2"
    assert said([0.25, 0.5, 0.25]) == "binomial 1×3"
    assert said([0.2, 0.6, 0.2]) == "low-pass 1×3"
    assert said([-0.25, 1.5, -0.25]) is None  # sharpens
    assert said([0.0, 1.0, 0.0]) is None  # moves nothing
    assert said([0.5, 0.6]) is None
    assert said([0.5, 0.5], groups=1) is None


# what looks at all of a map -------------------------------------------------------------------------------------------


def gated(net, x):
    return x * torch.sigmoid(net.squeeze(x.mean((2, 3), keepdim=True)))


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: Net(gated, squeeze=nn.Conv2d(4, 4, 1)), "1 (Net): pooled and given back (squeeze and excite)"),
        (lambda: nn.GroupNorm(2, 4), "1 (GroupNorm): group norm"),
        (lambda: nn.InstanceNorm2d(4), "1 (InstanceNorm2d): norm by the map's own mean and variance"),
        (lambda: nn.LayerNorm([4, 16, 16]), "1 (LayerNorm): layer norm over the whole map"),
        (lambda: Net(lambda _, x: torch.fft.irfft2(torch.fft.rfft2(x))), "1 (Net): Fourier transform"),
        (lambda: Net(lambda _, x: attended(x)), "1 (Net): attention"),
        (lambda: Net(lambda _, x: attended(x, 4)), "1 (Net): attention in windows of 64 positions"),
        (lambda: Net(lambda net, x: net.mix(x.flatten(2)).view(1, 4, 16, 16), mix=nn.Linear(256, 256)),
         "1.mix (Linear): layer between positions"),
        (lambda: nn.BatchNorm2d(4), None),
    ],
)  # fmt: skip
def test_what_looks_at_all_of_a_map_is_named_and_does_not_end_it(layer, said):
    found = structure(
        nn.Sequential(conv(3, 4, stride=2, padding=1), layer(), nn.MaxPool2d(2), head(4)).eval(), (32, 32)
    )
    assert found.mixes == (*([said] if said else []), "3.0 (AdaptiveAvgPool2d): global pooling")
    assert found.stride_px == (4, 4)
    assert found.last_map == "2"
    assert found.remarks == ()


def test_attention_has_the_positions_of_its_queries():
    def forward(net, x):
        x = net.first(x)
        queries, keys = (each.flatten(2).mT[:, None] for each in (x, net.fewer(x)))
        return net.last((functional.scaled_dot_product_attention(queries, keys, keys)[:, 0].mT).reshape(x.shape))

    net = Net(forward, first=conv(3, 4, stride=2, padding=1), fewer=conv(4, 4, 4, stride=4), last=head(4))
    found = structure(net, (32, 32))
    assert [(site.name, site.on_main_path) for site in found.sites] == [("first.0", True), ("fewer.0", False)]
    assert "attention" in found.mixes[0]


def test_what_a_net_calculates_once_is_no_other_way():
    class Remembers(nn.Module):
        bias = None

        def forward(self, x):
            if self.bias is None:
                self.bias = torch.arange(4.0)[torch.tensor([0, 1, 2, 3])].view(1, 4, 1, 1)
            return x + self.bias

    assert structure(nn.Sequential(conv(3, 4, stride=2), Remembers(), head(4)), (16, 16)).remarks == ()


def attended(x, windows=1):
    tokens = x.flatten(2).transpose(1, 2).reshape(windows, -1, 1, 4).transpose(1, 2)
    return functional.scaled_dot_product_attention(tokens, tokens, tokens).reshape(1, 16, 16, 4).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda x: x.mean((2, 3)), "global pooling"),
        (lambda x: x.flatten(2).mean(-1), "global pooling"),
        (lambda x: x.amax((2, 3)), "global pooling"),
        (lambda x: functional.max_pool2d(x, 8).flatten(1), "global pooling"),
        (lambda x: functional.avg_pool2d(x, x.shape[2:]).flatten(1), "global pooling"),
        (lambda x: x.permute(0, 2, 3, 1).mean((1, 2)), "global pooling"),
        (lambda x: x.flatten(1), "flattened"),
        (lambda x: functional.conv2d(x, torch.ones(4, 4, 8, 8)).flatten(1), "one window over the whole map"),
        (lambda x: torch.cat([x.mean((2, 3))[:, None], x.flatten(2).mT], 1)[:, 0], "one token taken"),
    ],
)
def test_what_ends_the_maps(end, said):
    found = structure(Net(lambda net, x: end(net.maps(x)), maps=conv(3, 4, stride=2, padding=1)), (16, 16))
    assert found.mixes[-1].endswith(said)
    assert found.last_map == "maps"
    assert found.receptive_field_px == (3, 3)


# the paper's counts ---------------------------------------------------------------------------------------------------


def without_numbers(make):
    """A net of any size, without its weights: only shapes are calculated."""
    with torch.device("meta"):
        return make().eval()


@pytest.mark.parametrize(
    ("name", "sites", "poolings", "layers"),
    [("vgg16", 5, 5, 16), ("resnet50", 5, 1, 50), ("densenet121", 5, 4, 121), ("squeezenet1_1", 4, 3, 18)],
)
def test_counts_of_torchvision_nets(name, sites, poolings, layers):
    models = import_torchvision().models
    found = structure(without_numbers(lambda: getattr(models, name)(weights=None)), (224, 224), name)
    assert (len(found.main_path), found.poolings, found.layers) == (sites, poolings, layers)
    assert found.stride_px == main_product(found)
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("name", "strides"),
    [("inception_resnet_v2", [2] * 5), ("mobilenetv2_100", [2] * 5), ("efficientnet_b0", [2] * 5),
     ("convnext_tiny", [4, 2, 2, 2]), ("vit_tiny_patch16_224", [16]),
     ("swin_tiny_patch4_window7_224", [4, 2, 2, 2])],
)  # fmt: skip
def test_counts_of_timm_nets(name, strides):
    import_torchvision()
    timm = pytest.importorskip("timm")
    size = 299 if "inception" in name else 224
    found = structure(without_numbers(lambda: timm.create_model(name)), (size, size), name)
    assert [site.stride for site in found.main_path] == [(stride, stride) for stride in strides]
    assert found.stride_px == main_product(found)


# input that can't be used ---------------------------------------------------------------------------------------------


def test_too_small_a_view():
    net = nn.Sequential(conv(3, 4, 7, stride=2), conv(4, 4, 7, stride=2), head(4))
    with pytest.raises(InputError, match=r"^tiny: a view of 8×8 px: the net can't take it .*view_size"):
        structure(net, (8, 8), "tiny")
    empty = Net(lambda net, x: x[:, :, 20::2])
    with pytest.raises(InputError, match="slice gives a map of no position"):
        structure(empty, (8, 8), "empty")


def test_one_position_left_is_told():
    found = structure(
        nn.Sequential(conv(3, 4, stride=4, padding=1), conv(4, 4, stride=4, padding=1), head(4)), (12, 12)
    )
    assert found.stride_px == (16, 16)
    assert "one position" in found.remarks[0]


def test_pictures_have_three_channels_where_the_first_layer_comes_after_patches():
    found = structure(nn.Sequential(nn.PixelUnshuffle(4), conv(48, 4), head(4)), (32, 32))
    assert [site.kind for site in found.sites] == ["merging"]
    assert [site.name for site in structure(nn.Sequential(conv(1, 4, stride=2), head(4)), (32, 32)).sites] == ["0.0"]


def test_a_net_without_subsampling():
    found = structure(nn.Sequential(conv(3, 4), head(4)), (16, 16))
    assert found.sites == ()
    assert found.stride_px == (1, 1)
    assert found.guaranteed == 1
    assert "does not subsample" in found.remarks[0]


def test_a_way_that_depends_on_the_picture_is_told():
    def forward(net, x):
        x = net.first(x)
        return functional.max_pool2d(x, 2) if x.std() > 0.4 else x

    torch.manual_seed(3)
    found = structure(Net(forward, first=nn.Conv2d(3, 4, 1)), (16, 16))
    assert "took another way" in found.remarks[0] or "a number of the picture" in found.remarks[0]


def test_what_can_not_be_seen_is_told():
    outside = Net(
        lambda net, x: net.conv(torch.from_numpy(x.numpy()[:, :, ::2, ::2].copy())), conv=nn.Conv2d(3, 4, 3, 2)
    )
    found = structure(outside, (32, 32))
    assert found.stride_px == (4, 4)
    assert "outside of PyTorch" in found.remarks[0]
    picked = Net(lambda net, x: net.conv(x[:, :, torch.arange(0, 32, 2)]), conv=nn.Conv2d(3, 4, 3))
    assert "its own forward (index) drops positions" in structure(picked, (32, 32)).remarks[-1]
    unfolded = Net(lambda net, x: x.unfold(2, 4, 4).unfold(3, 4, 4).mean((2, 3)))
    assert "unfold" in structure(unfolded, (32, 32)).remarks[-1]


def test_wrappers_are_opened():
    net = nn.Sequential(conv(3, 4, stride=2), head(4)).eval()
    for wrapped in (nn.DataParallel(net), torch.compile(net)):
        found = structure(wrapped, (16, 16))
        assert [site.name for site in found.sites] == ["0.0"]
        assert type(wrapped).__name__ in found.remarks[0]


def test_what_nobody_can_look_into():
    with pytest.warns(DeprecationWarning, match="jit"):
        scripted = torch.jit.script(nn.Conv2d(3, 4, 3))
    with pytest.raises(InputError, match="TorchScript"):
        structure(scripted, (16, 16))
    with pytest.raises(InputError, match="only PyTorch nets"):
        structure(SimpleNamespace(spec="model.onnx", view_size=(16, 16)))


@pytest.mark.parametrize("fails", [False, True])
def test_the_net_is_left_as_it_was(fails):
    net = nn.Sequential(conv(3, 4, stride=2), nn.BatchNorm2d(4), head(4)).train(False)
    net[0][0].weight.requires_grad_(False)
    if fails:
        net[2][2] = nn.Linear(7, 7).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    gradients = [weight.requires_grad for weight in net.parameters()]
    try:
        structure(net, (16, 16))
        assert not fails
    except InputError:
        assert fails
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [weight.requires_grad for weight in net.parameters()] == gradients
    assert not any(module._forward_hooks or module._forward_pre_hooks or module.training for module in net.modules())


# what is shown --------------------------------------------------------------------------------------------------------


def test_an_opened_model_brings_its_name_size_and_resize():
    model = open_model("demo")
    found = structure(model)
    assert found.spec == "demo"
    assert found.view_size == model.view_size
    assert found.resize == resize_words(model.preprocessing, model.view_size)
    assert found.sites


def test_words_of_the_resize():
    fields = Preprocessing(resize_px=(240, 320), resampler="bicubic", antialias=False, library="opencv")
    said = resize_words(fields, (224, 224))
    assert all(word in said for word in ("240×320", "bicubic", "not antialiased", "opencv", "224×224"))
    assert "padded" in resize_words(Preprocessing(crop="letterbox"), (224, 224))


def test_terminal_and_diagram_show_every_site_of_the_longest_way():
    found = structure(nn.Sequential(conv(3, 4, padding=1), blur_pool(3, 2), Block(4, 4, 2), head(4)).eval(), (32, 24))
    written = StringIO()
    show_structure(Console(file=written, width=118), found)
    assert all(site.name in written.getvalue() for site in found.sites)
    assert "1 in 16" in written.getvalue()
    drawing = ElementTree.fromstring(structure_diagram(found))
    words = ["".join(each.itertext()) for each in drawing.iter("text")]
    assert words.count("÷ 2") == len(found.main_path) == 2
    assert "no blur" in words
    assert "binomial" in words
    assert {"32×24", "16×12", "8×6"} <= set(words)
    assert "2 +1" in words  # the shortcut


def test_records_hold_plain_values():
    from shiftable.explaining.diagnosis import plain

    record = plain(structure(nn.Sequential(conv(3, 4, stride=2), head(4)), (16, 16)))
    assert record["sites"][0]["stride"] == [2, 2]
    assert record["stride_px"] == [2, 2]
