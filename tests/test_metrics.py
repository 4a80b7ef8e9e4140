"""Metrics against naive loops, and against queries that a reader of the table would write."""

from itertools import pairwise

import duckdb
import numpy as np
import polars as pl
import pytest
from fakes import FakeModel, checkerboards, hashed, histogram, parity, pictures

import shiftable as sh
from shiftable.auditing.metrics import METRICS, choose_metrics
from shiftable.auditing.predictions import tabulate
from shiftable.auditing.scoring import leading, rank
from shiftable.auditing.showing import Row
from shiftable.errors import InputError
from shiftable.models import Preprocessing

WALKS = {"sweep": {"steps": 7}, "pairs": {"walks": 3}, "random": {"walks": 5}, "grid": {"radius_px": 2}}
every_walk = pytest.mark.parametrize("walk", WALKS)
labels = [3, 7, 7, 0, 9, 11]


def _audit(walk, model=None, samples=None, **options):
    model = model or FakeModel(hashed, scores="logits")
    samples = samples or pictures(6, (48, 64), labels)
    return sh.audit(model, samples, walk=walk, **{**WALKS[walk], **options})


def _naive(audit):
    """Every metric by plain loops over plain rows."""
    rows = [row for part in sh.read_parts(audit.folder) for row in part.of(None).table.to_pylist()]
    walks = {}
    for row in rows:
        walks.setdefault(row["image"], {}).setdefault(row["walk"], []).append(row)
    leaders = 1 if audit.model["classes"] <= 10 else 5
    sums = {name: [] for name, metric in METRICS.items() if metric.scores is None and metric.walks != {"frames"}}
    for image in walks.values():
        steps = [row for walk in image.values() for row in walk]
        pairs = [pair for walk in image.values() for pair in pairwise(walk)]
        changes = [a["top1"] != b["top1"] for a, b in pairs]
        right = [a["top1"] == a["label"] for a, _ in pairs]
        inside = [[row["label_rank"] <= leaders for row in pair] for pair in pairs]
        among = [[row["ref"] in row["top5"][:leaders] for row in pair] for pair in pairs]
        sums["p_top1_change"].append((sum(changes), len(pairs)))
        sums["mac"].append((sum(abs(a["top1_p"] - b["first_p"]) for a, b in pairs), len(pairs)))
        sums["jaggedness"].append((sum(a != b for a, b in inside), 1))
        sums["jaggedness_per_step"].append((sum(a != b for a, b in inside), len(pairs)))
        sums["jaggedness_self"].append((sum(a != b for a, b in among), 1))
        sums["consistency"].append((len(pairs) - sum(changes), len(pairs)))
        sums["accuracy"].append((sum(row["top1"] == row["label"] for row in steps), len(steps)))
        sums["accuracy_top5"].append((sum(row["label"] in row["top5"] for row in steps), len(steps)))
        sums["worst_case_accuracy"].append((all(row["top1"] == row["label"] for row in steps), 1))
        sums["share_constant"].append((len({row["top1"] for row in steps}) == 1, 1))
        sums["change_if_right"].append((sum(c and r for c, r in zip(changes, right, strict=True)), sum(right)))
        sums["margin"].append((sum(row["margin"] for row in steps), len(steps)))
    ratio = lambda parts: sum(a for a, _ in parts) / sum(b for _, b in parts)  # noqa: E731
    mean = lambda parts: sum(a / b for a, b in parts) / len(parts)  # noqa: E731
    return {name: (ratio if name == "change_if_right" else mean)(parts) for name, parts in sums.items() if
            name != "change_if_right" or sum(b for _, b in parts)}  # fmt: skip


def _leaning(views):
    """Scores that lean towards the labels, so that right and wrong, constant and changing images all occur."""
    scores = hashed(views)
    scores[:, labels] += 1.2
    return scores


@every_walk
def test_metrics_are_what_naive_loops_give(walk):
    audit = _audit(walk, FakeModel(_leaning, scores="logits"))
    naive = _naive(audit)
    assert set(audit.metrics) == {name for name, metric in METRICS.items() if walk in metric.walks} & set(naive)
    for name, estimate in audit.metrics.items():
        assert estimate.value == pytest.approx(naive[name], abs=1e-12), name
        assert estimate.images <= 6


