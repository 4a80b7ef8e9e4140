"""Tiles: what the marks tell agrees with arithmetic, and cutting by the rule changes nothing."""

import json
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from shiftable.errors import InputError
from shiftable.explaining import tiles
from shiftable.explaining.tile_grid import Grid, cuts
from shiftable.models import open_model
from shiftable.models.torchvision_repair import import_torchvision
from shiftable.report.tiles_text import show_tiles, verdict

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded():
    """The same weights every time; one thread, which for nets so small is the fastest."""
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def conv(inputs, outputs, kernel=3, **settings):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, **settings), nn.ReLU())


def shown(net, size):
    """A net that says what size it takes, as opened models do."""
    return SimpleNamespace(net=net, spec=type(net).__name__, view_size=(size, size))


def checked(found):
    """Running it agreed, and being off the grid or without overlap would not have."""
    assert found.check.holds, found.check
    assert found.check.off_grid is None or found.check.off_grid > 1e-4
    assert found.check.no_margin is None or found.check.no_margin > 1e-4
    return found


# arithmetic -----------------------------------------------------------------------------------------------------------

strides = st.sampled_from([1, 2, 3, 8, 32])
sight = st.lists(st.tuples(st.integers(-60, 0), st.integers(0, 120)), min_size=2, max_size=2)


def made_grid(stride, sight):
    return Grid(stride, tuple(first for first, _ in sight), tuple(first + more for first, more in sight), any_size=True)


@given(strides, sight, st.integers(1, 40), st.integers(1, 60))
def test_kept_positions_see_no_tile_border_and_fill_the_map_once(stride, sight, tile_strides, image_strides):
    grid = made_grid(stride, sight)
    tile = grid.overlap_px + tile_strides * grid.stride_px
    image = image_strides * grid.stride_px
    covered = 0
    found = cuts(grid, image, tile)
    for cut in found:
        assert cut.offset_px % grid.stride_px == 0
        assert 0 <= cut.offset_px < image
        shift = cut.offset_px // grid.stride_px * grid.positions
        start, stop = cut.keep
        assert start + shift == cut.at == covered
        last = cut is found[-1]
        assert (stop is None) == last
        kept = range(start, grid.positions * 100 if last else stop)
        covered = shift + kept.stop
        for place in kept:
            turn, which = divmod(place, grid.positions)
            if cut.offset_px:
                assert grid.first_px[which] + turn * grid.stride_px >= 0
            if not last:
                assert grid.last_px[which] + turn * grid.stride_px < tile
    assert found[-1].offset_px + found[-1].size_px == image


@given(strides, sight)
def test_one_stride_less_of_overlap_leaves_a_gap(stride, sight):
    grid = made_grid(stride, sight)
    tile = grid.overlap_px + 5 * grid.stride_px
    assert grid.advance_px(tile) == 5 * grid.stride_px
    assert grid.end(tile) - grid.begin < 6 * grid.positions


# receptive fields -----------------------------------------------------------------------------------------------------


def chain(*layers):
    """(kernel, stride, padding, dilation, whether pooling) …: the net, its receptive field, stride and first pixel."""
    modules, field, jump, first, channels = [], 1, 1, 0, 3
    for kernel, stride, padding, dilation, pools in layers:
        if pools:
            modules.append(nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=True))
        else:
            modules += [nn.Conv2d(channels, 4, kernel, stride, padding, dilation), nn.ReLU()]
            channels = 4
        field += (kernel - 1) * dilation * jump
        first -= padding * jump
        jump *= stride
    return nn.Sequential(*modules), field, jump, first


@pytest.mark.parametrize(
    "layers",
    [
        [(3, 2, 0, 1, False), (3, 2, 0, 1, True), (3, 1, 1, 1, False)],
        [(7, 2, 3, 1, False), (3, 2, 1, 1, True), (3, 2, 1, 1, False), (3, 1, 2, 2, False)],
        [(5, 1, 2, 1, False), (3, 1, 4, 4, False)],
        [(4, 4, 0, 1, False), (7, 1, 3, 1, False), (2, 2, 0, 1, False)],
        [(3, 3, 1, 1, False), (5, 5, 2, 1, True)],
        [(2, 1, 0, 16, False)],
    ],
)
def test_marks_agree_with_the_known_recurrence(layers):
    net, field, jump, first = chain(*layers)
    found = checked(tiles(net))
    assert found.part == "the answer"
    assert found.stride_px == (jump, jump)
    assert found.receptive_field_px == (field, field)
    assert found.first_px == (first, first)
    assert found.forbidden_by is None
    assert found.any_size == (True, True)


