"""What a model is fed is what its own library would feed it, pixel by pixel."""

import json
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shiftable.errors import InputError
from shiftable.models.preprocessing import (
    GREY,
    LETTERBOXES,
    Preprocessing,
    center_place,
    check_fits,
    deployed_view,
    letterbox_place,
    override,
    parse_changes,
    resize,
    resized_size,
)

SIZES = [(375, 500), (301, 230), (97, 131), (64, 48), (99, 211)]
"""(height, width): odd and even, landscape and portrait, larger and smaller than any view."""

sides = st.integers(1, 5000)


def picture(size, seed=0):
    """Noise at several scales, so that a filter or a place that is off by a little shows."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)).resize(size[::-1])
    fine = rng.integers(-60, 61, (*size, 3))
    return np.clip(np.asarray(rough).astype(int) + fine, 0, 255).astype(np.uint8)


def fed(model, image):
    """The numbers that the model's net gets for an image where nothing moves."""
    view = deployed_view(image, model.preprocessing, model.view_size)
    return model.inputs(view[None])[0].numpy()


def optional(name):
    """A package that is not always there, imported as this package imports it."""
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    if find_spec("torchvision"):
        from shiftable.models.torchvision_repair import import_torchvision

        import_torchvision()
    return import_module(name)


def open_small(spec, **model_args):
    """A model with random weights, opened without trying what is faster."""
    pytest.importorskip("torch")
    from shiftable.models import open_model

    return open_model(spec, model_args={"pretrained": False, **model_args}, fast=False, device="cpu")


def assert_feeds_what(theirs, model):
    for size in SIZES:
        image = picture(size)
        np.testing.assert_allclose(fed(model, image), theirs(image), rtol=1e-5, atol=1e-5, err_msg=f"{size}")


TIMM = {
    "its own": {},
    "bicubic": {"interpolation": "bicubic", "crop_pct": 0.95},
    "whole": {"crop_pct": 1.0},
    "odd view": {"input_size": (3, 97, 97), "crop_pct": 0.9},
    "squash": {"crop_mode": "squash", "crop_pct": 1.0},
    "squash and crop": {"crop_mode": "squash", "crop_pct": 0.9, "interpolation": "bilinear"},
    "squash, not square": {"crop_mode": "squash", "crop_pct": 0.9, "input_size": (3, 96, 131)},
    "mean and std": {"mean": (0.5, 0.4, 0.3), "std": (0.1, 0.2, 0.7)},
}


@pytest.mark.parametrize("settings", TIMM.values(), ids=TIMM)
def test_agrees_with_timm(settings):
    timm = optional("timm")
    settings = {"input_size": (3, 96, 96), **settings}
    model = open_small("timm/test_resnet", pretrained_cfg_overlay=settings)
    net = timm.create_model("test_resnet", pretrained_cfg_overlay=settings)
    config = timm.data.resolve_model_data_config(net)
    assert settings.items() <= config.items()
    transform = timm.data.create_transform(**config, is_training=False)
    assert_feeds_what(lambda image: transform(Image.fromarray(image)).numpy(), model)


def test_agrees_with_timm_on_a_real_net():
    timm = optional("timm")
    model = open_small("timm/mobilenetv2_100", pad_type="same")
    config = timm.data.resolve_model_data_config(timm.create_model("mobilenetv2_100"))
    transform = timm.data.create_transform(**config, is_training=False)
    assert_feeds_what(lambda image: transform(Image.fromarray(image)).numpy(), model)


@pytest.mark.parametrize(
    "settings",
    [{"crop_mode": "border"}, {"input_size": (3, 64, 96)}, {"input_size": (3, 96, 96), "crop_pct": 1.15}],
    ids=["border", "not square", "padded"],
)
def test_what_timm_does_otherwise_is_refused_unless_overridden(settings):
    optional("timm")
    from shiftable.models import open_model

    arguments = {"pretrained": False, "pretrained_cfg_overlay": settings}
    with pytest.raises(InputError, match="--preprocessing"):
        open_model("timm/test_resnet", model_args=arguments)
    model = open_model(
        "timm/test_resnet", model_args=arguments, preprocessing={"view_size": 64, "resize_px": 72}, fast=False
    )
    assert (model.view_size, model.preprocessing.resize_px) == ((64, 64), 72)


def test_agrees_with_every_torchvision_classifier(monkeypatch):
    """The nets themselves do not matter and are left out. Nets of the same settings are looked at once."""
    models = optional("torchvision").models
    torch = import_module("torch")
    stub = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    monkeypatch.setattr(models, "get_model", lambda name, weights: stub)
    transforms = {
        name: models.get_model_weights(name).DEFAULT.transforms() for name in models.list_models(module=models)
    }
    some = {repr(transform): (name, transform) for name, transform in transforms.items()}
    assert len(some) > 10
    for name, transform in some.values():
        model = open_small(f"torchvision/{name}")
        image = picture((375, 500) if len(name) % 2 else (431, 230))
        np.testing.assert_allclose(
            fed(model, image), transform(Image.fromarray(image)).numpy(), atol=1e-5, err_msg=name
        )