def test_every_metric_by_a_duckdb_query(tmp_path):
    audit = _audit("sweep", out=tmp_path)
    table = f"read_parquet('{tmp_path}/predictions/*.parquet')"
    # docs/table.md shows this query
    found = duckdb.sql(f"""
        WITH steps AS (SELECT *, lag(top1) OVER w AS top1_before, lag(top1_p) OVER w AS p_before,
                 lag(label_rank <= 5) OVER w AS in_before, lag(list_contains(top5, ref)) OVER w AS ref_before
          FROM {table} WHERE control IS NULL WINDOW w AS (PARTITION BY image, walk ORDER BY step)),
        images AS (SELECT image, avg((top1 != top1_before)::INT) AS p_top1_change, avg(abs(first_p - p_before)) AS mac,
                 sum(((label_rank <= 5) != in_before)::INT) AS jaggedness,
                 avg(((label_rank <= 5) != in_before)::INT) AS jaggedness_per_step,
                 sum((list_contains(top5, ref) != ref_before)::INT) AS jaggedness_self,
                 avg((top1 = label)::INT) AS accuracy, avg((label_rank <= 5)::INT) AS accuracy_top5,
                 min((top1 = label)::INT) AS worst_case_accuracy, min((top1 = ref)::INT) AS share_constant,
                 avg(margin) AS margin FROM steps GROUP BY image)
        SELECT avg(COLUMNS(* EXCLUDE image)) FROM images""").pl()
    for name, estimate in audit.metrics.items():
        if name != "change_if_right":
            assert found[name].item() == pytest.approx(estimate.value, abs=1e-9), name


def test_change_if_right_by_polars(tmp_path):
    audit = _audit("sweep", FakeModel(_leaning, scores="logits"), out=tmp_path)
    rows = pl.read_parquet(tmp_path / "predictions" / "*.parquet").filter(pl.col("control").is_null())
    pairs = rows.with_columns(before=pl.col("top1").shift().over("image", "walk")).filter(pl.col("step") > 0)
    right = pairs.filter(pl.col("before") == pl.col("label"))  # the ratio of sums over images
    change = (right["top1"] != right["before"]).mean()
    assert audit.metrics["change_if_right"].value == pytest.approx(change, abs=1e-9)


def test_change_and_consistency_by_polars(tmp_path):
    for walk, name in (("pairs", "p_top1_change"), ("grid", "p_top1_change"), ("random", "consistency")):
        audit = _audit(walk, out=tmp_path / walk)
        rows = pl.read_parquet(tmp_path / walk / "predictions" / "*.parquet").filter(pl.col("control").is_null())
        pairs = rows.with_columns(before=pl.col("top1").shift().over("image", "walk")).filter(pl.col("step") > 0)
        differ = pairs.group_by("image").agg((pl.col("top1") != pl.col("before")).mean())["top1"].mean()
        assert audit.metrics[name].value == pytest.approx(differ if name == "p_top1_change" else 1 - differ, abs=1e-9)


@every_walk
def test_a_net_that_is_shift_invariant_by_construction_gets_exactly_0(walk):
    audit = _audit(walk, FakeModel(histogram, (40, 40), scores="logits"), motion="roll")
    for name, metric in METRICS.items():
        if name in audit.metrics and metric.stable_is is not None:
            assert audit.metrics[name].value == metric.stable_is, name
    _still_is_exactly_0(audit)


@pytest.mark.parametrize("walk", ["sweep", "pairs", "grid"])
def test_a_net_that_alternates_gets_exactly_1(walk):
    audit = _audit(
        walk,
        FakeModel(parity, preprocessing=Preprocessing(48)),
        checkerboards(6, (48, 64), [0, 1, 0, 1, 0, 1]),
        controls=False,
    )
    assert audit.metrics["p_top1_change"].value == 1
    assert audit.metrics["mac"].value == 1
    assert audit.metrics["change_if_right"].value == 1
    assert audit.metrics["accuracy"].value == pytest.approx(0.5, abs=0.1)
    if walk == "sweep":
        assert audit.metrics["jaggedness"].value == audit.metrics["jaggedness_self"].value == 6
        assert audit.metrics["share_constant"].value == audit.metrics["worst_case_accuracy"].value == 0


@every_walk
def test_still_is_exactly_0(walk):
    _still_is_exactly_0(_audit(walk))


def _still_is_exactly_0(audit):
    assert audit.controls["still"]["p_top1_change"].value == 0
    assert audit.controls["still"]["mac"].value == 0
    assert set(audit.controls) == {"still", "grey", "jpeg"}


def test_controls_are_what_they_say():
    seen = []

    def keep(views):
        seen.extend(view.copy() for view in views)
        return histogram(views)

    (sample,) = pictures(1, (48, 64))
    sh.audit(FakeModel(keep, batch_size=1), [sample], walk="sweep", steps=3)
    center, *_, still, lighter, darker, jpeg = seen[1:]  # the first view asks for the number of classes
    np.testing.assert_array_equal(still, center)
    np.testing.assert_array_equal(lighter, np.minimum(center.astype(int) + 1, 255))
    np.testing.assert_array_equal(darker, np.maximum(center.astype(int) - 1, 0))
    assert 0 < np.abs(jpeg.astype(int) - center).mean() < 60  # noise is hard to compress
    assert jpeg.shape == center.shape