def test_axes_are_measured_apart():
    net = nn.Sequential(conv(3, 4, (5, 3), stride=(4, 1), padding=(2, 1)), conv(4, 4, (1, 7), stride=(1, 2)))
    found = checked(tiles(net))
    assert found.stride_px == (4, 2)
    assert found.receptive_field_px == (5, 9)
    assert found.first_px == (-2, -1)


def test_overlap_depends_on_where_the_grid_lies():
    # windows of 4 px at -2, 2, …: each straddles the border of tiles that share nothing, though field - stride is 0
    found = checked(tiles(nn.Conv2d(3, 4, 4, stride=4, padding=2)))
    assert found.overlap_px == (4, 4)
    assert checked(tiles(nn.Conv2d(3, 4, 4, stride=4))).overlap_px == (0, 0)


# dense nets -----------------------------------------------------------------------------------------------------------


class UNet(nn.Module):
    """Two levels down by pooling, two up by transposed convolutions, with skips."""

    def __init__(self, up=None):
        super().__init__()
        self.one, self.two, self.three = conv(3, 4, padding=1), conv(4, 6, padding=1), conv(6, 8, padding=1)
        self.up_two, self.up_one = nn.ConvTranspose2d(8, 6, 2, 2), nn.ConvTranspose2d(6, 4, 2, 2)
        self.mix_two, self.mix_one = conv(12, 6, padding=1), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, image):
        one = self.one(image)
        two = self.two(functional.max_pool2d(one, 2))
        three = self.three(functional.max_pool2d(two, 2))
        two = self.mix_two(torch.cat([self.up_two(three), two], 1))
        return self.mix_one(torch.cat([self.up_one(two), one], 1))


def test_u_net_repeats_at_the_stride_of_its_deepest_map_though_its_own_is_1():
    found = checked(tiles(UNet()))
    assert found.part == "the answer"
    assert found.stride_px == (4, 4)
    assert found.pitch_px == (1, 1)
    assert found.any_size == (False, False)  # skips and maps from below do not fit at other sizes


def test_plan_of_a_u_net_is_stitched_by_hand():
    net = UNet().double().eval()
    found = tiles(net, image_px=(96, 128), tile_px=50)
    assert found.plan.tile_px == (52, 52)  # the nearest multiple of the stride, 4
    image = torch.randn(1, 3, 96, 128, dtype=torch.float64)
    whole, put = net(image), torch.full((1, 2, 96, 128), torch.nan, dtype=torch.float64)
    for y in found.plan.rows:
        for x in found.plan.columns:
            tile = net(image[..., y.offset_px :, x.offset_px :][..., : y.size_px, : x.size_px])
            kept = tile[..., slice(*y.keep), slice(*x.keep)]
            put[..., y.at : y.at + kept.shape[-2], x.at : x.at + kept.shape[-1]] = kept
    torch.testing.assert_close(put, whole, rtol=0, atol=1e-12)
    assert found.plan.tiles == len(found.plan.rows) * len(found.plan.columns)
    assert found.plan.work > 1


class Backbone(nn.Sequential):
    def forward(self, image):
        return {"out": super().forward(image)}


def test_torchvision_fcn_resizes_to_the_image_so_sizes_must_be_multiples():
    import_torchvision()
    from torchvision.models.segmentation.fcn import FCN, FCNHead

    backbone = Backbone(
        conv(3, 8, stride=2, padding=1), conv(8, 8, stride=2, padding=1), conv(8, 8, dilation=2, padding=2)
    )
    net = FCN(backbone, FCNHead(8, 3))
    found = checked(tiles(net))
    assert found.part == "the answer (out)"
    assert found.stride_px == (4, 4)
    assert found.any_size == (False, False)
    with pytest.raises(InputError, match="must be a multiple of 4 px; pad it to 204 px"):
        tiles(net, image_px=201, tile_px=64)


def test_dilated_net_keeps_its_stride():
    net = nn.Sequential(
        conv(3, 6, stride=2, padding=1),
        conv(6, 6, padding=2, dilation=2),
        conv(6, 6, padding=6, dilation=6),
        nn.Conv2d(6, 4, 1),
    )
    found = checked(tiles(net))
    assert found.stride_px == (2, 2)
    assert found.receptive_field_px == (3 + 2 * 4 + 2 * 12,) * 2


@pytest.mark.parametrize("width", [(8, 8, 16, 16)])
def test_resnet_18s_features(width):
    timm = pytest.importorskip("timm")
    found = checked(tiles(timm.create_model("resnet18", channels=width)))
    assert found.part == "layer4"
    assert (found.stride_px, found.receptive_field_px, found.overlap_px) == ((32, 32), (435, 435), (416, 416))
    assert found.forbidden_by.name == "global_pool.pool"
    assert found.forbidden_by.ends
    assert "up to layer4 can be tiled" in verdict(found)


