"""Models that score every class by itself: the set of classes at or above a threshold, and how it changes."""

from itertools import pairwise

import duckdb
import numpy as np
import pytest
from fakes import FakeModel, hashed, histogram, pictures

import shiftable as sh
from shiftable.auditing.metrics import METRICS
from shiftable.auditing.predictions import Predictions, tabulate
from shiftable.auditing.showing import Row
from shiftable.errors import InputError
from shiftable.report import wording, write_report


def tags(views):
    """A score of its own for every class; about three of twenty reach one half."""
    return 1 / (1 + np.exp(1 - hashed(views)))


MODEL = FakeModel(tags, scores="sigmoid")
SAMPLES = pictures(6, (48, 64))


def _naive(audit):
    """(jaccard, p_set_change) by loops over plain rows."""
    walks = {}
    for part in sh.read_parts(audit.folder):
        for row in part.of(None).table.to_pylist():
            walks.setdefault(row["image"], {}).setdefault(row["walk"], []).append(set(row["positives"]))
    overlaps, changes = [], []
    for image in walks.values():
        pairs = [pair for walk in image.values() for pair in pairwise(walk)]
        overlaps.append(np.mean([len(a & b) / len(a | b) if a | b else 1 for a, b in pairs]))
        changes.append(np.mean([a != b for a, b in pairs]))
    return np.mean(overlaps), np.mean(changes)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("walk", ["sweep", "pairs", "grid"])
def test_overlap_and_change_are_what_naive_loops_give(walk, threshold):
    audit = sh.audit(MODEL, SAMPLES, walk=walk, threshold=threshold, radius_px=2 if walk == "grid" else None)
    overlap, change = _naive(audit)
    assert audit.metrics["jaccard"].value == pytest.approx(overlap, abs=1e-12)
    assert audit.metrics["p_set_change"].value == pytest.approx(change, abs=1e-12)
    assert audit.model["threshold"] == threshold


def test_sets_are_the_classes_at_or_above_the_threshold(tmp_path):
    for threshold in (None, 0.3):
        audit = sh.audit(MODEL, SAMPLES, threshold=threshold, keep_scores=True, out=tmp_path / str(threshold), steps=5)
        for part in sh.read_parts(audit.folder):
            for row in part.table.to_pylist():
                clear = [score for score in row["scores"] if abs(score - (threshold or 0.5)) > 1e-3]  # float16
                assert sum(score > (threshold or 0.5) for score in clear) <= len(row["positives"])
                assert len(row["positives"]) <= sum(score > (threshold or 0.5) - 1e-3 for score in row["scores"])
                assert row["positives"] == sorted(row["positives"])
                if row["top1_p"] > (threshold or 0.5):
                    assert row["top1"] in row["positives"]
        assert audit.model["threshold"] == (threshold or 0.5)


def _table(sets, classes=4):
    scores = np.array([[0.9 if number in each else 0.1 for number in range(classes)] for each in sets], np.float32)
    rows = [Row(None, 0, step, step, 0, step) for step in range(len(sets))]
    return Predictions(tabulate("i", rows, scores, "sigmoid"), classes)


@pytest.mark.parametrize(
    ("sets", "overlaps"),
    [
        ([{0, 1}, {0, 1}], [1]),
        ([{0, 1}, {1, 2}], [1 / 3]),
        ([{0}, {1}], [0]),
        ([set(), set()], [1]),
        ([set(), {3}, set()], [0, 0]),
        ([set(), set(), {0, 1, 2, 3}, {3}], [1, 0, 1 / 4]),
        ([{3}, {0}], [0]),  # the last class of one row is no neighbour of the first of the next
    ],
)
def test_overlap_by_hand(sets, overlaps):
    predictions = _table(sets)
    (total,), (pairs,) = METRICS["jaccard"].of(predictions)
    assert (total, pairs) == (pytest.approx(sum(overlaps)), len(overlaps))
    (changes,), _ = METRICS["p_set_change"].of(predictions)
    assert changes == sum(overlap < 1 for overlap in overlaps)


def test_a_score_on_the_threshold_counts():
    scores = np.array([[0.7, 0.69999, 0.2]], np.float32)
    table = tabulate("i", [Row(None, 0, 0, 0, 0, 0)], scores, "sigmoid", threshold=0.7)
    assert table["positives"].to_pylist() == [[0]]


def test_metrics_by_a_duckdb_query(tmp_path):
    audit = sh.audit(MODEL, SAMPLES, out=tmp_path)
    # docs/table.md shows this query
    found = duckdb.sql(f"""
        WITH steps AS (
          SELECT image, positives, lag(positives) OVER (PARTITION BY image, walk ORDER BY step) AS before
          FROM '{tmp_path}/predictions/*.parquet' WHERE control IS NULL),
        pairs AS (
          SELECT image, positives != before AS changed, len(list_intersect(positives, before)) AS shared,
                 len(list_distinct(list_concat(positives, before))) AS either
          FROM steps WHERE before IS NOT NULL),
        images AS (
          SELECT image, avg(if(either = 0, 1, shared / either)) AS jaccard, avg(changed::INT) AS p_set_change
          FROM pairs GROUP BY image)
        SELECT avg(COLUMNS(* EXCLUDE image)) FROM images""").pl()
    for name in ("jaccard", "p_set_change"):
        assert found[name].item() == pytest.approx(audit.metrics[name].value, abs=1e-9)


def test_a_steady_model_gets_exactly_its_stable_values():
    steady = FakeModel(lambda views: histogram(views) / 4000, (40, 40), scores="sigmoid")
    audit = sh.audit(steady, SAMPLES, motion="roll", threshold=0.03)
    assert audit.metrics["jaccard"].value == 1
    assert audit.metrics["p_set_change"].value == 0
    assert any(row["positives"] for part in sh.read_parts(audit.folder) for row in part.table.to_pylist())


def test_other_models_have_no_sets():
    audit = sh.audit(FakeModel(hashed, scores="logits"), SAMPLES, steps=3)
    assert not {"jaccard", "p_set_change"} & set(audit.metrics)
    assert "threshold" not in audit.model
    assert all(part.table["positives"].null_count == len(part.table) for part in sh.read_parts(audit.folder))
    for options, message in [
        ({"threshold": 0.4}, "--threshold: is for models that score every class by itself, not for logits"),
        ({"metrics": ["jaccard"]}, "jaccard is for models that score every class by itself"),
    ]:
        with pytest.raises(InputError, match=message):
            sh.audit(FakeModel(hashed, scores="logits"), SAMPLES, **options)
    for threshold in (0.0, -0.5, 1.5):
        with pytest.raises(InputError, match="no score to begin from"):
            sh.audit(MODEL, SAMPLES, threshold=threshold)


def test_another_threshold_is_another_audit(tmp_path):
    sh.audit(MODEL, SAMPLES, steps=3, out=tmp_path)
    with pytest.raises(InputError, match=r"its threshold is 0\.5, not 0\.6"):
        sh.audit(MODEL, SAMPLES, steps=3, threshold=0.6, out=tmp_path)


def test_page_tells_how_the_sets_change(tmp_path):
    audit = sh.audit(MODEL, SAMPLES, threshold=0.6, out=tmp_path)
    text = write_report(audit).read_text("utf-8")
    for name in ("jaccard", "p_set_change"):
        assert f">{name}<" in text
        assert wording.figure_of(name, audit.metrics[name].value) in text
    assert "scored 0.6 or more" in text