def test_ranks_are_those_of_a_stable_sort():
    scores = np.random.default_rng(0).integers(0, 6, (200, 15)).astype(float)  # many ties
    order = np.argsort(-scores, axis=1, kind="stable")
    np.testing.assert_array_equal(leading(scores, 6), order[:, :6])
    for label in (0, 7, 14):
        np.testing.assert_array_equal(rank(scores, label), (order == label).argmax(axis=1) + 1)


def _one(scores, kind, label=None):
    rows = [Row(None, 0, step, step, 0, step) for step in range(len(scores))]
    return tabulate("i", rows, np.array(scores, np.float32), kind, label).to_pylist()


def test_probabilities_are_softmax_of_logits_and_are_left_alone_otherwise():
    logits = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, 5.0]], np.float32)
    odds = np.exp(logits.astype(float))
    for row, p, z in zip(_one(logits, "logits", 2), odds / odds.sum(1, keepdims=True), logits, strict=True):
        assert row["top1_p"] == pytest.approx(p.max(), abs=1e-12)
        assert row["label_p"] == pytest.approx(p[2], abs=1e-12)
        assert row["margin"] == pytest.approx(np.sort(z)[-1] - np.sort(z)[-2], abs=1e-6)
    (row,) = _one([[0.2, 0.5, 0.25]], "probabilities")
    assert row["top1_p"] == 0.5  # not renormalised
    assert row["margin"] == pytest.approx(np.log(0.5 / 0.25))
    (row,) = _one([[0.2, 0.9, 0.8]], "sigmoid")
    assert row["margin"] == pytest.approx(np.log(0.9 / 0.1) - np.log(0.8 / 0.2), abs=1e-5)


def test_margins_of_logits_and_of_their_softmax_agree():
    logits = np.random.default_rng(0).normal(size=(1, 9)).astype(np.float32)
    softmax = np.exp(logits) / np.exp(logits).sum()
    assert _one(logits, "logits")[0]["margin"] == pytest.approx(_one(softmax, "probabilities")[0]["margin"], abs=1e-5)


def test_first_p_follows_the_class_that_led_a_step_before():
    rows = _one([[0.6, 0.4], [0.3, 0.7], [0.2, 0.8]], "probabilities")
    assert [row["first_p"] for row in rows] == [None, pytest.approx(0.3), pytest.approx(0.8)]
    assert [row["ref_p"] for row in rows] == [pytest.approx(p) for p in (0.6, 0.3, 0.2)]


def test_ties_go_to_the_lowest_class_and_are_counted():
    (row,) = _one([[0.25, 0.25, 0.5, 0.5]], "probabilities")
    assert row["top1"] == 2
    assert row["tie"]
    assert row["margin"] == 0
    assert _one([[5, 4, 3, 2, 1, 1, 0]], "logits")[0]["tie_top5"]

    def quantised(views):
        return np.round(histogram(views) / 8)

    audit = _audit("sweep", FakeModel(quantised, scores="logits"))
    assert audit.ties["flips"] is None or 0 < audit.ties["flips"] <= 1
    assert any("equal scores decided" in warning for warning in audit.warnings)


def test_metrics_asked_for_are_checked():
    assert choose_metrics("pairs", False) == ["p_top1_change", "mac", "margin"]
    assert choose_metrics("pairs", False, scores="sigmoid")[3:] == ["jaccard", "p_set_change"]
    assert choose_metrics("pairs", True, scores="similarity")[3:] == ["cosine_distance"]
    for asked, scores, message in [
        ("macs", "logits", "did you mean mac"),
        ("jaggedness", "logits", "sweep"),
        ("accuracy", "logits", "give --labels"),
        ("jaccard", "probabilities", "for models that score every class by itself; say --scores sigmoid"),
        ("cosine_distance", "sigmoid", "for embedders; say --task embed"),
        ("accuracy", "similarity", "right classes, which an embedder has not"),
    ]:
        with pytest.raises(InputError, match=message):
            choose_metrics("pairs", False, [asked], scores)
    assert set(_audit("sweep", metrics=["mac"]).metrics) == {"mac"}


def test_kept_scores_are_the_models(tmp_path):
    audit = _audit("sweep", out=tmp_path, keep_scores=True)
    for part in sh.read_parts(audit.folder):
        rows = part.table.to_pylist()
        assert all(np.argmax(row["scores"]) == row["top1"] for row in rows if not row["tie"])
        assert all(len(row["scores"]) == 20 for row in rows)
