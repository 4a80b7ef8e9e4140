"""The ways in which a photograph may reach the same model: what differs between training, export and deployment."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

from shiftable.auditing.asking import count_outputs
from shiftable.errors import InputError
from shiftable.models import Model, Preprocessing, open_model
from shiftable.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, LETTERBOXES, Size

Changes = Callable[[Preprocessing, Size], Mapping[str, Any] | None]
"""From a model's own preprocessing and its view to the fields that are otherwise; None where that makes no sense."""


NOTHING_SAYS = "nothing says how"
"""How the remark begins that tells how a file was assumed to be fed."""


@dataclass(frozen=True)
class Variant:
    """One thing done otherwise before the model.

    Args:
        title: As in a table.
        cause: What is wrong with a model that is found to be fed so, a main clause.
        phrase: How such a model answers: "as MODEL would …".
        part: What it is about: ``"resize"`` or ``"crop"`` (how the pixels get there), ``"numbers"`` (what they become).
        changes: The fields of the preprocessing that are otherwise.
        beside: The variant that it is compared with; None compares with the model's own preprocessing.
        needs: A package that must be installed.
    """

    title: str
    cause: str
    phrase: str
    part: Literal["resize", "crop", "numbers"]
    changes: Changes
    beside: str | None = None
    needs: str | None = None


def _filtered(**fields: Any) -> Changes:
    """Changes with a resampler that comes both antialiased and not; of a nearest neighbour there are no two forms."""

    def changes(base: Preprocessing, view_size: Size) -> Mapping[str, Any] | None:
        if base.resampler == "nearest":
            return None
        return {"resampler": base.resampler if base.resampler == "bicubic" else "bilinear", **fields}

    return changes


def _fields(**fields: Any) -> Changes:
    return lambda base, view_size: fields


def _numbers(**fields: Any) -> Changes:
    """8-bit models bring their own scale: for them there is nothing to get wrong."""
    return lambda base, view_size: fields if base.dtype == "float32" else None


def _cropped(rule: str) -> Changes:
    return lambda base, view_size: None if base.crop in LETTERBOXES else {"crop": rule}


def _resized(side: Callable[[Size], int | Size]) -> Changes:
    return lambda base, view_size: {
        "resize_px": side(view_size),
        "crop": "center" if base.crop in LETTERBOXES else base.crop,
    }


