"""Where PyTorch nets come from: this package, timm, torchvision, or a function of the user's own."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiftable.errors import InputError, missing_extra, unknown
from shiftable.models.artefacts import WHOLE, Options, assumed
from shiftable.models.importing import named_function
from shiftable.models.preprocessing import Preprocessing, Size, for_view
from shiftable.models.protocol import DENSE, Model, Task
from shiftable.models.reasons import reason
from shiftable.models.torchvision_dense import dense_names, resizes_inside, shown_to
from shiftable.models.torchvision_repair import import_torchvision

if TYPE_CHECKING:
    from torch import nn

    from shiftable.models.reading import Reader

NO_WEIGHTS = "give --weights FILE, or --model-arg pretrained=false for random weights"
CHECK_ARGUMENTS = "check --model-arg"

CLASSIFIERS: tuple[Task, ...] = ("classify", "embed")


@dataclass(frozen=True)
class Origin:
    """A net as its source gives it, with what the source knows about its input and its classes.

    Args:
        net: The net.
        view_size: (height, width) in px of what it is shown.
        preprocessing: How a photograph becomes its input.
        class_names: A name per class.
        doubt: What its source does to a photograph that ``preprocessing`` can't say; None where it says it all.
        weights_sha256: The fingerprint of the file it was read from; None takes that of its weights.
        remarks: What was assumed about ``preprocessing``, a sentence each.
        tasks: What it can do; None where that is not known.
        read: For a net that says where something is: finds its answers in what it returns. None goes by their form.
    """

    net: "nn.Module"
    view_size: Size
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None = None
    doubt: str | None = None
    weights_sha256: str | None = None
    remarks: tuple[str, ...] = ()
    tasks: tuple[Task, ...] | None = None
    read: "Reader | None" = None


def from_demo(name: str, options: Options, pretrained: bool) -> Origin:
    """The small net that comes with the package, for the world of `shiftable.data.shapes`."""
    from shiftable.models import demo

    net = _build(lambda name, **more: demo.demo_net(**more), name, options.model_args, pretrained)
    return Origin(net, demo.VIEW_SIZE, demo.PREPROCESSING, demo.class_names(), tasks=CLASSIFIERS)


def from_timm(name: str, options: Options, pretrained: bool) -> Origin:
    """A timm classifier, with the preprocessing of its own configuration.

    Raises:
        InputError: For a name that timm does not know, arguments it does not take, weights that can't be had.
    """
    if not (importlib.util.find_spec("timm") and importlib.util.find_spec("torchvision")):
        raise missing_extra("timm", "timm")
    import_torchvision()  # timm can't be imported where torchvision can't
    import timm

    elsewhere = name.startswith(("hf-hub:", "hf_hub:", "local-dir:"))
    if not elsewhere and name.partition(".")[0] not in timm.list_models():
        raise unknown("model", name, timm.list_models())
    net = _build(timm.create_model, name, options.model_args, pretrained)
    config = timm.data.resolve_model_data_config(net)
    view_size, resize_px = config["input_size"][1:], _timm_resize(config)
    preprocessing = Preprocessing(resize_px, config["interpolation"], mean=config["mean"], std=config["std"])
    names, doubt = _timm_class_names(net), _timm_doubt(config)
    return Origin(net, view_size, preprocessing, names, doubt, tasks=CLASSIFIERS)


def _timm_resize(config: Mapping[str, Any]) -> int | Size:
    height, width = (int(side / config["crop_pct"]) for side in config["input_size"][1:])
    return (height, width) if config["crop_mode"] == "squash" else min(height, width)


def _timm_doubt(config: Mapping[str, Any]) -> str | None:
    if config["crop_mode"] == "border":
        return "timm shows it whole images with a border"
    height, width = config["input_size"][1:]
    if config["crop_mode"] == "center" and height != width:
        return f"timm scales images until they cover its view of {height}×{width} px"
    return None


def _timm_class_names(net: "nn.Module") -> tuple[str, ...] | None:
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(net)
    if not subset:
        return None
    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(info.num_classes()))


def from_torchvision(name: str, options: Options, pretrained: bool) -> Origin:
    """A torchvision net (classifier, detector, segmenter, key points), with the preprocessing of its default weights.

    Raises:
        InputError: As `from_timm`.
    """
    models = import_torchvision().models
    tasks = {**dict.fromkeys(models.list_models(module=models), CLASSIFIERS), **dense_names(models)}
    if name not in tasks:
        raise unknown("model", name, tasks)
    if options.task not in tasks[name]:
        raise other_task(options.task, tasks[name], f"torchvision/{name}")
    weights = models.get_model_weights(name).DEFAULT

    def build(name: str, pretrained: bool, **more: Any) -> "nn.Module":
        if tasks[name] != CLASSIFIERS:  # what it is built on has pretrained weights of its own
            more = {"weights_backbone": None, **more}
        return models.get_model(name, weights=weights if pretrained else None, **more)  # type: ignore[no-any-return]

    net = _build(build, name, options.model_args, pretrained)
    categories = tuple(weights.meta["categories"])
    if tasks[name] != CLASSIFIERS:
        view_size, preprocessing, remarks = shown_to(name, net, weights)
        return Origin(net, view_size, preprocessing, categories, remarks=remarks, tasks=tasks[name])
    shown = weights.transforms()
    (crop_px,), (resize_px,) = shown.crop_size, shown.resize_size
    preprocessing = Preprocessing(resize_px, shown.interpolation.value, mean=tuple(shown.mean), std=tuple(shown.std))
    return Origin(net, (crop_px, crop_px), preprocessing, categories, tasks=CLASSIFIERS)


DOES: Mapping[Task, str] = {
    "classify": "classifies pictures",
    "embed": "embeds pictures",
    "detect": "detects objects",
    "segment": "segments pictures",
    "keypoints": "finds key points",
}


def other_task(asked: Task, can: tuple[Task, ...], spec: object) -> InputError:
    """The error for a net that does something else than what it is asked for."""
    todo = f"say --task {' or '.join(each for each in can if each != 'embed')}"
    if "classify" not in can:
        todo += " (shiftable trace takes classifiers only)"
    return InputError(f"it {DOES[can[0]]}, and the task is {asked}", where=spec, todo=todo)


def from_factory(name: str, options: Options, pretrained: bool) -> object:
    """What ``package.module:factory`` returns: a net, or a ready model. The working folder is searched first.

    Raises:
        InputError: If the module or the function is not there, or does not take the arguments.
    """
    factory = named_function(name)
    built = _build(lambda _, **more: factory(**more), name, options.model_args, None)
    if not hasattr(built, "named_modules") and not isinstance(built, Model):
        raise InputError(
            f"returned a {type(built).__name__}", where=name, todo="return a PyTorch net or a shiftable.models.Model"
        )
    return built


def as_origin(net: "nn.Module", task: Task = "classify", view_size: Size = (224, 224)) -> Origin:
    """A net that says nothing about its input: the usual ImageNet preprocessing, or whole pictures in a letterbox.

    Of torchvision's detectors their own transform tells.
    """
    if task not in DENSE:
        return Origin(net, view_size, for_view(view_size))
    name = type(net).__name__
    if resizes_inside(net):
        size, preprocessing, remarks = shown_to(name, net, None)
        return Origin(net, size, preprocessing, remarks=remarks)
    preprocessing = for_view(view_size, **WHOLE[task])
    remark = (
        f"nothing says how {name} is fed: views of {view_size[0]}×{view_size[1]} px, {assumed(preprocessing)} were "
        "assumed; say otherwise by --preprocessing"
    )
    return Origin(net, view_size, preprocessing, remarks=(remark,))


def without_head(net: "nn.Module") -> "nn.Module":
    """What of a net comes before its classifier, a copy, where that can be told (timm's); else the net itself."""
    if not hasattr(net, "reset_classifier"):
        return net
    copy = deepcopy(net)
    copy.reset_classifier(0)  # type: ignore[operator]
    return copy


def _build(build: Any, name: str, arguments: Mapping[str, Any], pretrained: bool | None) -> Any:
    arguments = dict(arguments)
    if pretrained is None:  # a user's own function, with its own randomness
        return _built(build, name, arguments)
    arguments.setdefault("pretrained", pretrained)
    with same_random_weights():
        return _built(build, name, arguments)


def _built(build: Any, name: str, arguments: dict[str, Any]) -> Any:
    try:
        return build(name, **arguments)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"can't be built ({reason(error)})", where=name, todo=CHECK_ARGUMENTS) from error
    except (Exception, SystemExit) as error:  # the user's code, or a whole library
        if not arguments.get("pretrained"):
            raise InputError(
                f"can't be built ({type(error).__name__}: {reason(error)})",
                where=name,
                todo="call it in Python alone to see more",
            ) from error
        raise InputError(
            f"its pretrained weights can't be loaded ({reason(error)})", where=name, todo=NO_WEIGHTS
        ) from error


@contextmanager
def same_random_weights() -> Iterator[None]:
    """Random weights are the same every time, so that an audit of them can be resumed; the caller's seed stays."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield
