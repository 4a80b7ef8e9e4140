"""The table of docs/explain/structure.md: where well-known nets subsample. No weights are needed, not even random ones.

.venv/bin/python scripts/structure_table.py
"""

from collections.abc import Callable
from typing import Any

import torch

from shiftable.explaining.structure import structure
from shiftable.models.torchvision_repair import import_torchvision

models = import_torchvision().models
import timm  # noqa: E402  # needs the repair above

NETS: dict[str, tuple[Callable[[], Any], int]] = {
    "VGG16": (lambda: models.vgg16(), 224),
    "ResNet50": (lambda: models.resnet50(), 224),
    "Inception-ResNet-v2": (lambda: timm.create_model("inception_resnet_v2"), 299),
    "SqueezeNet 1.1": (lambda: models.squeezenet1_1(), 224),
    "MobileNetV2, same": (lambda: timm.create_model("mobilenetv2_100", pad_type="same"), 224),
    "DenseNet121": (lambda: models.densenet121(), 224),
    "EfficientNet-B0": (lambda: timm.create_model("efficientnet_b0"), 224),
    "ConvNeXt-T": (lambda: timm.create_model("convnext_tiny"), 224),
    "ViT-Ti/16": (lambda: timm.create_model("vit_tiny_patch16_224"), 224),
    "Swin-T": (lambda: timm.create_model("swin_tiny_patch4_window7_224"), 224),
    "ResNet50, blurred": (lambda: timm.create_model("resnetblur50"), 224),
}


def main() -> None:
    """Print it."""
    columns = (
        *("net", "view, px", "subsamples at", "of layers", "of these pool", "in branches", "layers in all"),
        *("s, px", "s²", "1/s²", "receptive field, px", "no blur"),
    )
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for name, (make, size) in NETS.items():
        with torch.device("meta"):  # shapes alone
            net = make().eval()
        if "blurred" in name:
            net = make().eval()  # to tell a blur, its numbers must be read
        found = structure(net, (size, size), name)
        branches = len(found.sites) - len(found.main_path)
        bare = sum(site.blur is None for site in found.sites)
        print(f"| {name} | {size} | {len(found.main_path)} | {found.layers} | {found.poolings} | {branches} | "
              f"{found.layers_in_all} | {found.stride_px[0]} | {found.copies:,} | {found.guaranteed:.2%} | "
              f"{found.receptive_field_px[0]:,} | {bare} of {len(found.sites)} |")  # fmt: skip
        assert not found.remarks, found.remarks


if __name__ == "__main__":
    main()
