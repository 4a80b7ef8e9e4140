"""All phases of a net's last subsampling averaged by surgery: its last stage dense, for the global pooling to average.

The sampling grid is the same whichever site is made dense, so the last one is the cheapest: only the layers after it
see larger maps (DESIGN section 7). For a net that ends in global pooling and one linear layer it is the mean of the
net's answers to pictures moved by the strides before the site, but for the border: here the maps' border stays where it
is, there another one comes in.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from shiftable.errors import InputError
from shiftable.models import Model

if TYPE_CHECKING:
    from shiftable.surgery.editing import Edit


def with_dense_phases(model: Model) -> Model:
    """The same model, its net's last stage dense: the mean over all phases of its last stride.

    Its net is copied. To average other phases as well, give the result to `with_phase_average`, with the stride that is
    left.

    Args:
        model: A classifier or an embedder that a PyTorch net answers for.

    Raises:
        InputError: If it is no such model, does not subsample, or something after its last subsampling looks at more of
            a map than through a window: then `with_phase_average` does the same by moved views.
    """
    edits = dense_edits(model)
    from shiftable.models.other_net import plain, with_net
    from shiftable.surgery.editing import operate

    given: Any = plain(model)  # type: ignore[arg-type]
    dense: Any = with_net(given, operate(given.net, edits, given.inputs(_grey(model))))
    names = ", ".join(edit.site for edit in edits)
    return replace(dense, remarks=(*dense.remarks, f"its net is dense from {names} on: all phases are averaged"))  # type: ignore[no-any-return]


def dense_edits(model: Model) -> "tuple[Edit, ...]":
    """The edits that make a net's last stage dense: of its last subsampling, in all branches that meet.

    Args:
        model: As for `with_dense_phases`.

    Raises:
        InputError: If it is no PyTorch net, or does not subsample.
    """
    if not hasattr(getattr(model, "exact", None) or model, "net") or model.task not in ("classify", "embed"):
        raise InputError(
            "only PyTorch nets of classifiers and embedders can be made dense",
            where=model.spec,
            todo="average over windows: with_phase_average",
        )
    from shiftable.explaining.structure import structure
    from shiftable.surgery.editing import Edit

    sites = structure(model).sites
    if not sites:
        raise InputError("it does not subsample: there is one phase", where=model.spec, todo="look elsewhere")
    last = sites[-1]
    beside = (site for site in sites if site.stride_before_px == last.stride_before_px and site.stride == last.stride)
    return tuple(Edit(site.name, "dense") for site in beside)


def _grey(model: Model) -> np.ndarray:
    return np.full((1, *model.view_size, 3), 128, np.uint8)
