"""Fold batch norms into the convolutions before them: the same answers, faster."""

from collections import Counter

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

CONVS = ("Conv2d", "Conv2dSame")
"""Exact types, timm's among them: other subclasses may derive their weights from those they hold."""


def fold_norms(net: nn.Module, example: Float[Tensor, "batch channel height width"]) -> int:
    """Fold, in place, every batch norm whose input is a convolution's output.

    Which pairs belong together is seen by running the net: the norm must receive the very tensor that the convolution
    returned, unchanged since. That its output is used elsewhere as well can't be seen so; compare answers afterwards.

    Args:
        net: In evaluation mode; it is changed, so hand in a copy.
        example: An input to run.

    Returns:
        The number of norms folded.
    """
    pairs = _conv_norm_pairs(net, example)
    for conv_name, norm_name in pairs:
        conv, norm = net.get_submodule(conv_name), net.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        parent, _, name = norm_name.rpartition(".")
        setattr(net.get_submodule(parent), name, _what_follows(norm))
    return len(pairs)


def _conv_norm_pairs(net: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    convs = {module: name for name, module in net.named_modules() if _takes_a_norm(module)}
    norms = {module: name for name, module in net.named_modules() if _foldable(module)}
    calls: Counter[nn.Module] = Counter()
    # holds the tensors, so that no id is used twice; the version tells a tensor that was changed in place since
    made_by: dict[int, tuple[nn.Module, Tensor, int]] = {}
    pairs: list[tuple[nn.Module, nn.Module]] = []

    def remember(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] += 1
        made_by[id(output)] = (module, output, output._version)

    def match(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[module] += 1
        if inputs and id(inputs[0]) in made_by:
            conv, tensor, version = made_by[id(inputs[0])]
            if tensor._version == version:
                pairs.append((conv, module))

    handles = [conv.register_forward_hook(remember) for conv in convs]
    handles += [norm.register_forward_pre_hook(match) for norm in norms]
    try:
        with torch.no_grad():
            net(example)
    finally:
        for handle in handles:
            handle.remove()
    # a norm under two names would be replaced under one only
    names = Counter(module for _, module in net.named_modules(remove_duplicate=False))
    return [(convs[conv], norms[norm]) for conv, norm in pairs if calls[conv] == calls[norm] == names[norm] == 1]


def _takes_a_norm(module: nn.Module) -> bool:
    # under weight norm or spectral norm, ``weight`` is computed from other parameters at every call
    return type(module).__name__ in CONVS and "weight" in dict(module.named_parameters(recurse=False))


def _foldable(module: nn.Module) -> bool:
    # timm's norm carries its activation along; other subclasses may compute something else
    known = type(module) is nn.BatchNorm2d or type(module).__name__ == "BatchNormAct2d"
    return known and isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and not module.training


def _what_follows(norm: nn.BatchNorm2d) -> nn.Module:
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    return nn.Sequential(norm.drop, norm.act)  # type: ignore[arg-type]  # timm's order
