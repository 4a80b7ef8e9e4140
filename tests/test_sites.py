"""Sites: every operation that drops positions is found, and its stride-1 response holds what it gives."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shiftable.models.torchvision_repair import import_torchvision

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from shiftable.surgery.sites import find_sites, intercepted  # noqa: E402
from shiftable.surgery.windows import NHWC  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded():
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Functional(nn.Module):
    """A net whose forward is a function of a convolution and the picture."""

    def __init__(self, forward):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.does = forward

    def forward(self, x):
        return self.does(self.conv, x)


def sites_of(forward, size=(16, 16)):
    return find_sites(Functional(forward).eval(), torch.randn(1, 4, *size))


def check_dense(net, inputs):
    """At every site, every stride-th position of the stride-1 response is what the site gives. Returns the sites."""
    sites = find_sites(net, inputs)
    met = []

    def compare(operation):
        answer = operation()
        site, given = operation.site, answer[0] if isinstance(answer, tuple) else answer
        met.append(site)
        if site.window.kind == "merging":
            image = operation.input if site.window.dimensions != NHWC else operation.input.movedim(3, 1)
            assert torch.equal(operation.dense(), image)
            return answer
        down, right = operation.stride
        rows, columns = (given.shape[axis] for axis in site.window.dimensions)
        response = operation.dense()[..., ::down, ::right][..., :rows, :columns]
        given = given if site.window.dimensions != NHWC else given.movedim(3, 1)
        assert response.shape == given.shape
        assert torch.allclose(response, given, atol=1e-5)
        return answer

    with torch.no_grad(), intercepted(net, {site: compare for site in sites if site.has_dense}):
        net(inputs)
    assert set(met) == {site for site in sites if site.has_dense}
    return sites


# single operations ----------------------------------------------------------------------------------------------------

numbers = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=40)
@given(numbers, numbers, numbers, st.integers(1, 2), st.integers(5, 19), st.integers(5, 19))
def test_dense_convolutions(kernel, stride, padding, dilation, height, width):
    assume(max(stride) > 1)
    assume(height >= dilation * (kernel[0] - 1) + 1)
    assume(width >= dilation * (kernel[1] - 1) + 1)
    net = nn.Conv2d(4, 4, kernel, stride, padding, dilation, groups=2)
    assert [site.window.stride for site in check_dense(net, torch.randn(1, 4, height, width))] in ([stride], [])


@settings(max_examples=60)
@given(st.integers(1, 4), st.integers(2, 4), st.integers(0, 2), st.booleans(), st.booleans(), st.integers(5, 19),
       st.sampled_from(["max", "average"]))  # fmt: skip
def test_dense_poolings(kernel, stride, padding, ceil_mode, counts, size, kind):
    assume(padding <= kernel // 2)
    if kind == "max":
        net = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil_mode)
    else:
        net = nn.AvgPool2d(kernel, stride, padding, ceil_mode, counts)
    check_dense(net, torch.randn(1, 4, size, size + 3))


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d((4, 2)), nn.AdaptiveMaxPool2d((4, 2)), nn.PixelUnshuffle(2),
                                  nn.Unfold(2, stride=2)])  # fmt: skip
def test_other_dense_responses(pool):
    (site,) = check_dense(pool, torch.randn(1, 4, 16, 16))
    assert site.window.stride == ((4, 8) if "Adaptive" in site.type else (2, 2))


@pytest.mark.parametrize(
    "forward",
    [
        lambda _, x: functional.interpolate(x, size=(8, 8), mode="bilinear", antialias=True),
        lambda _, x: functional.interpolate(x, scale_factor=0.75),
        lambda _, x: functional.adaptive_avg_pool2d(x, (7, 8)),
    ],
)
def test_a_resize_is_a_site_without_dense_response(forward):
    (site,) = sites_of(forward)
    assert site.window.kind == "interpolation"
    assert not site.has_dense


def test_what_keeps_every_position_is_no_site():
    assert sites_of(lambda conv, x: functional.interpolate(conv(x), scale_factor=2)) == ()
    assert sites_of(lambda conv, x: functional.max_pool2d(x, 3, 1)) == ()
    assert sites_of(lambda conv, x: functional.avg_pool2d(x, 16)) == ()
    assert sites_of(lambda conv, x: functional.conv_transpose2d(x, conv.weight, stride=2)) == ()


# slices and patches ---------------------------------------------------------------------------------------------------


def quarters(x):
    return [x[..., y::2, x_::2] for y in (0, 1) for x_ in (0, 1)]


@pytest.mark.parametrize(
    ("forward", "strides"),
    [
        (lambda conv, x: conv(x[:, :, ::2, ::2])[:, :, ::2, ::2], [(2, 2), (2, 2)]),
        (lambda conv, x: x[:, :, ::2, ::2][:, :, ::2, ::2], [(2, 2), (2, 2)]),
        (lambda conv, x: x[:, :, ::2, ::2] + conv(x)[:, :, ::2, ::2], [(2, 2), (2, 2)]),
        (lambda conv, x: torch.cat(quarters(x), 1), [(2, 2)]),
        (lambda conv, x: conv(sum(quarters(x)))[..., ::4], [(2, 2), (1, 4)]),
        (lambda conv, x: x[:, :, 1:, 1:][:, :, ::2, ::2], [(2, 2)]),
        (lambda conv, x: x[..., ::3], [(1, 3)]),
        (lambda conv, x: x[..., ::3, :], [(3, 1)]),
        (lambda conv, x: x[:, ::2], []),
        (lambda conv, x: torch.cat([conv(x), x], 1)[:, 1::2], []),
        (lambda conv, x: conv(x).permute(0, 2, 3, 1)[:, ::2, ::2, 1::2], [(2, 2)]),
    ],
    ids=["two", "chained", "beside", "quarters", "apart", "cropped", "x", "y", "channels", "joined", "channels last"],
)
@pytest.mark.parametrize("size", [(16, 16), (24, 12)])
def test_slices_of_one_map_are_one_site_and_of_two_are_two(forward, strides, size):
    assert [site.window.stride for site in sites_of(forward, size)] == strides
    check_dense(Functional(forward).eval(), torch.randn(1, 4, *size))


@pytest.mark.parametrize("size", [(16, 16), (16, 4)])  # also where a side is as long as there are channels
def test_axes_of_slices_in_channels_last(size):
    (site,) = sites_of(lambda conv, x: conv(x).permute(0, 2, 3, 1)[:, ::2, 1::4], size)
    assert site.window.dimensions == NHWC
    assert site.window.stride == (2, 4)
    assert site.window.output_size == (size[0] // 2, -(-(size[1] - 1) // 4))


def rotary(x):
    heads = x.flatten(2).transpose(1, 2).reshape(1, -1, 2, 2).transpose(1, 2)
    return torch.stack([-heads[..., 1::2], heads[..., ::2]], -1)


def test_rotary_embeddings_are_no_slices_of_a_map():
    assert sites_of(lambda conv, x: rotary(x)) == ()


def patches(x, order, shape):
    return x.reshape(1, 4, 8, 2, 8, 2).permute(order).reshape(shape)


@pytest.mark.parametrize(
    ("order", "shape", "sites"),
    [
        ((0, 1, 3, 5, 2, 4), (1, 16, 8, 8), 1),  # space to depth
        ((0, 2, 4, 3, 5, 1), (1, 64, 16), 1),  # patches as tokens
        ((0, 2, 4, 3, 5, 1), (1, 8, 8, 16), 1),
        ((0, 2, 4, 3, 5, 1), (64, 4, 4), 0),  # windows of attention
        ((0, 1, 2, 3, 4, 5), (1, 4, 16, 16), 0),
    ],
)
def test_patches_are_a_site_where_they_become_channels(order, shape, sites):
    found = sites_of(lambda conv, x: patches(conv(x), order, shape))
    assert [site.window.kind for site in found] == ["merging"] * sites


def test_names_tell_operations_of_a_module_apart():
    found = sites_of(lambda conv, x: functional.max_pool2d(functional.max_pool2d(x, 2), 2)[..., ::2])
    assert [site.name for site in found] == ["max_pool2d_1", "max_pool2d_2", "slice"]


# nets -----------------------------------------------------------------------------------------------------------------


def made(name, **settings):
    import_torchvision()
    import timm

    return timm.create_model(name, num_classes=5, **settings)


def torchvision(name, *arguments, **settings):
    return getattr(import_torchvision().models, name)(*arguments, num_classes=5, **settings)


def vgg():
    features = import_torchvision().models.vgg.make_layers([8, "M", 8, 8, "M", 16, "M"])
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(16 * 64, 5))


def transformer(kind, **settings):
    import_torchvision()
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind}Config")(image_size=64, **settings)
    return getattr(transformers, f"{kind}ForImageClassification")(config)


NETS = {
    "vgg": (lambda: vgg(), 64, [2] * 3),
    "resnet18": (lambda: torchvision("resnet18"), 64, [2] * 8),
    "resnet14d": (lambda: made("resnet14t"), 64, [2] * 8),
    "resnetblur18": (lambda: made("resnetblur18"), 64, [2] * 8),
    "densenet": (lambda: torchvision("DenseNet", 8, (2, 2, 2, 2), 16), 64, [2] * 5),
    "squeezenet": (lambda: torchvision("squeezenet1_1"), 64, [2] * 4),
    "mobilenetv2 same": (lambda: made("mobilenetv2_050", pad_type="same"), 61, [2] * 5),
    "mobilenetv3": (lambda: made("mobilenetv3_small_050"), 64, [2] * 5),
    "efficientnet": (lambda: made("efficientnet_b0"), 64, [2] * 5),
    "convnext": (lambda: made("convnext_atto"), 64, [4, 2, 2, 2]),
    "vit": (lambda: made("vit_tiny_patch16_224", img_size=64, depth=1), 64, [16]),
    "swin": (lambda: made("swin_tiny_patch4_window7_224", img_size=64, window_size=4, embed_dim=24,
                          depths=(2, 1, 1, 1)), 64, [4, 2, 2, 2]),
    "torchvision swin": (lambda: torchvision("SwinTransformer", [4, 4], 24, [2, 1, 1], [2, 2, 4], [4, 4]), 64,
                         [4, 2, 2]),
    "hugging face swin": (lambda: transformer("Swin", embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4),
                          64, [4, 2]),
    "hugging face vit": (lambda: transformer("ViT", hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                                             intermediate_size=64), 64, [16]),
    "inception resnet": (lambda: made("inception_resnet_v2"), 107, [2] * 10),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_nets_are_known_and_their_responses_dense(name):
    if name not in ("vgg", "resnet18", "densenet", "squeezenet", "torchvision swin"):
        pytest.importorskip("timm")
    make, size, strides = NETS[name]
    sites = check_dense(make().eval(), torch.randn(1, 3, size, size))
    assert [site.window.stride for site in sites] == [(stride, stride) for stride in strides]
    assert len({site.name for site in sites}) == len(sites)