VARIANTS: Mapping[str, Variant] = {
    "without-antialias": Variant(
        "Pillow without antialias", "its resize has lost the antialias", "without the antialias of its resize",
        "resize", _filtered(library="pillow", antialias=False),
    ),
    "with-antialias": Variant(
        "Pillow with antialias", "its resize is antialiased", "with an antialiased resize",
        "resize", _filtered(library="pillow", antialias=True),
    ),
    "opencv-linear": Variant(
        "OpenCV, linear", "its images are resized by OpenCV (INTER_LINEAR), without antialias",
        "with OpenCV's linear resize", "resize",
        _fields(library="opencv", resampler="bilinear", antialias=False), needs="cv2",
    ),
    "opencv-area": Variant(
        "OpenCV, area", "its images are resized by OpenCV's averages of areas (INTER_AREA)",
        "with OpenCV's area resize", "resize",
        _fields(library="opencv", resampler="bilinear", antialias=True), needs="cv2",
    ),
    "tensor": Variant(
        "Tensor, antialiased", "its images are resized as tensors, antialiased", "with an antialiased tensor resize",
        "resize", _filtered(library="tensor", antialias=True), needs="torch",
    ),
    "tensor-aliased": Variant(
        "Tensor without antialias", "its images are resized as tensors, without antialias",
        "with a tensor resize without antialias", "resize", _filtered(library="tensor", antialias=False), needs="torch",
    ),
    "bilinear": Variant(
        "Bilinear", "its images are resized by the bilinear filter", "with the bilinear filter",
        "resize", _fields(resampler="bilinear"),
    ),
    "bicubic": Variant(
        "Bicubic", "its images are resized by the bicubic filter", "with the bicubic filter",
        "resize", _fields(resampler="bicubic"),
    ),
    "crop-down": Variant(
        "Crop half a pixel rounded down", "its crop rounds half a pixel down", "with its crop rounded down",
        "crop", _cropped("center-down"),
    ),
    "crop-even": Variant(
        "Crop half a pixel rounded to even", "its crop rounds half a pixel to even", "with its crop rounded to even",
        "crop", _cropped("center"),
    ),
    "no-margin": Variant(
        "No crop margin (short side = view)", "its images are resized to its view, so that no margin is cut off",
        "without a crop margin", "crop", _resized(max),
    ),
    "squashed": Variant(
        "Squashed to the view", "its images are squashed to its view, whatever their proportions",
        "with its images squashed", "crop", _resized(lambda view_size: view_size),
    ),
    "letterbox": Variant(
        "Letterbox", "its images come whole, in a grey letterbox", "with a letterbox",
        "crop", _fields(crop="letterbox"),
    ),
    "letterbox-corner": Variant(
        "Letterbox, in the corner", "its images come whole, in the corner of a grey letterbox",
        "with a letterbox in the corner", "crop", _fields(crop="letterbox-corner"), beside="letterbox",
    ),
    "bgr": Variant(
        "BGR", "its colours come in the order BGR", "with its colours in the order BGR",
        "numbers", _fields(color_order="BGR"),
    ),
    "rgb": Variant(
        "RGB", "its colours come in the order RGB", "with its colours in the order RGB",
        "numbers", _fields(color_order="RGB"),
    ),
    "imagenet": Variant(
        "ImageNet's mean and std", "its pixels are normalised by ImageNet's mean and std",
        "with ImageNet's mean and std", "numbers", _numbers(mean=IMAGENET_MEAN, std=IMAGENET_STD),
    ),
    "half": Variant(
        "Mean 0.5, std 0.5", "its pixels are normalised by mean 0.5 and std 0.5 (−1 to 1)",
        "with mean 0.5 and std 0.5", "numbers", _numbers(mean=(0.5,) * 3, std=(0.5,) * 3),
    ),
    "unit": Variant(
        "0 to 1, not normalised", "its pixels are not normalised (0 to 1)", "with pixels of 0 to 1, not normalised",
        "numbers", _numbers(mean=(0.0,) * 3, std=(1.0,) * 3),
    ),
    "bytes": Variant(
        "0 to 255, not scaled", "its pixels are neither scaled nor normalised (0 to 255)",
        "with pixels of 0 to 255", "numbers", _numbers(mean=(0.0,) * 3, std=(1 / 255,) * 3),
    ),
}  # fmt: skip
"""Name → variant, the plainest cause first: of causes that can't be told apart, the first is named."""


def variants_of(
    base: Preprocessing, view_size: Size, *, as_pixels: bool = False
) -> tuple[dict[str, Preprocessing], list[str]]:
    """The variants that are something else than a model's own preprocessing.

    Args:
        base: The model's own.
        view_size: (height, width) in px, the model's.
        as_pixels: Whether the model is shown views as they are, so that nothing is to be said of its numbers.

    Returns:
        Name → preprocessing; and what was left out for want of a package, or because the model is not fed numbers, a
        sentence each.

    Example:
        >>> list(variants_of(Preprocessing(dtype="uint8"), (224, 224))[0])[-2:]
        ['letterbox-corner', 'bgr']
    """
    found: dict[str, Preprocessing] = {}
    remarks = []
    for name, variant in VARIANTS.items():
        changes = variant.changes(base, view_size)
        if changes is None or (as_pixels and variant.part == "numbers"):
            continue
        other = replace(base, **changes)
        if _plain(other) in map(_plain, (base, *found.values())):
            continue
        if variant.needs and find_spec(variant.needs) is None:
            remarks.append(f"{variant.title} was left out: {variant.needs} is not installed")
        else:
            found[name] = other
    if as_pixels:
        remarks.append("what the pixels become was left out: the model is sent RGB pixels, and makes numbers of them")
    return found, remarks


