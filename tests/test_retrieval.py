"""Embedders: the nearest of the other images for an answer, and the distance between neighbours' embeddings."""

import json
import re
from dataclasses import replace
from html import unescape
from importlib.util import find_spec
from itertools import pairwise

import duckdb
import numpy as np
import pytest
from fakes import FakeModel, hashed, histogram, pictures
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import shiftable as sh
from shiftable.auditing import show_again
from shiftable.auditing.retrieval import NEVER, read_ids, rounded_units
from shiftable.auditing.scoring import cosine_distances
from shiftable.data import Sample, find_samples
from shiftable.errors import InputError
from shiftable.report import wording, write_report


def embedder(answer=hashed, **options):
    return FakeModel(answer, scores="logits", task="embed", **options)


MODEL = embedder()
SAMPLES = pictures(12, (48, 64))
WALKS = {"sweep": {"steps": 7}, "pairs": {"walks": 3}, "random": {"walks": 5}, "grid": {"radius_px": 2}}


def _broken(name):
    def read():
        raise InputError("no readable image (truncated)", where=f"somewhere/{name}")

    return Sample(name, 0, read)


def _rows(audit):
    return [row for part in sh.read_parts(audit.folder) for row in part.table.to_pylist()]


def _cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return a @ b / np.sqrt((a @ a) * (b @ b))


@pytest.mark.parametrize("walk", WALKS)
def test_answers_are_what_a_naive_loop_over_all_pairs_gives(walk):
    audit = sh.audit(MODEL, SAMPLES, walk=walk, **WALKS[walk])
    show, by_id = show_again(audit), {sample.id: sample for sample in SAMPLES}
    unmoved = {sample.id: MODEL(show.stage(sample).view(0, 0)[None])[0] for sample in SAMPLES}
    before = None
    for row in _rows(audit):
        if row["control"] is not None:
            continue
        view = show.stage(by_id[row["image"]]).view(int(row["dy"]), int(row["dx"]))
        embedding = MODEL(view[None])[0]
        nearness = {
            number: _cosine(embedding, unmoved[sample.id])
            for number, sample in enumerate(SAMPLES)
            if sample.id != row["image"]
        }
        best = sorted(nearness, key=nearness.get, reverse=True)
        assert row["top5"] == best[:5]
        assert row["top1_p"] == pytest.approx(nearness[best[0]], abs=1e-7)
        assert row["margin"] == pytest.approx(nearness[best[0]] - nearness[best[1]], abs=1e-7)
        if row["step"] == 0:
            assert row["distance"] is None
        else:
            assert row["distance"] == pytest.approx(1 - _cosine(embedding, before), abs=1e-12)
        before = embedding


@pytest.mark.parametrize("walk", ["sweep", "pairs", "grid"])
def test_metrics_are_what_naive_loops_give(walk):
    audit = sh.audit(MODEL, SAMPLES, walk=walk, **WALKS[walk])
    walks = {}
    for row in _rows(audit):
        if row["control"] is None:
            walks.setdefault(row["image"], {}).setdefault(row["walk"], []).append(row)
    pairs = {image: [pair for walk in by.values() for pair in pairwise(walk)] for image, by in walks.items()}
    change = np.mean([np.mean([a["top1"] != b["top1"] for a, b in each]) for each in pairs.values()])
    distance = np.mean([np.mean([b["distance"] for _, b in each]) for each in pairs.values()])
    assert audit.metrics["p_top1_change"].value == pytest.approx(change, abs=1e-12)
    assert audit.metrics["cosine_distance"].value == pytest.approx(distance, abs=1e-12)
    assert 0 < change < 1
    assert not {"accuracy", "jaccard"} & set(audit.metrics)


def test_no_image_is_its_own_neighbour():
    audit = sh.audit(MODEL, SAMPLES[:4])
    numbers = {sample.id: number for number, sample in enumerate(SAMPLES)}
    for row in _rows(audit):
        assert row["top1"] != numbers[row["image"]]
        assert len(set(row["top5"])) == len(row["top5"]) == 4
        assert row["top5"][-1] == numbers[row["image"]]  # last of all
        assert row["top5_p"][-1] == NEVER


def test_copies_are_each_others_nearest_and_ties_are_no_changes():
    """Five copies of a picture are equally near wherever it stands; rounding must not choose among them."""
    picture = SAMPLES[0].read
    copies = [Sample(f"copy-{number}", None, picture) for number in range(5)]
    audit = sh.audit(embedder(_wide), [*copies, *SAMPLES[1:9]])
    for row in _rows(audit):
        if row["image"].startswith("copy"):
            assert row["ref"] == (1 if row["image"] == "copy-0" else 0)
            if row["dy"] == row["dx"] == 0 and row["control"] in (None, "still"):
                assert row["top1_p"] == pytest.approx(1, abs=1e-7)
        else:  # of copies the first is named, always
            assert row["top1"] not in (1, 2, 3, 4)
            if 0 in row["top5"]:
                at = row["top5"].index(0)
                assert row["top5"][at : at + 5] == [0, 1, 2, 3, 4][: 5 - at]


def _wide(views):
    return hashed(views, 301)


@given(
    arrays.arrays(np.float32, (7, 33), elements=st.floats(-100, 100, width=32)).filter(
        lambda rows: (np.abs(rows).max(axis=1) > 1e-3).all()
    )
)
def test_similarities_do_not_depend_on_the_order_of_sums(embeddings):
    units = rounded_units(embeddings, "image")
    order = np.random.default_rng(0).permutation(33)
    whole = units @ units.T
    np.testing.assert_array_equal(whole, units[:, order] @ units[:, order].T)
    np.testing.assert_array_equal(whole, [[sum((a * b).tolist()) for b in units] for a in units])
    naive = [[_cosine(a, b) for b in embeddings] for a in embeddings]
    np.testing.assert_allclose(whole, naive, atol=1e-7)


def test_distance_is_one_minus_the_cosine():
    rows = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    rows[7] = rows[6]
    rows[9] = -2 * rows[8]
    found = cosine_distances(rows)[1:]
    np.testing.assert_allclose(found, [1 - _cosine(a, b) for a, b in pairwise(rows)], atol=1e-12)
    assert found[6] == 0
    assert found[8] == pytest.approx(2)


@pytest.mark.parametrize("walk", WALKS)
def test_an_embedder_that_is_shift_invariant_by_construction_never_changes(walk):
    audit = sh.audit(embedder(histogram, view_size=(40, 40)), SAMPLES, motion="roll", walk=walk, **WALKS[walk])
    for name, value in {"p_top1_change": 0, "mac": 0, "cosine_distance": 0, "consistency": 1}.items():
        if name in audit.metrics:
            assert audit.metrics[name].value == value
    assert len({row["distance"] for row in _rows(audit) if row["control"] is None}) == 2  # 0, and null at step 0
    for name in ("p_top1_change", "mac"):
        assert audit.controls["still"][name].value == 0


def test_still_is_exactly_0_where_all_else_changes():
    audit = sh.audit(MODEL, SAMPLES)
    assert audit.metrics["p_top1_change"].value > 0.8
    assert audit.controls["still"]["p_top1_change"].value == audit.controls["still"]["mac"].value == 0
    assert audit.controls["grey"]["p_top1_change"].value > 0.5
    assert all(row["distance"] == 0 for row in _rows(audit) if row["control"] == "still" and row["step"] == 1)


def test_metrics_by_a_duckdb_query(tmp_path):
    audit = sh.audit(MODEL, SAMPLES, out=tmp_path)
    # docs/table.md shows these queries
    found = duckdb.sql(f"""
        SELECT avg(distance) FROM (SELECT image, avg(distance) AS distance
          FROM '{tmp_path}/predictions/*.parquet' WHERE control IS NULL GROUP BY image)""").fetchall()[0][0]
    assert found == pytest.approx(audit.metrics["cosine_distance"].value, abs=1e-9)
    named = duckdb.sql(f"""
        SELECT DISTINCT rows.image, other.image FROM '{tmp_path}/predictions/*.parquet' AS rows
        JOIN '{tmp_path}/references/*.parquet' AS other ON rows.top1 = other.number""").fetchall()
    told = {(row["image"], SAMPLES[row["top1"]].id) for row in _rows(audit)}
    assert set(named) == told


# Records


def test_the_record_says_what_was_compared(tmp_path):
    audit = sh.audit(MODEL, SAMPLES, out=tmp_path, steps=3)
    recorded = audit.model
    assert (recorded["task"], recorded["scores"], recorded["classes"], recorded["dimensions"]) == (
        *("embed", "similarity", 12, 20),
    )
    assert audit.images["labelled"] == 0
    assert read_ids(tmp_path) == {number: sample.id for number, sample in enumerate(SAMPLES)}
    assert sh.read_audit(tmp_path).to_json() == audit.to_json()


def test_killed_and_started_again_it_gives_the_same_file(tmp_path):
    samples = pictures(90, (48, 64))
    samples[3] = _broken("image-3")
    whole = tmp_path / "whole"
    options = {"walk": "pairs", "walks": 2, "batch_size": 4}
    sh.audit(MODEL, samples, out=whole, **options)
    text, rows = (whole / "audit.json").read_bytes(), _rows(sh.read_audit(whole))
    assert len(list((whole / "references").iterdir())) == 3
    for gone in (["references/part-00001"], ["predictions/part-00002", "references/part-00000"], ["predictions/"]):
        for path in whole.rglob("part-*.parquet"):
            if any(str(path.relative_to(whole)).startswith(name) for name in gone):
                path.unlink()
        (whole / "audit.json").unlink()
        again = sh.audit(MODEL, samples, out=whole, **options)
        assert (whole / "audit.json").read_bytes() == text
        assert _rows(again) == rows

    calls = 0

    def dying(views):
        nonlocal calls
        calls += 1
        if calls in (13, 45):  # in the first pass, and in the second
            raise KeyboardInterrupt
        return hashed(views)

    stopped = tmp_path / "stopped"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            sh.audit(embedder(dying), samples, out=stopped, **options)
    assert list((stopped / "predictions").glob("part-*")) != []
    done = {path: path.stat().st_mtime_ns for path in stopped.rglob("part-*.parquet")}
    sh.audit(MODEL, samples, out=stopped, **options)
    assert (stopped / "audit.json").read_bytes() == text
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())


def test_references_of_another_audit_are_not_taken_over(tmp_path):
    sh.audit(MODEL, SAMPLES[:5], out=tmp_path, steps=3)
    with pytest.raises(InputError, match="its classes is 5, not 6"):
        sh.audit(MODEL, SAMPLES[:6], out=tmp_path, steps=3)
    sh.audit(MODEL, SAMPLES[5:12], out=tmp_path, steps=3, overwrite=True)
    assert read_ids(tmp_path) == {number: sample.id for number, sample in enumerate(SAMPLES[5:12])}
    for path in (tmp_path / "predictions").iterdir():
        path.unlink()
    (tmp_path / "predictions").rmdir()
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match="holds another audit"):
        sh.audit(MODEL, SAMPLES[:5], out=tmp_path, steps=3)


def test_an_unusable_image_is_skipped_counted_and_nobodys_neighbour(tmp_path):
    samples = [
        SAMPLES[0],
        _broken("broken.jpg"),
        *SAMPLES[1:6],
        Sample("narrow", None, lambda: np.zeros((1, 9, 3), "u1")),
    ]
    audit = sh.audit(MODEL, samples, out=tmp_path, walk="random")
    assert audit.images["count"] + len(audit.images["skipped"]) == len(samples)
    assert audit.images["skipped"][0]["image"] == "broken.jpg"
    usable = {number for number, sample in enumerate(samples) if sample.id in read_ids(tmp_path).values()}
    assert 1 not in usable
    for row in _rows(audit):
        assert row["top1"] in usable
        assert set(row["top5"]) <= usable
    # numbers don't depend on what is skipped: the third of the list is number 2
    assert read_ids(tmp_path)[2] == "image-1"
    with pytest.raises(InputError, match=r"broken\.jpg"):
        sh.audit(MODEL, samples, strict=True)


def test_too_few_images_are_refused():
    for samples in (SAMPLES[:2], [*SAMPLES[:2], _broken("a.jpg"), _broken("b.jpg")]):
        with pytest.raises(InputError, match=r"2 of \d images can be used.*takes 3"):
            sh.audit(MODEL, samples)
    with pytest.raises(InputError, match=r"0 of 3 .*a\.jpg: no readable image"):
        sh.audit(MODEL, [_broken(f"{name}.jpg") for name in "abc"])


def test_two_images_of_one_name_are_refused():
    with pytest.raises(InputError, match="two images are called image-0"):
        sh.audit(MODEL, [*SAMPLES, SAMPLES[0]])


def test_labels_are_not_used_and_that_is_said():
    labelled = [replace(sample, label=900 + number) for number, sample in enumerate(SAMPLES)]
    audit = sh.audit(MODEL, labelled, steps=3)
    assert not audit.warnings or not any("labels" in warning for warning in audit.warnings)
    assert audit.to_json() == sh.audit(MODEL, SAMPLES, steps=3).to_json()
    audit = sh.audit(MODEL, SAMPLES, labels={sample.id: 3 for sample in SAMPLES}, steps=3)
    assert any("the labels are not used" in warning for warning in audit.warnings)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(0, "0 or infinite"), (np.inf, "0 or infinite"), (np.nan, "0 or infinite|NaN")],
)
def test_embeddings_without_a_direction_are_refused(wrong, message):
    for when in (5, 40):  # in the first pass, and in the second
        calls = 0

        def sometimes(views, when=when):
            nonlocal calls
            calls += 1
            found = hashed(views)
            if calls >= when:
                found[:] = wrong
            return found

        with pytest.raises(InputError, match=message):
            sh.audit(embedder(sometimes), SAMPLES * 1, batch_size=2)


def test_embeddings_of_no_width_and_other_tasks_are_refused():
    with pytest.raises(InputError, match="single number"):
        sh.audit(embedder(lambda views: histogram(views)[:, :1]), SAMPLES)
    with pytest.raises(InputError, match="a class per pixel of the view"):
        sh.audit(FakeModel(hashed, task="segment"), SAMPLES)
    with pytest.raises(InputError, match="--threshold"):
        sh.audit(MODEL, SAMPLES, threshold=0.3)


def test_kept_scores_are_the_embeddings(tmp_path):
    audit = sh.audit(MODEL, SAMPLES[:4], out=tmp_path, keep_scores=True, steps=3)
    show = show_again(audit)
    for row in _rows(audit):
        if row["control"] is None:
            sample = next(sample for sample in SAMPLES if sample.id == row["image"])
            view = show.stage(sample).view(int(row["dy"]), 0)
            np.testing.assert_array_equal(row["scores"], MODEL(view[None])[0].astype(np.float16))


# The page


@pytest.mark.parametrize("walk", WALKS)
def test_page_names_neighbours_by_their_ids(walk, tmp_path):
    samples = [replace(sample, id=f"photo {number:03}.png") for number, sample in enumerate(SAMPLES)]
    samples.insert(2, _broken("broken.png"))
    audit = sh.audit(MODEL, samples, walk=walk, out=tmp_path)
    # a torchvision embedder may bring names of classes along, even as many as there are images
    page = write_report(audit, class_names=[f"kind {number}" for number in range(13)], samples=samples)
    text = unescape(page.read_text("utf-8"))
    assert not re.search(r"\bclass \d|\bkind \d", text)
    heat = json.loads(re.search(r'id="heat-map-data">(.*?)</script>', text, re.DOTALL)[1])
    ids = read_ids(tmp_path)
    assert set(heat["names"]) <= set(ids.values())
    for number, image in enumerate(heat["ids"]):
        row = next(row for row in _rows(audit) if row["image"] == image)
        assert heat["names"][heat["right"][number]] == ids[row["ref"]]
    assert "nearest image" in re.search(r"<h1>(.*?)</h1>", text, re.DOTALL)[1]
    assert "changes its answer" not in text
    assert "cosine" in text
    assert "answers in logits" not in text
    assert "13 classes" not in text
    for name, found in audit.metrics.items():
        assert f">{name}<" in text
        assert wording.figure_of(name, found.value) in text


def test_a_steady_embedder_is_said_to_be_steady(tmp_path):
    audit = sh.audit(embedder(histogram, view_size=(40, 40)), SAMPLES, motion="roll", out=tmp_path)
    text = unescape(write_report(audit).read_text("utf-8"))
    assert "found another nearest image in none of 384 pairs of views" in text
    assert "No answer changed." in text


def test_page_without_references_is_refused(tmp_path):
    audit = sh.audit(MODEL, SAMPLES, out=tmp_path, steps=3)
    for path in (tmp_path / "references").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="no references here"):
        write_report(audit)


# Real embedders


def _without_head(shared):
    """MobileNetV2 with its classifier's weights loaded, then taken off: what is left are 1,280 pooled features."""
    if not (find_spec("timm") and find_spec("torchvision")):
        pytest.skip("timm is not installed")
    from shiftable.models.torchvision_repair import import_torchvision
    from shiftable.models.weights import load_weights

    import_torchvision()  # timm can't be imported where torchvision can't
    import timm

    net = timm.create_model("mobilenetv2_100", pretrained=False, pad_type="same")
    load_weights(net, shared / "models" / "mobilenetv2_100.safetensors")
    net.reset_classifier(0)
    return net


def test_a_net_without_its_head(shared, tmp_path):
    net = _without_head(shared)
    preprocessing = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "resize_px": 256}
    model = sh.open_model(net, task="embed", preprocessing=preprocessing, device="cpu")
    photos = shared / "data" / "imagenet_samples" / "labels.csv"
    audit = sh.audit(model, photos, count=20, walk="pairs", walks=2, out=tmp_path)
    assert (audit.model["dimensions"], audit.model["classes"]) == (1280, 20)
    assert 0.005 < audit.metrics["cosine_distance"].value < 0.03  # seen on 60 images: 0.012, and 0.09
    assert 0 < audit.metrics["p_top1_change"].value < 0.4
    assert audit.controls["still"]["p_top1_change"].value == audit.controls["still"]["mac"].value == 0
    show = show_again(audit)
    unmoved = model(np.stack([show.stage(sample).view(0, 0) for sample in find_samples(photos, 20)]))
    units = unmoved / np.linalg.norm(unmoved, axis=1, keepdims=True)
    nearness = units @ units.T - 2 * np.eye(20)
    found = {row["image"]: row["ref"] for row in _rows(audit)}
    best = np.sort(nearness, axis=1)
    clear = best[:, -1] - best[:, -2] > 1e-3  # batches of another size round otherwise
    assert clear.sum() > 15
    assert (np.array(list(found.values())) == nearness.argmax(axis=1))[clear].all()


def test_a_model_that_returns_a_pooler_output():
    if not find_spec("transformers"):
        pytest.skip("transformers is not installed")
    from shiftable.models.torchvision_repair import import_torchvision

    if find_spec("torchvision"):
        import_torchvision()  # one that is there but can't be imported breaks every transformers class
    import transformers

    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=32, patch_size=8
    )
    net = transformers.AutoModel.from_config(config).eval()
    model = sh.open_model(net, task="embed", preprocessing={"view_size": [32, 32], "resize_px": 40}, device="cpu")
    audit = sh.audit(model, SAMPLES, walk="pairs")
    assert audit.model["dimensions"] == 16
    assert 0 < audit.metrics["cosine_distance"].value < 0.5
    assert audit.controls["still"]["p_top1_change"].value == 0
    assert audit.controls["still"]["mac"].value < 1e-6  # a transformer's last bits depend on the place in the batch
