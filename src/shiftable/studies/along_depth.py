"""Along the depth of nets: are responses shiftable, and do features or only pooled summaries hold still?"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from shiftable.auditing.intervals import Estimate
from shiftable.data.images import list_samples
from shiftable.errors import InputError
from shiftable.explaining import explain
from shiftable.models import Model, open_model
from shiftable.studies.cifar10 import PREPROCESSING, VIEW_SIZE
from shiftable.studies.filters import kept_as
from shiftable.studies.nets import resnet_like, vgg_like
from shiftable.studies.rows import differ, estimate, grouped, said, those
from shiftable.studies.study import Arm, Figure, Lines, Row, Setting, Study, Table, Told
from shiftable.studies.subjects import PHOTOGRAPHS, audited, measured, open_subject
from shiftable.studies.trained import trained

OWN: Mapping[str, Callable[..., nn.Module]] = {"vgg_like": vgg_like, "resnet_like": resnet_like}
"""Shallow with poolings, and deep with strides, all else alike."""
KEPT_AS = {"vgg_like": kept_as("max"), "resnet_like": "resnet_like"}
SHARED = ("squeezenet1_1", "mobilenetv2")


def _arms(setting: Setting) -> Sequence[Arm]:
    seeds = range(setting.pick(1, 3, 5))
    own: list[Arm] = [{"net": net, "seed": seed} for seed in seeds for net in OWN]
    return own + [{"net": net, "seed": None} for net in setting.pick((), SHARED)]


def _measure(arm: Arm, setting: Setting) -> Iterable[Row]:
    name = str(arm["net"])
    model, images = _opened(name, arm["seed"], setting)
    found = explain(model, images, count=setting.pick(2, 24), steps=setting.pick(3, 17 if name in OWN else 33),
                    dense=0, seed=setting.seed)  # fmt: skip
    for each in found.responses:
        yield {
            "what": "layer",
            "name": each.layer,
            "depth": each.depth,
            "stride": each.stride_px[0],
            "sharpness": each.sharpness.value,
            **{
                f"{name}_{kind}": getattr(each, name)[kind].value
                for name in ("sums_vary", "equivariance_error", "map_change", "pooled_change")
                for kind in ("circular", "real")
                if kind in getattr(each, name)
            },
        }
    for site in found.spectra:
        yield {"what": "site", "name": site.site, "stride": site.stride[0], "aliased": site.aliased.value}


def _opened(name: str, seed: Any, setting: Setting) -> tuple[Model, Any]:
    """A model, and what it is shown."""
    if name not in OWN:
        return open_subject(name, setting), str(setting.find(*PHOTOGRAPHS))
    net = trained(partial(OWN[name], seed=int(seed)), KEPT_AS[name], setting, int(seed))
    fields = {key: value for key, value in PREPROCESSING.to_json().items() if value is not None}
    model = open_model(net, preprocessing={"view_size": list(VIEW_SIZE), **fields})
    return model, list_samples(setting.find("data", "cifar10", "test.parquet"))[:200]


def _tell(rows: Sequence[Row]) -> Told:
    layers, sites = those(rows, {"what": "layer"}), those(rows, {"what": "site"})
    nets = [str(key[0]) for key in grouped(rows, "net")]
    means = [_by_seed(layers, "sums_vary_circular"), _by_seed(sites, "aliased"), _by_seed(layers, "sharpness")]
    told = [
        "; ".join(f"{net} {said(estimate(those(mean, {'net': net}), name))}" for net in nets)
        for mean, name in zip(means, ("sums_vary_circular", "aliased", "sharpness"), strict=True)
    ]
    own = [those(means[0], {"net": net}) for net in OWN]
    told_apart = differ(own[0], own[1], "sums_vary_circular")
    axis = "depth, 0 to 1"
    return Told(
        f"Under circular shifts, where sampling alone counts, global sums vary by {told[0]} of themselves, mean over "
        "layers"
        + ("." if told_apart else "; by their seeds the first two can't be told apart."),
        (
            f"Power beyond what a site's stride can carry, mean over sites: {told[1]}. A site whose share is 0 "
            "keeps Nyquist's limit.",
            f"Sharpness (spectral centroid, cycles per position), mean over layers: {told[2]}.",
        ),
        (
            Figure("depth", "Layer by layer", (
                Lines("Global sums vary (circular)", "depth", "sums_vary_circular", "net", {"what": "layer"}, axis,
                      "coefficient of variation"),
                Lines("Global sums vary (real shifts)", "depth", "sums_vary_real", "net", {"what": "layer"}, axis,
                      "coefficient of variation"),
                Lines("Maps do not move along (circular)", "depth", "equivariance_error_circular", "net",
                      {"what": "layer"}, axis, "equivariance error"),
                Lines("Sharpness", "depth", "sharpness", "net", {"what": "layer"}, axis, "cycles per position"),
            )),
        ),
        (Table("Sites", ("net", "name", "stride"), {"aliased": "aliased"}, {"what": "site"}, ("aliased",)),),
    )  # fmt: skip


def _by_seed(rows: Sequence[Row], name: str) -> list[Row]:
    """One number per net and seed: the mean over its layers."""
    return [
        {"net": net, "seed": seed, name: estimate(same, name).value}
        for (net, seed), same in grouped(rows, "net", "seed").items()
    ]


SHIFTABILITY = Study(
    "shiftability",
    "Are responses shiftable?",
    "Do real responses hold only what their sampling can carry, and do their global sums hold still?",
    (
        "Two small nets, shallow with poolings and deep with strides, all else alike, are trained on CIFAR-10; beside "
        "them the shared nets on photographs. shiftable explain follows their maps while the picture moves, in a "
        "circle (sampling alone) and really (with the border), and takes the spectra of what comes before each stride.",
    ),
    "Azulay & Weiss 2019, figures 6 and 7: layer by layer VGG16's responses get blurrier and their global sums vary "
    "less than those of the ResNets, which subsample by strides.",
    _arms,
    _measure,
    _tell,
    ("Small nets at 32 px: the last maps have 4 × 4 positions.",),
)


DETECTOR = "fastestdet"
ERRORS = {
    "vanished": "Gone at the next px",
    "dropped": "Gone, or below a score of 0.5",
    "confidence_change": "Change of the score",
    "centre_error_px": "Error of the centre, px",
    "size_error_px": "Error of the size, px",
}
"""Of a detector's boxes, one px on: metric → heading."""


