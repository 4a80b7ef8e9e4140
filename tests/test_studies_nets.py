"""The studies' nets: alike in what they share, apart in how they subsample; and the pictures they learn from."""

import io
from math import prod

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from shiftable.errors import InputError

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from shiftable.models import open_model  # noqa: E402
from shiftable.studies import cifar10  # noqa: E402
from shiftable.studies.nets import resnet_like, vgg_like  # noqa: E402

ARMS = (vgg_like, resnet_like)
TOTAL_STRIDE = 8


def multiply_adds(net):
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net.eval()(torch.zeros(1, 3, 32, 32))
    return counter.get_total_flops() // 2


def layers(net):
    """Convolutions and linear layers, without shortcuts: as He et al. count."""
    weighty = [name for name, part in net.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    return [name for name in weighty if "shortcut" not in name]


def strided_convolutions(net):
    return [part for part in net.modules() if isinstance(part, nn.Conv2d) and max(part.stride) > 1]


def circular(net):
    """The net with circular padding in place of zeros."""
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            part.padding_mode = "circular"
    return net.eval()


def test_equal_work_of_40_million_multiply_adds_or_less():
    shallow, deep = (multiply_adds(build()) for build in ARMS)
    assert (shallow, deep) == (9_880_192, 10_601_088)  # as the module says
    assert abs(deep / shallow - 1) < 0.1
    assert max(multiply_adds(build(width=30)) for build in ARMS) < 40e6


def test_one_is_shallow_with_poolings_and_the_other_deep_with_strides():
    shallow, deep = vgg_like(), resnet_like()
    assert (len(layers(shallow)), len(layers(deep))) == (7, 20)
    assert not strided_convolutions(shallow)
    assert prod(part.stride for part in shallow.modules() if isinstance(part, nn.MaxPool2d)) == TOTAL_STRIDE
    assert not any(isinstance(part, nn.MaxPool2d | nn.AvgPool2d) for part in deep.modules())
    main = [part.stride[0] for part in strided_convolutions(deep) if part.kernel_size == (3, 3)]
    beside = [part.stride[0] for part in strided_convolutions(deep) if part.kernel_size == (1, 1)]
    assert prod(main) == prod(beside) == TOTAL_STRIDE


@pytest.mark.parametrize("build", ARMS)
def test_moves_by_the_total_stride_change_nothing_and_others_do(build):
    """With circular padding: the answer has the period of the total stride, in both axes, and no smaller one."""
    net = circular(build(width=4)).double()
    views = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        still = net(views)
        for axis in (2, 3):
            torch.testing.assert_close(net(views.roll(TOTAL_STRIDE, axis)), still, rtol=0, atol=1e-12)
            assert (net(views.roll(TOTAL_STRIDE // 2, axis)) - still).abs().max() > 1e-6


@pytest.mark.parametrize("build", ARMS)
def test_sizes_are_arguments(build):
    assert build(width=4, classes=3)(torch.zeros(2, 3, 40, 48)).shape == (2, 3)
    assert multiply_adds(build(width=8)) < multiply_adds(build(width=16))
    deeper = build(width=4, **{"convolutions": 3} if build is vgg_like else {"blocks": 5})
    assert len(layers(deeper)) == (10 if build is vgg_like else 32)


@pytest.mark.parametrize("build", ARMS)
def test_random_weights_are_the_seeds_alone(build):
    state = torch.get_rng_state()
    one, two, other = (build(width=4, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(value.equal(two[name]) for name, value in one.items())
    assert not one["linear.weight"].equal(other["linear.weight"])


@pytest.mark.parametrize("build", ARMS)
def test_opens_by_name_with_weights_from_a_file(build, tmp_path):
    """As the command line does; the answers are those of the net itself, fed as it was in training."""
    net = build(width=4, seed=3).eval()
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    preprocessing = {"view_size": list(cifar10.VIEW_SIZE), **cifar10.PREPROCESSING.to_json()}
    model = open_model(
        f"shiftable.studies.nets:{build.__name__}",
        weights=tmp_path / "net.safetensors",
        model_args={"width": 4},
        preprocessing=preprocessing,
        device="cpu",
    )
    views = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    with torch.inference_mode():
        expected = net(cifar10.normalised(torch.from_numpy(views)))
    assert (model.view_size, model.scores) == ((32, 32), "logits")
    np.testing.assert_allclose(model(views), expected.numpy(), rtol=0, atol=1e-5)


def table(folder, pictures, labels, split="train"):
    rows = {"image": [{"bytes": png(picture), "path": f"{at}.png"} for at, picture in enumerate(pictures)]}
    pq.write_table(pa.table(rows | ({"label": labels} if labels else {})), folder / f"{split}.parquet")


def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_reads_pictures_and_labels_in_the_order_of_the_file(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    table(tmp_path, pictures, [2, 9, 0])
    views, labels = cifar10.read_split(tmp_path, "train")
    assert views.numpy().tolist() == pictures.tolist()
    assert labels.tolist() == [2, 9, 0]


def test_what_is_not_cifar10_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        cifar10.read_split(tmp_path, "test")
    table(tmp_path, [np.zeros((32, 31, 3), np.uint8)], [0])
    with pytest.raises(InputError, match=r"0\.png has 32×31 px"):
        cifar10.read_split(tmp_path, "train")
    table(tmp_path, [np.zeros((32, 32, 3), np.uint8)], None)
    with pytest.raises(InputError, match="no labels"):
        cifar10.read_split(tmp_path, "train")


def test_the_shared_pictures_are_balanced_and_normalised(shared):
    views, labels = cifar10.read_split(shared / "data/cifar10", "test")
    assert labels.bincount().tolist() == [1000] * len(cifar10.CLASSES)
    inputs = cifar10.normalised(views)
    assert inputs.mean((0, 2, 3)).abs().max() < 0.03  # the constants are the training pictures'
    assert (inputs.std((0, 2, 3)) - 1).abs().max() < 0.03
