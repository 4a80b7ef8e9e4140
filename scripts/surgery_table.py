"""The table of docs/repair/surgery.md: which sites of well-known nets surgery takes, with random weights.

.venv/bin/python scripts/surgery_table.py            # some minutes
.venv/bin/python scripts/surgery_table.py swin       # those whose name holds it
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from shiftable.models.torchvision_repair import import_torchvision
from shiftable.surgery.calls import run
from shiftable.surgery.editing import Edit, Planned, inspected, operate
from shiftable.surgery.sites import named_sites, travelled

models = import_torchvision().models
import timm  # noqa: E402  # both need the repair above
import transformers  # noqa: E402


def hugging_face(name: str, **settings: Any) -> Callable[[], nn.Module]:
    """A net of random weights."""
    config = getattr(transformers, f"{name}Config")(**settings)
    return partial(getattr(transformers, f"{name}ForImageClassification"), config)


NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    **{
        f"torchvision/{name}": (partial(models.get_model, name, weights=None), 64)
        for name in (
            "resnet18", "squeezenet1_1", "mobilenet_v2", "vgg11_bn", "densenet121", "shufflenet_v2_x0_5",
            "efficientnet_b0", "convnext_tiny", "regnet_y_400mf",
        )
    },
    "torchvision/googlenet": (partial(models.googlenet, weights=None, init_weights=False), 64),
    "torchvision/inception_v3": (partial(models.inception_v3, weights=None, init_weights=False), 128),
    "torchvision/swin_t": (partial(models.swin_t, weights=None), 64),
    "timm/mobilenetv2_100, same": (partial(timm.create_model, "mobilenetv2_100", pad_type="same"), 64),
    **{
        f"timm/{name}": (partial(timm.create_model, name), 64)
        for name in (
            "resnet18", "resnet18d", "resnetv2_50", "resnetv2_50x1_bit", "densenet121", "convnext_atto",
            "tf_efficientnet_b0", "nf_resnet26",
        )
    },
    "timm/inception_resnet_v2": (partial(timm.create_model, "inception_resnet_v2"), 128),
    "timm/swin_tiny_patch4_window7_224": (partial(timm.create_model, "swin_tiny_patch4_window7_224"), 224),
    "timm/vit_tiny_patch16_224": (partial(timm.create_model, "vit_tiny_patch16_224"), 224),
    "hf/ResNet": (hugging_face("ResNet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]), 64),
    "hf/MobileNetV2": (hugging_face("MobileNetV2", depth_multiplier=0.35), 64),
    "hf/ConvNext": (hugging_face("ConvNext", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]), 64),
}  # fmt: skip


def main() -> None:
    """Print it. Every net that was blurred is run, and has to give maps of the sizes that it gave."""
    print("| net | sites | blurred, by | refused | last stage dense |\n|---|---|---|---|---|")
    for name, (make, size) in NETS.items():
        if len(sys.argv) > 1 and sys.argv[1] not in name:
            continue
        torch.manual_seed(0)
        net, picture = make().eval(), torch.randn(1, 3, size, size)
        travel = travelled(net, picture)
        sites = named_sites(net, travel)
        plan = inspected(net, [Edit(site.name) for site in sites], picture)
        blurred = operate(net, [each.edit for each in plan if each.edit and not each.refused], picture)
        before, after = sizes(net, picture), sizes(blurred, picture)
        assert all(after[module] == given for module, given in before.items())
        assert list(blurred.state_dict()) == list(net.state_dict())
        last = travel.crossings[-1]
        beside = [
            Edit(site.name, "dense")
            for site, each in zip(sites, travel.crossings, strict=True)
            if each.before.pitch_px == last.before.pitch_px and each.window.stride == last.window.stride
        ]
        by = Counter(each.becomes for each in plan if not each.refused)
        kinds = ", ".join(f"{number} {kind}" for kind, number in by.items())
        print(f"| {name} | {len(sites)} | {kinds} | {whys(plan)} | {whys(inspected(net, beside, picture), 'yes')} |",
              flush=True)  # fmt: skip


def whys(plan: Sequence[Planned], none: str = "") -> str:
    """What was refused, each reason once, without the advice."""
    return "; ".join(dict.fromkeys(each.refused.partition("; ")[0] for each in plan if each.refused)) or none


def sizes(net: nn.Module, picture: Tensor) -> dict[str, list[torch.Size]]:
    """Of what every module gives."""
    found: dict[str, list[torch.Size]] = {}

    def left(name: str, module: nn.Module, answers: Sequence[Tensor]) -> None:
        found[name] = [each.shape for each in answers]

    run(net, picture, lambda call: call(), left)
    return found


if __name__ == "__main__":
    main()