def test_agrees_with_torchvision_on_a_real_net():
    transform = optional("torchvision").models.get_model_weights("squeezenet1_1").DEFAULT.transforms()
    assert_feeds_what(lambda image: transform(Image.fromarray(image)).numpy(), open_small("torchvision/squeezenet1_1"))


def square(side):
    return {"height": side, "width": side}


PROCESSORS = {
    "ViT": {"size": square(64)},
    "ConvNext": {"size": {"shortest_edge": 64}},
    "ConvNext ": {"size": {"shortest_edge": 384}},
    "Bit": {"size": {"shortest_edge": 79}, "crop_size": square(64)},
    "CLIP": {"size": {"shortest_edge": 64}, "crop_size": square(64)},
    "DeiT": {"size": square(73), "crop_size": square(64)},
    "MobileViT": {"size": {"shortest_edge": 72}, "crop_size": square(64)},  # BGR, not normalised
    "MobileNetV2": {"size": {"shortest_edge": 75}, "crop_size": {"height": 64, "width": 52}},
    "ViT  ": {"size": square(64), "do_rescale": False, "image_mean": [100, 120, 90], "image_std": [50, 60, 70]},
    "ViT   ": {"size": square(64), "rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1], "image_std": [1, 1, 1]},
    "ViT    ": {"size": square(64), "do_normalize": False, "resample": 1},
}


@pytest.fixture
def folder(tmp_path):
    """Saves a tiny ResNet with an image processor, as the hub holds them."""
    transformers = optional("transformers")

    def save(name, **settings):
        config = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], num_labels=3)
        transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
        processor = getattr(transformers, f"{name.strip()}ImageProcessorPil")(**settings)
        processor.save_pretrained(tmp_path)
        return tmp_path, transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")

    return save


@pytest.mark.parametrize(("name", "settings"), PROCESSORS.items(), ids=PROCESSORS)
def test_agrees_with_transformers(name, settings, folder):
    path, processor = folder(name, **settings)
    model = open_small(f"hf/{path}")
    assert_feeds_what(
        lambda image: processor(images=Image.fromarray(image), return_tensors="np")["pixel_values"][0], model
    )


def test_a_processor_that_does_something_else_is_refused_unless_overridden(folder):
    """EfficientNet's normalises twice, LeViT's enlarges: settings of their own."""
    from shiftable.models import open_model

    for name in ("EfficientNet", "Levit"):
        path, _ = folder(name)
        with pytest.raises(InputError, match=f"{name}ImageProcessorPil.*--preprocessing") as caught:
            open_model(f"hf/{path}")
        assert "\n" not in str(caught.value)
        assert open_model(f"hf/{path}", preprocessing={"resize_px": 346}).preprocessing.resize_px == 346


@given(sides, sides, st.integers(1, 600))
def test_the_short_side_becomes_what_is_asked(height, width, resize_px):
    new = resized_size((height, width), resize_px)
    assert min(new) == resize_px
    assert resized_size((width, height), resize_px) == new[::-1]
    assert new == (int(new[0]), int(new[1]))
    exact = resize_px * max(height, width) / min(height, width)
    assert exact - 1 < max(new) <= exact


@given(sides, sides, st.sampled_from(["center", "center-down"]))
def test_the_crop_is_in_the_middle(have, want, crop):
    top, left = center_place((have, want), (min(have, want), 1), crop)
    assert abs(2 * top - (have - min(have, want))) <= 1
    assert abs(2 * left - (want - 1)) <= 1


def test_half_a_pixel_is_rounded_as_the_rule_says():
    assert [center_place((n, n), (1, 1))[0] for n in (2, 4, 6)] == [0, 2, 2]
    assert [center_place((n, n), (1, 1), "center-down")[0] for n in (2, 4, 6)] == [0, 1, 2]