def fed(model: Model, preprocessing: Preprocessing) -> Model:
    """The same model, fed otherwise.

    Raises:
        InputError: If it is no dataclass, as this package's adapters are.
    """
    if not is_dataclass(model) or isinstance(model, type):
        raise InputError(
            f"a {type(model).__name__} can't be fed otherwise", where=model.spec, todo="make it a dataclass"
        )
    return replace(model, preprocessing=preprocessing)


def open_against(
    specs: Sequence[str], reference: Model, *, device: str | None = None, threads: int | None = None
) -> list[Model]:
    """Other files of a model, ready to be compared with it.

    One that gives a score more than the reference is taken to have a background class first, which is left out; one
    that says nothing of how it is fed is fed like the reference, and shown its views, if it takes them.

    Args:
        specs: Names for `open_model`.
        reference: The model that they should be.
        device: As for `open_model`; not for servers, nor for TFLite files, which run on a CPU.
        threads: As for `open_model`; not for servers.

    Raises:
        InputError: If one can't be opened.
    """
    outputs = count_outputs(reference) if specs else 0
    return [_open_like(spec, reference, outputs, device, threads) for spec in specs]


def _open_like(spec: str, reference: Model, outputs: int, device: str | None, threads: int | None) -> Model:
    """One of them. ``outputs``: the reference's."""
    server = "://" in spec
    opened = partial(
        open_model,
        spec,
        device=None if server or spec.endswith(".tflite") else device,
        threads=None if server else threads,
    )
    silent = Path(spec).is_file() and not Path(spec).with_suffix(".json").is_file()
    model = None
    if silent:  # a graph that takes any size does not say which it is to be shown
        with suppress(InputError):
            opened = partial(opened, preprocessing={"view_size": list(reference.view_size)})
            model = opened()
    if model is None:
        opened = partial(opened, preprocessing=None)
        model = opened()
    background = count_outputs(model) == outputs + 1
    model = opened(class_offset=1) if background else model
    model = fed_like(model, reference) if silent else model
    if background:
        said = f"{spec} gives a score more than {reference.spec}: its first was taken for a background class"
        model = _remarked(model, f"{said}, and left out")
    return model


def fed_like(model: Model, reference: Model) -> Model:
    """A model that says nothing of how it is fed, fed as the reference is; what its runtime wants stays its own.

    Args:
        model: Another file of the reference, opened without anything that says how photographs become its input.
        reference: The reference. Where its view has another size, the resize stays the model's own, too.
    """
    own, theirs = model.preprocessing, reference.preprocessing
    kept: dict[str, Any] = {"layout": own.layout, "dtype": own.dtype}
    if {own.dtype, theirs.dtype} != {"float32"}:
        kept |= {"mean": own.mean, "std": own.std}
    if tuple(model.view_size) != tuple(reference.view_size):
        kept["resize_px"] = own.resize_px
    like: Any = fed(model, replace(theirs, **kept))
    if hasattr(like, "remarks"):
        like = replace(like, remarks=tuple(each for each in like.remarks if not each.startswith(NOTHING_SAYS)))
    return _remarked(like, f"{NOTHING_SAYS} {model.spec} is fed: it is fed as {reference.spec}")


def _remarked(model: Model, said: str) -> Model:
    """The model with one more remark, first, if it has any at all."""
    changed: Any = model
    return cast(Model, replace(changed, remarks=(said, *changed.remarks)) if hasattr(model, "remarks") else model)


def declared(base: Preprocessing, other: Preprocessing) -> dict[str, Any]:
    """The fields in which two models say that they are fed otherwise, with the second one's values.

    Layout and dtype are how a runtime wants the same picture; of an 8-bit model, so are mean and std.
    """
    idle = {"layout", "dtype"}
    if {base.dtype, other.dtype} != {"float32"}:
        idle |= {"mean", "std"}
    ours, theirs = _plain(base), _plain(other)
    return {name: theirs[name] for name in theirs if name not in idle and theirs[name] not in (None, ours[name])}


def _plain(fields: Preprocessing) -> dict[str, Any]:
    """The fields, written in one way only."""
    plain = fields.to_json()
    for name in ("mean", "std"):
        values = plain[name]
        plain[name] = values * 3 if len(values) == 1 else values
    if fields.crop in LETTERBOXES:
        plain["resize_px"] = None
    return plain