def _detection_arms(setting: Setting) -> Sequence[Arm]:
    return [{"net": net} for net in (*setting.pick(SHARED[:1], SHARED), DETECTOR)]


def _boxes(setting: Setting) -> Row:
    """How a detector's boxes follow what they enclose, when the camera moves by one px of the photograph."""
    decoder = Path(__file__).parents[3] / "examples" / "fastestdet.py"
    if not decoder.is_file():
        raise InputError("is not there", where=decoder, todo="run this study in a clone of the repository")
    preprocessing = {"resize_px": [352, 352], "resampler": "box", "mean": [0], "std": [1], "color_order": "BGR"}
    names = setting.find("models", "coco_labels.txt").read_text("utf-8").splitlines()
    model = open_model(
        str(setting.find("models", "fastestdet_coco.onnx")), task="detect", decoder=f"{decoder}:decode",
        class_names=names, preprocessing=preprocessing,
    )  # fmt: skip
    found = audited(model, DETECTOR, setting, count=setting.pick(2, 100), motion="camera", walk="sweep",
                    direction="horizontal", steps=setting.pick(3, 17), labels=None)  # fmt: skip
    return measured(found, *ERRORS)


def _detection(arm: Arm, setting: Setting) -> Iterable[Row]:
    if arm["net"] == DETECTOR:
        yield _boxes(setting)
        return
    model = open_subject(str(arm["net"]), setting)
    found = explain(model, str(setting.find("data", "kangaroo")), count=setting.pick(2, 32),
                    steps=setting.pick(3, 33), dense=0, seed=setting.seed)  # fmt: skip
    for each in found.responses:
        yield {
            "name": each.layer,
            "depth": each.depth,
            "stride": each.stride_px[0],
            "map_change": each.map_change["real"].value,
            "map_change_low": each.map_change["real"].low,
            "map_change_high": each.map_change["real"].high,
            "pooled_change": each.pooled_change["real"].value,
            "pooled_change_low": each.pooled_change["real"].low,
            "pooled_change_high": each.pooled_change["real"].high,
        }


