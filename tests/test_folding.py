"""Folding norms changes no answer, and nothing of the caller's."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from shiftable.models.folding import fold_norms  # noqa: E402
from shiftable.models.preprocessing import for_view  # noqa: E402
from shiftable.models.torch_model import torch_model  # noqa: E402
from shiftable.models.torchvision_repair import import_torchvision  # noqa: E402


def trained(net, seed=0):
    """The net with statistics and scales as if it had been trained: none of them 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
            ):
                if tensor is not None:
                    tensor.data.uniform_(low, high, generator=generator)
    return net.eval()


def norms_of(net):
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def torchvision_net(name, **more):
    pytest.importorskip("safetensors")
    return import_torchvision().models.get_model(name, weights=None, **more)


def timm_net(name, **more):
    import_torchvision()
    return pytest.importorskip("timm").create_model(name, **more)


# how many norms follow a convolution directly: all of them, none, or so many
ZOO = {
    "resnet18": (lambda: torchvision_net("resnet18"), "all"),
    "mobilenet_v2": (lambda: torchvision_net("mobilenet_v2"), "all"),
    "squeezenet1_1": (lambda: torchvision_net("squeezenet1_1"), 0),
    "mobilenetv2_100 same": (lambda: timm_net("mobilenetv2_100", pad_type="same"), "all"),
    "efficientnet_b0": (lambda: timm_net("efficientnet_b0"), "all"),
    "convnext_atto": (lambda: timm_net("convnext_atto"), 0),
    # after the first one and inside each of the 58 layers a norm follows a convolution; the others come before one
    "densenet121": (lambda: torchvision_net("densenet121"), 59),
    "resnet18d": (lambda: timm_net("resnet18d"), "all"),
}


@pytest.mark.parametrize(("build", "expected"), ZOO.values(), ids=ZOO)
def test_answers_stay(build, expected):
    torch.manual_seed(0)
    net = trained(build())
    example = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before = net(example)
    norms = norms_of(net)
    folded = fold_norms(net, example[:1])
    assert folded == (norms if expected == "all" else expected)
    assert norms_of(net) == norms - folded
    with torch.inference_mode():
        after = net(example)
    assert (after - before).abs().max() <= 1e-5 * before.abs().max()


class Net(nn.Module):
    """A convolution and a norm, put together by ``forward``."""

    def __init__(self, forward, conv=None, norm=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1) if conv is None else conv
        self.norm = nn.BatchNorm2d(4) if norm is None else norm
        self.act = nn.ReLU(inplace=True)
        self.steps = forward

    def forward(self, x):
        return self.steps(self, x).mean((2, 3))


def twice(net, x):
    y = net.conv(x)
    return net.norm(y) + y


def shared_norm(net, x):
    return net.norm(net.norm(net.conv(x)))


def shared_conv(net, x):
    y = net.norm(net.conv(x))
    return y + net.conv(x)


UNFOLDABLE = {
    "changed in place between": lambda net, x: net.norm(net.act(net.conv(x))),
    "changed between": lambda net, x: net.norm(net.conv(x) * 2),
    "norm first": lambda net, x: net.conv(net.norm(torch.cat([x, x[:, :1]], 1))),
    "norm called twice": shared_norm,
    "convolution called twice": shared_conv,
}


@pytest.mark.parametrize("forward", UNFOLDABLE.values(), ids=UNFOLDABLE)
def test_leaves_alone_what_is_no_pair(forward):
    conv = nn.Conv2d(4, 4, 3) if forward is UNFOLDABLE["norm first"] else None
    net, example = trained(Net(forward, conv)), torch.randn(2, 3, 8, 8)
    before = net(example)
    assert fold_norms(net, example) == 0
    assert torch.equal(net(example), before)


SUBCLASSES = {
    "convolution that scales its weights": (type("Scaled", (nn.Conv2d,), {})(3, 4, 3), None),
    "norm that computes something else": (None, type("Other", (nn.BatchNorm2d,), {})(4)),
    "norm without statistics": (None, nn.BatchNorm2d(4, track_running_stats=False)),
    "weight norm": (nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), None),
}


@pytest.mark.parametrize(("conv", "norm"), SUBCLASSES.values(), ids=SUBCLASSES)
def test_leaves_alone_what_it_does_not_know(conv, norm):
    net, example = trained(Net(lambda net, x: net.norm(net.conv(x)), conv, norm)), torch.randn(2, 3, 8, 8)
    before = net(example)
    assert fold_norms(net, example) == 0
    torch.testing.assert_close(net(example), before)


@pytest.mark.filterwarnings("ignore")  # torch finds this form old
def test_leaves_alone_an_old_weight_norm():
    net = trained(Net(lambda net, x: net.norm(net.conv(x)), nn.utils.weight_norm(nn.Conv2d(3, 4, 3))))
    assert fold_norms(net, torch.randn(2, 3, 8, 8)) == 0


def test_leaves_alone_a_norm_of_two_names():
    net = trained(Net(lambda net, x: net.again(net.conv(x))))
    net.again, example = net.norm, torch.randn(2, 3, 8, 8)
    before = net(example)
    assert fold_norms(net, example) == 0
    assert torch.equal(net(example), before)


def test_folds_a_norm_without_scale_and_a_convolution_without_bias():
    net = trained(
        Net(lambda net, x: net.norm(net.conv(x)), nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False))
    )
    example = torch.randn(2, 3, 8, 8)
    before = net(example)
    assert fold_norms(net, example) == 1
    torch.testing.assert_close(net(example), before, rtol=1e-5, atol=1e-6)


def test_leaves_no_hooks():
    net = trained(Net(lambda net, x: net.norm(net.conv(x))))
    fold_norms(net, torch.randn(2, 3, 8, 8))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_leaves_no_hooks_where_the_net_fails():
    net = trained(Net(lambda net, x: net.norm(net.conv(x)).no_such_thing))
    with pytest.raises(AttributeError):
        fold_norms(net, torch.randn(2, 3, 8, 8))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def opened(net, **more):
    return torch_model(net, spec="test", view_size=(32, 48), preprocessing=for_view((32, 48)), **more)


@pytest.mark.parametrize("forward", [twice, *UNFOLDABLE.values()], ids=["output used twice", *UNFOLDABLE])
def test_a_model_never_answers_differently_for_being_fast(forward):
    """That a convolution's output is used twice can't be seen by folding: opening compares the answers."""
    import numpy as np

    conv = nn.Conv2d(4, 4, 3) if forward is UNFOLDABLE["norm first"] else None
    net = trained(Net(forward, conv))
    views = np.random.default_rng(1).integers(0, 256, (4, 32, 48, 3), dtype=np.uint8)
    np.testing.assert_allclose(opened(net)(views), opened(net, fast=False)(views), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_the_callers_net_is_not_touched(dtype):
    net = trained(Net(lambda net, x: net.norm(net.conv(x)))).to(dtype).train()
    modules, modes = list(net.modules()), [module.training for module in net.modules()]
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    strides = [parameter.stride() for parameter in net.parameters()]
    model = opened(net)
    assert model.settings["folded_norms"] == 1
    assert list(net.modules()) == modules
    assert [module.training for module in net.modules()] == modes
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert [parameter.stride() for parameter in net.parameters()] == strides
    assert list(net.state_dict()) == list(state)
    for name, tensor in net.state_dict().items():
        assert tensor.dtype == state[name].dtype
        assert torch.equal(tensor, state[name])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