@pytest.mark.parametrize("resampler", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_the_same_size_is_the_same_bytes(resampler):
    image = picture((13, 29))
    assert resize(image, (13, 29), resampler) is image


@pytest.mark.parametrize("size", [(31, 40), (17, 90), (200, 300)])
def test_without_antialias_agrees_with_torch(size):
    """Bilinear, half-pixel centres, rounded to whole grey levels."""
    torch = pytest.importorskip("torch")
    image = picture((64, 97))
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    want = torch.nn.functional.interpolate(tensor, size, mode="bilinear", align_corners=False)
    ours = resize(image, size, "bilinear", antialias=False)
    assert np.abs(ours - want[0].permute(1, 2, 0).numpy()).max() < 0.501


@pytest.mark.parametrize("resampler", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_a_plain_area_stays_as_it_is(resampler, antialias):
    image = np.full((31, 47, 3), (3, 128, 255), np.uint8)
    assert (resize(image, (20, 70), resampler, antialias) == image[0, 0]).all()


def test_antialias_matters_when_an_image_shrinks():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(resize(stripes, (16, 16))[2:-2, 2:-2]) <= 2
    assert resize(stripes, (64, 48), antialias=False).std() > 2 * resize(stripes, (64, 48)).std()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resampler": "bicubicc"}, "did you mean bicubic"),
        ({"resampler": "lanczos", "antialias": False}, "no form without antialias"),
        ({"size": (1000, 10**6)}, "too narrow"),
        ({"size": (0, 5)}, "can't be resized"),
    ],
)
def test_what_resize_can_not_do_is_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        resize(picture((8, 9)), **{"size": (4, 4), **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resampel": "bicubic"}, "did you mean resampler"),
        ({"resampler": "cubic"}, "resampler can't be 'cubic'"),
        ({"resize_px": "wide"}, "resize_px can't be 'wide'"),
        ({"resize_px": 0}, "resize_px can't be 0"),
        ({"resize_px": [256, -1]}, "at least 1 pixel"),
        ({"mean": [1, 2]}, "mean has 2 values; give 1 or 3"),
        ({"std": [0.2, 0, 0.2]}, "above 0"),
        ({"crop": "corner"}, "crop can't be 'corner'"),
        ({"color_order": "GBR"}, "color_order"),
        ({"antialias": "perhaps"}, "antialias"),
        ({"library": "cv2"}, "library can't be 'cv2'"),
    ],
)
def test_changes_are_checked(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        override(Preprocessing(), changes)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--preprocessing: ")


def test_a_recorded_preprocessing_reads_back():
    for original in (Preprocessing(), Preprocessing((64, 96), "lanczos", False, "center-down", (0.5,), (1.0,), "BGR")):
        assert override(Preprocessing(), json.loads(json.dumps(original.to_json()))) == original


def test_changes_from_the_command_line(tmp_path):
    changes = {"resampler": "bicubic", "resize_px": 232, "mean": [0.5, 0.5, 0.5], "antialias": False}
    file = tmp_path / "changes.json"
    file.write_text(json.dumps(changes))
    assert parse_changes(str(file)) == changes
    assert parse_changes("resampler=bicubic; resize_px=232;mean=[0.5,0.5,0.5];antialias=False") == changes


@pytest.mark.parametrize("content", ["no json", "[1, 2]", None])
def test_a_bad_file_of_changes_is_named_in_one_line(content, tmp_path):
    file = tmp_path / "changes.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=r"changes\.json: ") as caught:
        parse_changes(str(file))
    assert "\n" not in str(caught.value)


def test_a_resize_to_less_than_the_view_is_refused():
    check_fits(Preprocessing(224), (224, 224), "m")
    check_fits(Preprocessing((64, 96)), (64, 96), "m")
    for resize_px, view_size in ((223, (224, 224)), ((96, 64), (64, 96))):
        with pytest.raises(InputError, match="less than its view"):
            check_fits(Preprocessing(resize_px), view_size, "m")


@pytest.mark.parametrize("size", [*SIZES, (96, 96)])
@pytest.mark.parametrize("view_size", [(96, 96), (64, 97)])
def test_a_letterbox_shows_the_whole_picture_on_grey(size, view_size):
    image = picture(size)
    for crop in LETTERBOXES:
        view = deployed_view(image, Preprocessing(999, crop=crop), view_size)
        (height, width), (top, left) = letterbox_place(size, view_size, crop)
        inside = np.zeros(view_size, bool)
        inside[top : top + height, left : left + width] = True
        assert view.shape == (*view_size, 3)
        np.testing.assert_array_equal(view[inside].reshape(height, width, 3), resize(image, (height, width)))
        assert (view[~inside] == GREY).all()
        assert height == view_size[0] or width == view_size[1]
        assert abs(height / width - size[0] / size[1]) <= max(size[0] / size[1], 1) / min(height, width)
        free = view_size[0] - height - 2 * top, view_size[1] - width - 2 * left
        assert (top, left) == (0, 0) if crop == "letterbox-corner" else set(free) <= {0, 1}


def test_a_letterbox_leaves_at_least_a_line():
    assert letterbox_place((1, 999), (64, 64)) == ((1, 64), (31, 0))


def test_a_letterbox_has_no_use_for_the_resize():
    check_fits(Preprocessing(3, crop="letterbox"), (224, 224), "m")


@pytest.mark.parametrize("library", ["opencv", "tensor"])
def test_the_library_asked_for_resizes(library):
    pytest.importorskip({"opencv": "cv2", "tensor": "torch"}[library])
    image = picture((375, 500))
    for crop in ("center", "letterbox"):
        views = [
            deployed_view(image, Preprocessing(112, antialias=False, crop=crop, library=name), (96, 96))
            for name in ("pillow", library)
        ]
        assert 0 < np.abs(views[0].astype(int) - views[1]).max() <= 2
    assert override(Preprocessing(), {"library": library}).library == library
