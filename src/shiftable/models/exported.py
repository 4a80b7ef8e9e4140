"""Models that ``torch.export`` wrote: a graph of operators with its weights, in one ``.pt2`` file."""

import hashlib
import importlib.util

from shiftable.errors import InputError, missing_extra
from shiftable.models.artefacts import Options, existing, prepared_for_file
from shiftable.models.zoos import Origin


def from_exported(path: str, options: Options, pretrained: bool) -> Origin:
    """A program that ``torch.export.save`` wrote, with the size, layout and type of input that it was exported for.

    No code in the file is run: PyTorch's own loader unpickles, so `check_archive` refuses before it what is more than
    tensors and operators.

    Args:
        path: The file. ``NAME.json`` beside it says how photographs become its input.
        options: The user's; no arguments are taken.
        pretrained: False where the user gave other weights; a program has its own.

    Raises:
        InputError: If the file can't be used.
    """
    if options.model_args or not pretrained:
        option = "--model-arg" if options.model_args else "--weights"
        raise InputError(f"{option} is for nets that are built here", where=path, todo="leave it out")
    file = existing(path)
    if importlib.util.find_spec("torch") is None:
        raise missing_extra("torch", "torch")
    from shiftable.models.exported_net import load_exported

    content = file.read_bytes()
    net, view_size, fields = load_exported(content, file)
    size, preprocessing, remarks = prepared_for_file(
        file, view_size, fields, options.preprocessing, any_size=net.any_size
    )
    return Origin(net, size, preprocessing, weights_sha256=hashlib.sha256(content).hexdigest(), remarks=remarks)
