"""The short Python file that rebuilds a repaired net by the library it is from, and tells how to use it."""

from dataclasses import fields
from importlib.metadata import version
from textwrap import fill
from typing import Any, NamedTuple

from shiftable.models.preprocessing import CropSelection
from shiftable.repairing.plan import Plan, Source

TEMPLATE = '''\
"""{title}

    from model import repaired

    scores = repaired()(images)  # {images}

{told}
"""

from pathlib import Path

{imports}

WEIGHTS = Path(__file__).with_name("model.safetensors")
{edits}

def repaired(weights: str | Path = WEIGHTS) -> nn.Module:
    """The net with its weights, in evaluation mode."""
    net = {build}
{then}
    net.load_state_dict(load_file(weights))
    return net.eval()
'''

WIDTH = 100
"""Of a line, in characters."""


class Building(NamedTuple):
    """How a source's nets are built: the import, the expression, and the package to be installed."""

    imports: str
    build: str
    package: str | None


def rebuilding(plan: Plan, net: Any, shape: tuple[int, ...], dtype: str) -> str:
    """The text of ``model.py``.

    Args:
        plan: What was done; its source says how the net is built.
        net: The net, for its type.
        shape: Of what it is fed for one view.
        dtype: Of that, as PyTorch names it.
    """
    source = plan.source
    assert source is not None, "a plan that is written has a source"
    building = _building(source, net)
    imports = {building.imports, "from safetensors.torch import load_file", "from torch import nn"}
    then = ["net.float().eval()"]
    if source.task == "embed" and hasattr(net, "reset_classifier"):
        then.insert(0, "net.reset_classifier(0)")
    edits = ""
    if plan.edits:
        imports |= {"import torch", "from shiftable.surgery.editing import Edit, operate"}
        edits = "\n".join(["\nEDITS = (", *(f"    {_typed(edit)}," for edit in plan.edits), ")\n"])
        then.append(f"net = operate(net, EDITS, torch.zeros({shape}, dtype=torch.{dtype}))")
    return TEMPLATE.format(
        title=f"{source.spec}, repaired by shiftable {version('shiftable')}.",
        images=f"images: {dtype}, (batch, {', '.join(map(str, shape[1:]))})",
        told="\n\n".join(fill(each, WIDTH, break_long_words=False) for each in _told(plan, source, building.package)),
        imports="\n".join(sorted(imports, key=lambda line: (line.startswith("from "), line))),
        edits=edits,
        build=building.build,
        then="\n".join(f"    {line}" for line in then),
    )


def _building(source: Source, net: Any) -> Building:
    more = "".join(f", {name}={value!r}" for name, value in source.model_args.items())
    if source.spec == "demo":
        return Building("from shiftable.models.demo import demo_net", f"demo_net(pretrained=False{more})", None)
    kind, _, name = source.spec.partition("/")
    if kind == "timm":
        return Building("import timm", f"timm.create_model({name!r}, pretrained=False{more})", "timm")
    if kind == "torchvision":
        backbone = "" if source.task in ("classify", "embed") else ", weights_backbone=None"
        build = f"torchvision.models.get_model({name!r}, weights=None{backbone}{more})"
        return Building("import torchvision", build, "torchvision")
    if kind == "hf":
        config = f"transformers.AutoConfig.from_pretrained({name!r})"
        return Building("import transformers", f"transformers.{type(net).__name__}({config}{more})", "transformers")
    module, _, function = source.spec.partition(":")
    return Building(
        f"from {module} import {function}", f"{function}({more.removeprefix(', ')})", module.partition(".")[0]
    )


def _told(plan: Plan, source: Source, package: str | None) -> list[str]:
    """What a reader must know, a paragraph each."""
    how = source.preprocessing
    count = {0: "Its net is as it was", 1: "One edit was made"}.get(
        len(plan.edits), f"{len(plan.edits)} edits were made"
    )
    tuned = ", and it was tuned without labels" if plan.finetune else ""
    cut = "chosen" if isinstance(how.crop, CropSelection) else how.crop
    numbers = f"pixels / 255, less {how.mean}, over {how.std}" if how.dtype == "float32" else "pixels as they are"
    size = f"{source.view_size[0]}×{source.view_size[1]} px"
    told = [
        f"{count}{tuned}. Needs torch, safetensors, shiftable{f', {package}' if package else ''}. All of it in one is "
        'shiftable.open_model("FOLDER").',
        f"Images: resized to {how.resize_px} px ({how.resampler}, {'' if how.antialias else 'not '}antialiased, as "
        f"{how.library} does), crop: {cut}, {size}; {how.color_order}; {numbers}.",
    ]
    if plan.crop:
        told.append(
            "In place of that resize and crop: crop.json, which shiftable.repairing.read_crop makes a transform of, as "
            "does examples/stable_crop.py without any library."
        )
    if plan.phases:
        told.append(
            f"The answer to a picture is the mean of those to {len(plan.phases.offsets_px)} windows of it (phases in "
            "plan.json): this net gives them one by one."
        )
    return told


def _typed(edit: Any) -> str:
    """An edit as it is typed: what is usual is left out."""
    site, *others = fields(edit)
    said = [f"{each.name}={getattr(edit, each.name)!r}" for each in others if getattr(edit, each.name) != each.default]
    return f"Edit({', '.join([repr(getattr(edit, site.name)), *said])})"
