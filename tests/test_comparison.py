"""Comparisons: a copy differs by nothing, being surer makes no one steadier, what can't be compared is refused."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeModel, checkerboards, hashed, histogram, parity, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

import shiftable as sh
from shiftable.auditing import read_audit, read_parts
from shiftable.auditing.comparing.comparable import short_names
from shiftable.auditing.comparing.comparison import FIGURES, compare
from shiftable.auditing.comparing.standardising import (
    LEAST_PAIRS,
    Pairs,
    by_bin,
    make_standard,
    standardised_difference,
    standardised_rate,
)
from shiftable.auditing.intervals import rate, rate_difference
from shiftable.data import Sample
from shiftable.errors import InputError


def brightness(views, classes=16, sharp=1.0):
    """Answers by the mean grey level: some pictures change theirs on the way, some never."""
    return -sharp * ((views.mean(axis=(1, 2, 3))[:, None] - np.arange(classes) * 4 - 96) ** 2) / 40


STEADY = FakeModel(histogram, spec="zoo/steady", scores="logits")
BRIGHT = FakeModel(brightness, spec="zoo/bright", scores="logits")
WILD = FakeModel(hashed, spec="zoo/wild", scores="logits")


def _samples(count=24, labels=True):
    return pictures(count, (20, 26), labels=[(number * 5) % 12 for number in range(count)] if labels else None)


def _audit(model, out, samples=None, **options):
    return sh.audit(model, samples or _samples(), out=out, controls=False, **{"steps": 17, **options})


@pytest.fixture(scope="module")
def audits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audits")
    right = {sample.id: int(histogram(sample.read()[None, 6:14, 9:17]).argmax()) for sample in _samples()}
    labelled = [replace(sample, label=right[sample.id] if at % 2 else sample.label)
                for at, sample in enumerate(_samples())]  # fmt: skip
    return [_audit(model, folder / model.spec.partition("/")[2], labelled) for model in (STEADY, BRIGHT, WILD)]


def made(seed, images=60, pairs=32, sure=1.0, weak=0.6):
    """Pairs whose chance of a change depends on their margin, and on how frail their image is."""
    rng = np.random.default_rng(seed)
    margin = np.abs(rng.gamma(1.5, sure, (images, 1)) + rng.normal(0, 0.4, (images, pairs)))
    frail = rng.beta(1.0, 1.0, (images, 1))
    changed = rng.random((images, pairs)) < 2 * frail * weak * np.exp(-1.5 * margin)
    return Pairs(np.repeat(np.arange(images), pairs), margin.ravel().astype(np.float32), changed.ravel())


# What a comparison says of the audits


def test_raw_figures_are_those_of_the_audits(audits):
    comparison = compare(audits)
    for compared, audit in zip(comparison.audits, audits, strict=True):
        assert {"p_top1_change", "mac", "accuracy", "margin"} <= set(compared.metrics)
        for name, found in compared.metrics.items():
            assert found.to_json() == audit.metrics[name].to_json()
        assert compared.stability["raw"] == audit.metrics["p_top1_change"]
    assert [compared.name for compared in comparison.audits] == ["steady", "bright", "wild"]
    assert comparison.steadiest("raw").name == "steady"
    assert [compared.name for compared in comparison.told_apart("raw")[0]][-1] == "wild"


def test_matched_accuracy_is_that_of_the_images_all_get_right(tmp_path):
    shifted = replace(BRIGHT, answer=lambda views: brightness(views + 0.5), spec="zoo/shifted")
    asked = _audit(BRIGHT, tmp_path / "asked", _samples(labels=False))
    answers = {row["image"]: row["ref"] for part in read_parts(asked.folder) for row in part.table.to_pylist()}
    samples = [replace(sample, label=answers[sample.id] if at % 4 else 0) for at, sample in enumerate(_samples())]
    two = [_audit(model, tmp_path / model.spec, samples) for model in (BRIGHT, shifted)]
    flips, pairs, right = [{} for _ in two], [{} for _ in two], []
    for at, audit in enumerate(two):
        good = set()
        for part in read_parts(audit.folder):
            rows = part.table.to_pylist()
            for before, row in zip([None, *rows], rows, strict=False):
                image = row["image"]
                if row["ref"] == row["label"]:
                    good.add(image)
                if row["step"]:
                    flips[at][image] = flips[at].get(image, 0) + (row["top1"] != before["top1"])
                    pairs[at][image] = pairs[at].get(image, 0) + 1
        right.append(good)
    both = right[0] & right[1]
    assert 0 < len(both) < 24
    comparison = compare(two)
    assert comparison.images["right"] == len(both)
    for at, compared in enumerate(comparison.audits):
        naive = np.mean([flips[at][image] / pairs[at][image] for image in both])
        assert compared.stability["matched_accuracy"].value == pytest.approx(naive)
        assert compared.stability["matched_accuracy"].images == len(both)


def test_differences_are_paired_by_image(audits):
    comparison = compare(audits)
    assert comparison.audits[0].against_first == {}
    for figure in (figure for figure in FIGURES if figure not in comparison.absent):
        best = comparison.steadiest(figure)
        assert figure not in best.against_steadiest
        for compared in comparison.audits:
            values = [one.stability[figure].value for one in (compared, comparison.audits[0], best)]
            if figure in compared.against_first:
                assert compared.against_first[figure].value == pytest.approx(values[0] - values[1])
            if compared is not best:
                assert compared.against_steadiest[figure].value == pytest.approx(values[0] - values[2])


def test_a_copy_differs_by_nothing(audits, tmp_path):
    shutil.copytree(audits[2].folder, tmp_path / "copy")
    comparison = compare([audits[2], read_audit(tmp_path / "copy")])
    first, copy = comparison.audits
    assert first.stability == copy.stability
    assert "matched_margin" in first.stability
    for figure, found in copy.against_first.items():
        assert found.value == 0, figure
        assert found.low < 0 < found.high
    assert comparison.told_apart("raw") == ([], [copy])
    assert any("are the same audit" in note for note in comparison.notes)


def test_images_that_one_audit_skipped_are_left_out_of_all(tmp_path):
    def unreadable():
        raise InputError("no readable image")

    samples = _samples()
    broken = [Sample(sample.id, sample.label, unreadable) if at in (0, 7, 8) else sample
              for at, sample in enumerate(samples)]  # fmt: skip
    whole, holed = _audit(WILD, tmp_path / "a", samples), _audit(WILD, tmp_path / "b", broken)
    one, other = (compare(pair) for pair in ([whole, holed], [holed, whole]))
    for comparison in (one, other):
        assert (comparison.images["common"], comparison.images["listed"]) == (21, 24)
        assert comparison.audits[0].stability == comparison.audits[1].stability
        assert comparison.audits[0].against_steadiest == {} or comparison.audits[1].against_steadiest == {}
        assert any("21 of 24 images" in note for note in comparison.notes)
    assert one.audits[0].stability["raw"] == holed.metrics["p_top1_change"]


def test_nothing_in_common_is_refused(tmp_path):
    def unreadable():
        raise InputError("no readable image")

    samples = _samples(4)
    halves = [[replace(sample, read=unreadable) if at // 2 == half else sample for at, sample in enumerate(samples)]
              for half in (0, 1)]  # fmt: skip
    audits = [_audit(WILD, tmp_path / str(half), samples) for half, samples in enumerate(halves)]
    with pytest.raises(InputError, match="no image could be used by every audit"):
        compare(audits)


@pytest.mark.parametrize("walk", ["sweep", "pairs", "random", "grid"])
def test_every_walk_can_be_compared_without_labels(walk, tmp_path):
    options = {"walk": walk, "steps": None}
    audits = [_audit(model, tmp_path / model.spec, _samples(8, labels=False), **options) for model in (STEADY, WILD)]
    comparison = compare(audits)
    assert "matched_accuracy" in comparison.absent
    assert "no labels" in comparison.absent["matched_accuracy"]
    assert "accuracy" not in comparison.audits[0].metrics
    wild = comparison.audits[1]
    assert comparison.steadiest("raw").name == "steady"
    if walk == "random":
        assert wild.stability["raw"].value == pytest.approx(1 - wild.metrics["consistency"].value)
    else:
        assert wild.stability["raw"] == wild.metrics["p_top1_change"]


def test_no_change_leaves_a_change_possible(tmp_path):
    audits = [_audit(model, tmp_path / model.spec, pictures(40, (20, 26), labels=[0] * 40))
              for model in (STEADY, replace(STEADY, spec="zoo/other"))]  # fmt: skip
    shades = FakeModel(lambda views: np.tile([1.0, 0.0, 0.0], (len(views), 1)), spec="one", scores="logits")
    constant = [_audit(replace(shades, spec=name), tmp_path / name, pictures(40, (20, 26), labels=[0] * 40))
                for name in ("one", "two")]  # fmt: skip
    for compared in compare(constant).audits:
        assert set(compared.stability) == set(FIGURES)
        for found in compared.stability.values():
            assert found.value == found.low == 0
            assert found.high >= 1 - 0.025 ** (1 / 40) - 1e-12
        for found in compared.against_first.values():
            assert found.low < 0 < found.high
    assert compare(audits).told_apart("raw")[0] == []


def test_one_image_is_enough(tmp_path):
    comparison = compare([_audit(model, tmp_path / model.spec, _samples(1)) for model in (BRIGHT, WILD)])
    assert comparison.audits[1].against_first["raw"].high == 1


# Matched margin


def test_a_model_that_is_only_surer_is_no_steadier_at_matched_margin():
    sure, unsure = made(1, 4000, 8, sure=3.0), made(2, 4000, 8, sure=1.0)
    standard = make_standard([sure, unsure])
    one, other = (by_bin(pairs, standard, 4000) for pairs in (sure, unsure))
    assert unsure.changed.mean() > 2 * sure.changed.mean()
    found = standardised_difference(one, other, standard.weights)
    assert found.low < 0 < found.high
    assert abs(found.value) < 0.1 * (unsure.changed.mean() - sure.changed.mean())


def test_a_model_that_is_frailer_is_so_at_matched_margin_too():
    frail, firm = made(1, 1000, 8, sure=3.0, weak=0.6), made(2, 1000, 8, sure=1.0, weak=0.1)
    standard = make_standard([frail, firm])
    one, other = (by_bin(pairs, standard, 1000) for pairs in (frail, firm))
    assert standardised_difference(one, other, standard.weights).high < 0


@given(seeds=st.lists(st.integers(0, 1000), min_size=2, max_size=3), sure=st.sampled_from([0.3, 1.0, 3.0]),
       coarse=st.booleans())  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_the_standardised_rate_is_a_naive_loop(seeds, sure, coarse):
    models = [made(seed, 30, 24, sure=sure if at else 1.0) for at, seed in enumerate(seeds)]
    if coarse:  # an 8-bit model has many equal margins
        models = [pairs._replace(margin=np.round(pairs.margin)) for pairs in models]
    standard = make_standard(models)
    pool = np.sort(np.concatenate([pairs.margin for pairs in models]))
    edges = sorted({float(pool[-(-len(pool) * tenth // 10) - 1]) for tenth in range(1, 10)})
    np.testing.assert_allclose(standard.edges, edges)
    shares, weights = [[] for _ in models], []
    for low, high in zip([-np.inf, *edges], [*edges, np.inf], strict=True):
        inside = [(pairs.margin > low) & (pairs.margin <= high) for pairs in models]
        if min(chosen.sum() for chosen in inside) < LEAST_PAIRS:
            continue
        weights.append(sum(chosen.sum() for chosen in inside))
        for share, pairs, chosen in zip(shares, models, inside, strict=True):
            share.append(pairs.changed[chosen].mean())
    assert standard.covered == pytest.approx(sum(weights) / len(pool))
    for share, pairs in zip(shares, models, strict=True):
        if not weights:
            continue
        found = standardised_rate(*by_bin(pairs, standard, 30), standard.weights)
        assert found.value == pytest.approx(np.average(share, weights=weights))
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.high > found.low


def test_one_bin_is_the_rate_of_all_pairs():
    hits, counts = np.random.default_rng(0).binomial(8, 0.2, (50, 1)).astype(float), np.full((50, 1), 8.0)
    found, known = standardised_rate(hits, counts, np.ones(1)), rate(hits[:, 0], counts[:, 0], weighting="pairs")
    np.testing.assert_allclose([found.value, found.low, found.high], [known.value, known.low, known.high])
    other = hits[::-1].copy()
    found = standardised_difference((hits, counts), (other, counts), np.ones(1))
    known = rate_difference(hits[:, 0], counts[:, 0], other[:, 0], counts[:, 0], weighting="pairs")
    np.testing.assert_allclose([found.value, found.low, found.high], [known.value, known.low, known.high])


def test_a_bin_that_few_images_hold_widens_the_interval():
    counts = np.tile([4.0, 4.0], (100, 1))
    few = counts.copy()
    few[10:, 0] = 0
    broad, narrow = (standardised_rate(np.zeros((100, 2)), table, np.full(2, 0.5)) for table in (few, counts))
    assert narrow.high == pytest.approx(1 - 0.025 ** (1 / 100))
    assert broad.high > 0.5 * (1 - 0.025 ** (1 / 10)) > 4 * narrow.high


def test_the_order_of_images_does_not_matter():
    pairs = made(5)
    standard = make_standard([pairs, made(6)])
    hits, counts = by_bin(pairs, standard, 60)
    order = np.random.default_rng(0).permutation(60)
    assert standardised_rate(hits, counts, standard.weights) == standardised_rate(
        hits[order], counts[order], standard.weights
    )


@pytest.mark.parametrize("sure", [1.0, 3.0])
@pytest.mark.parametrize("weak", [0.5, 0.05])
def test_intervals_hold_the_truth(sure, weak):
    """Over images that are frail in different degrees; the truth is that of very many images, at the same edges."""
    truth, repeats = [], 200
    for one, two in ((1.0, 0.5), (sure, weak)):
        many = made(99, 100_000, 8, sure=one, weak=two)
        order = np.argsort(many.margin)
        truth.append((many.margin[order].astype(float), np.append(0, many.changed[order].cumsum())))
    held, told = 0, 0
    for seed in range(repeats):
        models = [made([seed, 0], 150, 8, 1.0, 0.5), made([seed, 1], 150, 8, sure, weak)]
        standard = make_standard(models)
        target = []
        for margins, hits in truth:
            ends = np.concatenate([[0], np.searchsorted(margins, standard.edges, side="right"), [len(margins)]])
            target.append(float(standard.weights @ (np.diff(hits[ends]) / np.diff(ends))[standard.kept]))
        tables = [by_bin(pairs, standard, 150) for pairs in models]
        found = standardised_rate(*tables[1], standard.weights)
        held += found.low <= target[1] <= found.high
        difference = standardised_difference(*tables, standard.weights)
        told += difference.low <= target[1] - target[0] <= difference.high
    assert held >= 0.9 * repeats
    assert told >= 0.9 * repeats


# Names


def test_names_are_short_and_never_alike(audits, tmp_path):
    shutil.copytree(audits[0].folder, tmp_path / "a" / "out")
    shutil.copytree(audits[0].folder, tmp_path / "b" / "out")
    shutil.copytree(audits[0].folder, tmp_path / "b" / "out" / "deep")
    found = [read_audit(tmp_path / place) for place in ("a/out", "b/out", "b/out/deep")]
    assert short_names([found[0], audits[1]]) == ["steady", "bright"]
    assert short_names(found[:2]) == ["steady (a)", "steady (b)"]
    assert short_names(found[1:]) == ["steady (out)", "steady (deep)"]
    assert len(set(short_names([*found, *audits]))) == 6


# Refusals


def _one_line(error):
    assert "\n" not in str(error.value)
    assert "; " in str(error.value)  # what to do


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_are_refused(audits, count):
    with pytest.raises(InputError, match=f"{count} audits to compare") as error:
        compare(audits[:count])
    _one_line(error)


def test_one_folder_twice_is_refused(audits):
    with pytest.raises(InputError, match="given twice") as error:
        compare([audits[0], audits[1], replace(audits[0], folder=audits[0].folder / ".." / audits[0].folder.name)])
    _one_line(error)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"motion": "roll", "steps": 7}, "its motion is roll, not crop"),
        ({"walk": "pairs", "steps": None}, "its walk is pairs, not sweep"),
        ({"steps": 9}, "its walk's steps is 9, not 17"),
        ({"direction": "diagonal"}, "its walk's direction is diagonal, not vertical"),
        ({"seed": 1}, "its seed is 1, not 0"),
    ],
)
def test_audits_that_asked_something_else_are_refused(options, reason, tmp_path):
    audits = [_audit(WILD, tmp_path / "a", _samples(3)), _audit(WILD, tmp_path / "b", _samples(3), **options)]
    with pytest.raises(InputError, match=reason) as error:
        compare(audits)
    _one_line(error)


def test_other_options_of_a_motion_and_other_tasks_are_refused(audits):
    other = replace(audits[1], motion={**audits[1].motion, "fill": "mean"})
    with pytest.raises(InputError, match="its motion's fill is mean, not None"):
        compare([audits[0], other])
    other = replace(audits[1], model={**audits[1].model, "task": "embed"})
    with pytest.raises(InputError, match="its task is embed, not classify"):
        compare([audits[0], other])


@pytest.mark.parametrize("motion", ["rotate", "scale", "subpixel"])
def test_models_with_other_floors_can_be_compared(motion, tmp_path):
    large = replace(BRIGHT, view_size=(12, 12), preprocessing=replace(BRIGHT.preprocessing, resize_px=12))
    audits = [_audit(model, tmp_path / str(at), _samples(3), motion=motion, steps=5)
              for at, model in enumerate((BRIGHT, large))]  # fmt: skip
    assert audits[0].motion["floor"] != audits[1].motion["floor"]
    assert "floor" not in compare(audits).to_json()["motion"]
    shares = [{"floor": {**audits[0].motion["floor"], "share": share}} for share in (0.1, 0.12, 0.4)]
    few, more, many = (replace(audit, motion={**audit.motion, **floor})
                       for audit, floor in zip((audits[0], audits[1], audits[1]), shares, strict=True))  # fmt: skip
    assert "Interpolation's own share" not in " ".join(compare([few, more]).notes)
    assert "differs: 10% (bright (0)); 40% (bright (1))." in " ".join(compare([few, many]).notes)
    none = replace(few, motion={**few.motion, "floor": None})
    assert compare([none, many]).notes


def test_other_images_are_refused(tmp_path):
    samples = _samples(6)
    audits = [_audit(WILD, tmp_path / "a", samples[:5]), _audit(WILD, tmp_path / "b", samples[1:])]
    with pytest.raises(InputError, match=r"other images .* 4 of them are among the other's 5") as error:
        compare(audits)
    _one_line(error)


def test_other_labels_leave_stability(tmp_path):
    none, some = _samples(labels=False), _samples()
    other = [replace(sample, label=3) for sample in some]
    audits = [_audit(WILD, tmp_path / str(at), samples) for at, samples in enumerate((some, none, other))]
    for pair, reason in (
        (audits[:2], "wild (1) was audited without labels"),
        (audits[::2], "the audits have different labels"),
    ):
        comparison = compare(pair)
        assert reason in comparison.absent["matched_accuracy"]
        assert comparison.audits[1].against_first["raw"].value == 0
        assert not {"accuracy", "change_if_right"} & set(comparison.audits[0].metrics)


# Notes


def test_what_differs_is_noted(tmp_path):
    wide = replace(BRIGHT, view_size=(12, 12), preprocessing=replace(BRIGHT.preprocessing, resize_px=12))
    comparison = compare([_audit(model, tmp_path / str(at)) for at, model in enumerate((BRIGHT, wide, STEADY))])
    notes = " ".join(comparison.notes)
    assert "8 × 8 px of short side 16 px (bright (0), steady)" in notes
    assert "enlarged by different factors" in notes
    assert "16 (bright (0), bright (1)); 12 (steady)" in notes


def test_json_is_plain(audits, tmp_path):
    import json

    sized = [replace(audit, model={**audit.model, "size": {"parameters": 10, "bytes": None, "layers": 3}})
             for audit in audits]  # fmt: skip
    content = compare(sized).to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == json.loads(json.dumps(content))
    assert content["schema"] == 1
    assert content["audits"][0]["size"]["layers"] == 3
    assert set(content["steadiest"]) | set(content["absent"]) == set(FIGURES)


def test_a_model_that_always_changes(tmp_path):
    audits = [sh.audit(model, checkerboards(4), motion="roll", steps=8, out=tmp_path / model.spec)
              for model in (FakeModel(parity, spec="parity"), STEADY)]  # fmt: skip
    comparison = compare(audits)
    assert comparison.audits[0].stability["raw"].high == 1
    assert [compared.name for compared in comparison.told_apart("raw")[0]] == ["parity"]
