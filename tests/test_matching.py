"""Moments set back for good: what each channel of an edited site has is what it had."""

import numpy as np
import pytest

from shiftable.errors import InputError
from shiftable.models.torchvision_repair import import_torchvision

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from shiftable.layers.low_pass import LowPass  # noqa: E402
from shiftable.surgery.blurring import matched, moments  # noqa: E402
from shiftable.surgery.editing import Edit, operate  # noqa: E402
from shiftable.surgery.matching import match_moments  # noqa: E402
from shiftable.surgery.sites import find_sites, intercepted  # noqa: E402


class Pooled(nn.Module):
    def forward(self, map):
        return functional.avg_pool2d(functional.max_pool2d(map, 2), 2)[..., ::2, :]


def net_and_batches():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1), Pooled(),
        nn.Conv2d(8, 5, 1, 2),
    ).eval()  # fmt: skip
    return net, list(torch.randn(6, 3, 64, 64).split(4))


def test_every_site_has_the_moments_that_it_had():
    net, batches = net_and_batches()
    sites = find_sites(net, batches[0])
    edits = [Edit(site.name, match=True) for site in sites]
    operated = operate(net, edits, batches[0])
    before = {name: value.clone() for name, value in operated.state_dict().items()}
    made = match_moments(operated, net, edits, batches)
    assert all(torch.equal(value, before[name]) for name, value in operated.state_dict().items())
    assert set(made.state_dict()) > set(net.state_dict())
    pictures = torch.cat(batches)
    with torch.no_grad():
        for wanted, found in zip(_given(net, pictures), _given(made, pictures), strict=True):
            assert torch.allclose(found.mean((0, 2, 3)), wanted.mean((0, 2, 3)), atol=1e-4)
            assert torch.allclose(found.std((0, 2, 3)), wanted.std((0, 2, 3)), atol=1e-4)
        again = match_moments(made, net, edits, batches)
        assert torch.allclose(again(pictures), made(pictures), atol=1e-4)


def _given(net, pictures):
    """What the first convolution, the pooling, the functions and the last convolution give."""
    for layer in (0, 3, 4, 5):
        yield net[: layer + 1](pictures)


def test_what_is_not_matched_is_left_out():
    net, batches = net_and_batches()
    edits = [Edit("0"), Edit("3", match=True)]
    made = match_moments(operate(net, edits, batches[0]), net, edits, batches)
    assert torch.equal(made[0].weight, net[0].weight)
    assert not torch.equal(made[3][1].gain, torch.ones(8))
    with pytest.raises(InputError, match="3: was not operated with match"):
        match_moments(operate(net, [Edit("3")], batches[0]), net, edits, batches)
    with pytest.raises(InputError, match="no images"):
        match_moments(made, net, edits, [])


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenetv2_100"])
def test_real_nets_answer_as_with_their_operations_caught(shared, name):
    """Surgery, and `blurring.matched`: two ways to the same net, at a size at which no map ends inside a window."""
    image = pytest.importorskip("PIL.Image")
    load_file = pytest.importorskip("safetensors.torch").load_file
    models = import_torchvision().models
    net = models.squeezenet1_1() if name == "squeezenet1_1" else pytest.importorskip("timm").create_model(name)
    net.load_state_dict(load_file(shared / f"models/{name}.safetensors"))
    files = sorted((shared / "data").rglob("*.[jJ][pP]*[gG]"))[:4]
    shown = np.stack([np.asarray(image.open(file).convert("RGB").resize((98, 98))) for file in files])
    pictures = torch.from_numpy(shown).permute(0, 3, 1, 2).float() / 64 - 2
    sites = find_sites(net.eval(), pictures[:1])
    edits = [Edit(site.name, match=True) for site in sites]
    batches = [pictures]
    with torch.no_grad():
        caught = matched(net, batches, sites, LowPass(), moments(net, batches, {}, sites))
        with intercepted(net, caught):
            wanted = net(pictures)
        found = match_moments(operate(net, edits, pictures), net, edits, batches)(pictures)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