def test_squeezenets_features(shared):
    import_torchvision()
    model = open_model(
        "torchvision/squeezenet1_1", weights=shared / "models/squeezenet1_1.safetensors", device="cpu", fast=False
    )
    found = checked(tiles(model))
    assert found.spec == "torchvision/squeezenet1_1"
    assert found.part == "classifier.2"
    assert (found.stride_px, found.receptive_field_px, found.first_px) == ((16, 16), (207, 207), (-88, -88))
    # a stride more than field - stride, rounded up: windows begin half a stride off the tiles' border
    assert found.overlap_px == (208, 208)
    assert found.any_size == (True, True)


def test_mobilenets_same_padding_wants_multiples_of_the_stride():
    timm = pytest.importorskip("timm")
    net = timm.create_model("mobilenetv2_035", pad_type="same")
    found = checked(tiles(net, image_px=1024, tile_px=800))
    assert (found.stride_px, found.receptive_field_px, found.any_size) == ((32, 32), (491, 491), (False, False))
    assert found.plan.tile_px == (800, 800)
    assert "multiples of it" in verdict(found)


# what forbids ---------------------------------------------------------------------------------------------------------


class Gate(nn.Module):
    """Squeeze and excite, without a module for the mean."""

    def forward(self, map_):
        return map_ * map_.mean((2, 3), keepdim=True).sigmoid()


class Pooled(nn.Module):
    """A classifier that pools by a function."""

    def __init__(self):
        super().__init__()
        self.features, self.head = conv(3, 4, stride=2), nn.Linear(4, 3)

    def forward(self, image):
        return self.head(self.features(image).mean((2, 3)))


class Placed(nn.Module):
    """Adds to every position how far down it is."""

    def forward(self, map_):
        return map_ + torch.arange(map_.shape[2], dtype=map_.dtype, device=map_.device)[:, None]


FORBIDDING = {
    "mean": (Gate(), "Gate", False),
    "group norm": (nn.GroupNorm(2, 4), "GroupNorm", False),
    "instance norm": (nn.InstanceNorm2d(4), "InstanceNorm2d", False),
    "place": (Placed(), "Placed", False),
    "align corners": (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), "Upsample", False),
    "around": (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), "Conv2d", False),
}


@pytest.mark.parametrize("case", FORBIDDING)
def test_global_operation_is_named(case):
    module, kind, ends = FORBIDDING[case]
    found = tiles(nn.Sequential(conv(3, 4, stride=2, padding=1), module, nn.Conv2d(4, 4, 3)))
    assert found.part.split(".")[0] == "0"
    assert found.stride_px == (2, 2)
    assert (found.forbidden_by.name, found.forbidden_by.type) == ("1", kind)
    assert found.forbidden_by.ends == ends
    assert not found.possible
    assert found.tile_sizes == ()
    assert found.check is None
    assert "1 (" in verdict(found)
    assert case == "place" or case == "align corners" or found.forbidden_by.change > 0.001
    with pytest.raises(InputError, match=r"no tiles leave its answer as it is: 1 \("):
        tiles(nn.Sequential(conv(3, 4, stride=2, padding=1), module, nn.Conv2d(4, 4, 3)), image_px=600)


@pytest.mark.parametrize(
    ("net", "part", "blamed"),
    [
        (Pooled(), "features", ""),
        (nn.Sequential(conv(3, 4), nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(196, 2)), "0", "1"),
        (shown(nn.Sequential(conv(3, 4), nn.Flatten(), nn.Linear(4 * 62 * 62, 2)), 64), "0", "2"),
    ],
    ids=["a function", "a fixed grid", "flattened"],
)
def test_end_of_a_classifier_forbids_only_what_follows(net, part, blamed):
    found = checked(tiles(net))
    assert found.part == part
    assert found.forbidden_by.name == blamed
    assert found.forbidden_by.ends
    assert found.possible


def test_squeeze_and_excite_attention_and_image_pooling_are_named():
    timm = pytest.importorskip("timm")
    import_torchvision()
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3

    gated = tiles(timm.create_model("test_efficientnet")).forbidden_by
    assert "SqueezeExcite" in gated.type
    assert not gated.ends
    seen = tiles(open_model(timm.create_model("test_vit"), device="cpu"))
    assert "Attention" in seen.forbidden_by.type
    assert (seen.part, seen.stride_px) == ("patch_embed", (16, 16))
    backbone = Backbone(conv(3, 8, stride=2, padding=1))
    vit = import_torchvision().models.VisionTransformer(32, 8, 1, 2, 16, 32)
    fixed = tiles(shown(vit, 32))
    assert (fixed.part, fixed.stride_px) == ("conv_proj", (8, 8))
    assert fixed.forbidden_by.name == "encoder.layers.encoder_layer_0.self_attention"
    assert "takes 32×32 px only" in fixed.forbidden_by.why
    pooled = tiles(DeepLabV3(backbone, DeepLabHead(8, 3)))
    assert pooled.forbidden_by.name == "classifier.0.convs.4.0"
    assert not pooled.forbidden_by.ends
    assert pooled.part == "backbone (out)"