_IN_PX = ("centre_error_px", "size_error_px")


def _detection_told(rows: Sequence[Row]) -> Told:
    layers, boxes = ([row for row in rows if (row["net"] == DETECTOR) == boxed] for boxed in (False, True))
    findings: list[str] = []
    trends: dict[str, list[str]] = {"map_change": [], "pooled_change": []}
    ends: dict[str, list[tuple[Estimate, Estimate]]] = {name: [] for name in trends}
    for (net,), same in grouped(layers, "net").items():
        ordered = sorted(same, key=lambda row: float(row["depth"] or 0))
        for name in trends:
            first, last = (estimate([row], name) for row in (ordered[0], ordered[-1]))
            trends[name].append(f"{net} {said(first)} → {said(last)}")
            ends[name].append((first, last))
    for row in boxes:
        told = ", ".join(
            f"{words.lower()} {said(estimate([row], name), name not in _IN_PX)}"
            for name, words in ERRORS.items() if row.get(name) is not None
        )  # fmt: skip
        findings.append(f"{row['net']}'s boxes, from one px of the photograph to the next: {told}.")
    return Told(
        "From the first layer to the last, of what varies between pictures, a pixel of shift changes "
        f"{_direction(ends['map_change'])} of each map ({'; '.join(trends['map_change'])}) and "
        f"{_direction(ends['pooled_change'])} of its global average ({'; '.join(trends['pooled_change'])}).",
        tuple(findings),
        (
            Figure("sensitivity", "Sensitivity to translation along depth", (
                Lines("Maps (should change)", "depth", "map_change", "net", {}, "depth, 0 to 1", "change by 1 px"),
                Lines("Global averages (should not)", "depth", "pooled_change", "net", {}, "depth, 0 to 1",
                      "change by 1 px"),
            ), caption="Changes of 1.4 are as large as between unrelated pictures."),
        ),
        (
            Table("Layers", ("net", "name", "stride"), {"map_change": "maps", "pooled_change": "global averages"},
                  rows=layers),
            Table("A detector's boxes, one px on", ("net",), ERRORS,
                  percent=tuple(name for name in ERRORS if name not in _IN_PX), rows=boxes),
        ),
    )  # fmt: skip


def _direction(ends: Sequence[tuple[Estimate, Estimate]]) -> str:
    if all(last.high < first.low for first, last in ends):
        return "less"
    return "more" if all(last.low > first.high for first, last in ends) else "now more, now less"


DETECTION = Study(
    "detection",
    "R-FCN's conjecture",
    "Do features lose their sensitivity to where an object is with depth, as R-FCN assumes?",
    (
        "Classifiers, whose deep features detectors are built on, see photographs of kangaroos move by one pixel at a "
        "time. How far each layer's map changes, and how far its global average does, is measured layer by layer.",
        "Then a detector, FastestDet: the camera moves by one pixel of the photograph, and its boxes are held against "
        "where they should be.",
    ),
    "Dai et al. 2016 (R-FCN): deep convolutional nets are translation-invariant where it hurts localisation, so "
    "position-sensitive maps are needed.",
    _detection_arms,
    _detection,
    _detection_told,
    ("No weights of a detector's own backbone are at hand: these are classifiers' features.",),
)
