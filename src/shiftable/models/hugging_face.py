"""PyTorch nets from Hugging Face, by hub id or local folder."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shiftable.errors import InputError, missing_extra
from shiftable.models.artefacts import Options
from shiftable.models.hugging_face_dense import detections_by, in_proportion, tasks_of
from shiftable.models.preprocessing import Preprocessing, Size, deployed_view
from shiftable.models.protocol import DENSE, Task
from shiftable.models.reasons import reason
from shiftable.models.torchvision_repair import import_torchvision
from shiftable.models.zoos import Origin, other_task, same_random_weights


def from_hugging_face(name: str, options: Options, pretrained: bool) -> Origin:
    """A Hugging Face net by id or local folder, with its image processor's preprocessing.

    An embedder (CLIP, DINOv2, …) answers with its image embeddings, or its pooled features where it has none; a
    detector with the boxes that its image processor makes of its answers; a segmenter with logits, which are enlarged.

    Raises:
        InputError: If it can't be found, or does something else than the task.
    """
    if options.task == "keypoints":
        raise InputError(
            "there are no key points from hf/ yet", where=f"hf/{name}", todo="open it by a package.module:factory"
        )
    if not importlib.util.find_spec("transformers"):
        raise missing_extra("transformers", "hf")
    if importlib.util.find_spec("torchvision"):
        import_torchvision()  # a torchvision that is there but can't be imported breaks every transformers class
    import transformers

    transformers.utils.logging.disable_progress_bar()
    arguments = dict(options.model_args)
    pretrained = arguments.pop("pretrained", pretrained)
    try:
        net, missing = _hugging_face_net(name, arguments, pretrained, options.task)
        # The same name resamples by another library where torchvision is installed; Pillow is everywhere.
        processor = transformers.AutoImageProcessor.from_pretrained(name, backend="pil")
    except InputError:
        raise
    except Exception as error:  # missing folder, no network, a config of another task: many types
        raise InputError(
            f"can't be loaded ({reason(error)})", where=f"hf/{name}", todo="check the id, or give a folder"
        ) from error
    if missing:
        raise InputError(
            f"its weights lack {', '.join(sorted(missing)[:3])}",
            where=f"hf/{name}",
            todo=f"give a trained {TRAINED[options.task]}",
        )
    view_size, preprocessing = _processor_says(processor.to_dict())
    names = net.config.id2label if options.task != "embed" else {}
    class_names = tuple(names.get(index, str(index)) for index in range(max(names, default=-1) + 1)) or None
    if options.task not in DENSE:
        doubt = _processor_doubt(processor, view_size, preprocessing, DOUBTED)
        return Origin(net, view_size, preprocessing, class_names, doubt)
    read = detections_by(processor) if options.task == "detect" else None
    proportion = in_proportion(processor.to_dict(), preprocessing, name)
    remarks: tuple[str, ...] = ()
    shapes: Sequence[tuple[int, int, int]] = DOUBTED
    if proportion:
        view_size, preprocessing, remarks = proportion
        shapes = ((*view_size, 3),)  # only pictures of this size are shown alike
    doubt = _processor_doubt(processor, view_size, preprocessing, shapes)
    return Origin(net, view_size, preprocessing, class_names, doubt, remarks=remarks, read=read)


TRAINED = {"classify": "classifier", "embed": "net", "detect": "detector", "segment": "segmenter"}


def _hugging_face_net(name: str, arguments: Mapping[str, Any], pretrained: bool, task: Task) -> tuple[Any, set[str]]:
    """The net, and the names of weights it should have been given."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name)
    can = tasks_of(config)
    if can and task not in (*can, "embed"):
        raise other_task(task, can, f"hf/{name}")
    kind = _kind(config, task)
    if not pretrained:
        with same_random_weights():
            return (kind.from_config if hasattr(kind, "from_config") else kind)(config, **arguments), set()
    net, loading = kind.from_pretrained(name, output_loading_info=True, **arguments)
    return net, set(loading["missing_keys"])


def _kind(config: Any, task: Task) -> Any:
    """The class of nets that does the task."""
    import transformers

    if task == "classify":
        return transformers.AutoModelForImageClassification
    if task == "detect":
        return transformers.AutoModelForObjectDetection
    if task == "segment":
        return transformers.AutoModelForSemanticSegmentation
    if config.model_type.partition("_")[0] == "clip":  # its whole model wants texts as well
        return transformers.CLIPVisionModelWithProjection
    return transformers.AutoModel


def _processor_says(config: Mapping[str, Any]) -> tuple[Size, Preprocessing]:
    """The view and the preprocessing by an image processor's configuration, to be checked afterwards."""
    by_number = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
    resampler: Any = by_number[config["resample"] if config.get("resample") is not None else 2]
    # to units of 0..1, whatever the processor scales pixels to
    top = 255 * config["rescale_factor"] if config.get("do_rescale") else 255
    top = round(top, 9)
    plain = not config.get("do_normalize")
    mean = (0.0,) if plain else tuple(value / top for value in config["image_mean"])
    std = (1 / top,) if plain else tuple(value / top for value in config["image_std"])
    view_size, resize_px = _processor_sizes(config)
    order: Any = "BGR" if config.get("do_flip_channel_order") else "RGB"
    return view_size, Preprocessing(resize_px, resampler, crop="center-down", mean=mean, std=std, color_order=order)


def _processor_sizes(config: Mapping[str, Any]) -> tuple[Size, int | Size]:
    """(view size, resize) in px; those of ImageNet where they can't be read."""
    size, crop = config.get("size") or {}, config.get("crop_size") or {}
    short: int | None = size.get("shortest_edge")
    whole: Size | None = (size["height"], size["width"]) if size.get("height") else None
    if short and config.get("crop_pct"):  # ConvNeXt's
        return (short, short), (short, short) if short >= 384 else int(short / config["crop_pct"])
    resize_px = short or whole
    if resize_px and crop.get("height") and config.get("do_center_crop"):
        return (crop["height"], crop["width"]), resize_px
    if whole:
        return whole, whole
    return (224, 224), 256


DOUBTED = ((97, 131, 3), (131, 83, 3), (64, 128, 3))
"""Shapes of pictures."""


def _processor_doubt(
    processor: Any, view_size: Size, preprocessing: Preprocessing, shapes: Sequence[tuple[int, int, int]]
) -> str | None:
    """Whether an image processor gives other numbers than the preprocessing read from its configuration."""
    for shape in shapes:
        image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        try:
            theirs = np.asarray(processor(images=image, return_tensors="np")["pixel_values"][0])
        except Exception as error:
            return f"its image processor fails ({reason(error)})"
        ours = deployed_view(image, preprocessing, view_size) / 255
        if preprocessing.color_order == "BGR":
            ours = ours[..., ::-1]
        ours = ((ours - preprocessing.mean) / preprocessing.std).transpose(2, 0, 1)
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-4, atol=1e-4):
            return f"its image processor ({type(processor).__name__}) does something this package does not know"
    return None