def test_lraspp_is_stopped_at_its_first_gate():
    models = import_torchvision().models
    net = models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    found = tiles(net)
    assert "SqueezeExcitation" in found.forbidden_by.type
    assert not found.forbidden_by.ends


class Swallowing(nn.Module):
    """No NaN leaves this."""

    def forward(self, map_):
        return torch.nan_to_num(map_)


def test_swallowed_nan_is_no_way_to_hide():
    plain = [conv(3, 4, 5, stride=2, padding=2), conv(4, 4, 3, padding=1)]
    found = checked(tiles(nn.Sequential(plain[0], Swallowing(), plain[1])))
    assert found.receptive_field_px == tiles(nn.Sequential(*plain)).receptive_field_px
    assert not tiles(nn.Sequential(plain[0], Swallowing(), Gate(), plain[1])).possible


# the caller's things, and what can't be used --------------------------------------------------------------------------


def test_callers_net_is_left_as_it_was():
    net = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4)).train()
    net[0][0].weight.grad = torch.ones_like(net[0][0].weight)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    tiles(net)
    with pytest.raises(InputError):
        tiles(nn.Sequential(net, nn.Conv2d(7, 7, 1)))
    assert net.training
    assert net[0][0].weight.grad is not None
    assert net[0][0].weight.requires_grad
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    for name, value in net.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])


def test_same_seed_same_result_and_plain_json():
    net = nn.Sequential(conv(3, 4, stride=2, padding=1), conv(4, 4))
    one, two = (json.dumps(tiles(net, image_px=300, tile_px=64, seed=3).to_json()) for _ in range(2))
    assert one == two
    assert json.loads(one)["plan"]["tiles"] > 1


def test_what_is_printed_says_the_rule():
    out = StringIO()
    show_tiles(Console(file=out, width=200), tiles(nn.Conv2d(3, 4, 3, stride=2, padding=1), image_px=500, tile_px=128))
    said = out.getvalue()
    assert "The whole net can be tiled: offsets at multiples of 2 px, 2 px of overlap." in said
    assert "An image of 500 px: 16 tiles of 128 px" in said
    assert "are equal" in said


class Dead(nn.Module):
    """Answers 0 wherever it can."""

    def forward(self, map_):
        return map_ * 0


class Answering:
    spec = "model.onnx"


@pytest.mark.parametrize(
    ("make", "asked", "said"),
    [
        (
            Answering,
            {},
            "model.onnx: tiles are found by looking into a PyTorch net.*open the net that it was made from",
        ),
        (
            lambda: nn.Conv2d(3, 4, 9),
            {"tile_px": 8},
            "tile of 8×8 px is no larger than the overlap.*take 9×9 px or more",
        ),
        (lambda: nn.Conv2d(3, 4, 9), {"image_px": 5}, "smaller than the receptive field, 9×9 px; show it whole"),
        (lambda: nn.Conv2d(3, 4, 9), {"image_px": 0}, "image of 0×0 px"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3)),
            {},
            r"Sequential: the net can't take .*224×224 px \(1: ",
        ),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(7, 7, 1)), {}, r"can't take an image of 224×224 px \(1: "),
        (lambda: nn.Flatten(), {}, "Flatten: the net gives no map whose rows and columns follow the image's"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), Dead()), {}, "the answer is 0 everywhere on noise"),
    ],
)
def test_bad_input_gets_one_clear_line(make, asked, said):
    with pytest.raises(InputError, match=said) as caught:
        tiles(make(), **asked)
    assert "\n" not in str(caught.value)


def test_float64_spreads_no_nan():
    """What the marks rest on: a NaN stays within a kernel's reach, whatever the kernel."""
    for kernel in (3, 5, 7):
        image = torch.zeros(1, 16, 64, 64, dtype=torch.float64)
        image[:, :, 32, 32] = torch.nan
        answer = nn.Conv2d(16, 16, kernel, padding=kernel // 2).double()(image).isnan().any(1)[0]
        rows = np.flatnonzero(answer.any(1).numpy())
        assert rows.tolist() == list(range(32 - kernel // 2, 33 + kernel // 2))
        assert answer.sum() == kernel**2
