"""Along the depth of nets: are responses shiftable, and do features or only pooled summaries hold still?"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from shiftable.data.images import list_samples
from shiftable.explaining import explain
from shiftable.models import Model, open_model
from shiftable.studies.cifar10 import PREPROCESSING, VIEW_SIZE
from shiftable.studies.nets import resnet_like, vgg_like
from shiftable.studies.rows import apart, estimate, grouped, said, those
from shiftable.studies.study import Arm, Bars, Figure, Lines, Row, Setting, Study, Table, Told
from shiftable.studies.subjects import PHOTOGRAPHS, open_subject
from shiftable.studies.trained import trained

OWN: Mapping[str, Callable[..., nn.Module]] = {"vgg_like": vgg_like, "resnet_like": resnet_like}
"""Shallow with poolings, and deep with strides, all else alike."""
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
    net = trained(partial(OWN[name], seed=int(seed)), f"{name}-{seed}", setting, int(seed))
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
    own = [estimate(those(means[0], {"net": net}), "sums_vary_circular") for net in OWN]
    axis = "depth, 0 to 1"
    return Told(
        f"Under circular shifts, where sampling alone counts, global sums vary by {told[0]} of themselves, mean over "
        "layers" + ("." if apart(*own) else "; by their seeds the first two can't be told apart."),
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
            Figure("aliased", "Power beyond the limit", (Bars("Mean over sites", "aliased", "net", {"what": "site"},
                   "share of the power", True),), 1),
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


def _detection_arms(setting: Setting) -> Sequence[Arm]:
    return [{"net": net} for net in setting.pick(SHARED[:1], SHARED)]


def _detection(arm: Arm, setting: Setting) -> Iterable[Row]:
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


def _detection_told(rows: Sequence[Row]) -> Told:
    findings, trends = [], []
    for (net,), same in grouped(rows, "net").items():
        ordered = sorted(same, key=lambda row: float(row["depth"] or 0))
        first, last = ordered[0], ordered[-1]
        pooled = [estimate([row], "pooled_change") for row in (first, last)]
        trends.append(f"{net} {said(pooled[0])} → {said(pooled[1])}")
        findings.append(
            f"{net}: from {first['name']} to {last['name']} the maps' change by one pixel goes from "
            f"{said(estimate([first], 'map_change'))} to {said(estimate([last], 'map_change'))}, that of their global "
            f"averages from {said(pooled[0])} to {said(pooled[1])}"
            + ("." if apart(*pooled) else "; the latter can't be told apart.")
        )
    return Told(
        "Change of pooled summaries by one pixel, over what varies between pictures, first → last layer: "
        + "; ".join(trends)
        + ". R-FCN's conjecture is that it falls with depth.",
        tuple(findings),
        (
            Figure("sensitivity", "Sensitivity to translation along depth", (
                Lines("Maps (should change)", "depth", "map_change", "net", {}, "depth, 0 to 1", "change by 1 px"),
                Lines("Global averages (should not)", "depth", "pooled_change", "net", {}, "depth, 0 to 1",
                      "change by 1 px"),
            ), caption="Changes of 1.4 are as large as between unrelated pictures."),
        ),
        (Table("Layers", ("net", "name", "stride"), {"map_change": "maps", "pooled_change": "global averages"}),),
    )  # fmt: skip


DETECTION = Study(
    "detection",
    "R-FCN's conjecture",
    "Do features lose their sensitivity to where an object is with depth, as R-FCN assumes?",
    (
        "Classifiers, whose deep features detectors are built on, see photographs of kangaroos move by one pixel at a "
        "time. How far each layer's map changes, and how far its global average does, is measured layer by layer.",
        "How far a detector's boxes move is measured by shiftable audit --task detect: docs/everything_that_moves.md.",
    ),
    "Dai et al. 2016 (R-FCN): deep convolutional nets are translation-invariant where it hurts localisation, so "
    "position-sensitive maps are needed.",
    _detection_arms,
    _detection,
    _detection_told,
    ("No weights of a detector's own backbone are at hand: these are classifiers' features.",),
)
