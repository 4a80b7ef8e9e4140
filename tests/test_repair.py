"""The repair: what is measured, how it is chosen, what is refused; and that a stopped one goes on."""

import re
from dataclasses import replace
from math import nan
from time import sleep

import numpy as np
import pytest
from fakes import FakeModel, hashed, histogram, pictures
from hypothesis import given
from hypothesis import strategies as st

from shiftable.auditing import Estimate, audit, read_audit
from shiftable.errors import InputError
from shiftable.models.preprocessing import CropSelection, Preprocessing
from shiftable.repairing import timing
from shiftable.repairing.candidates import Candidate, images_needed, measured
from shiftable.repairing.choosing import Limits, choose, closest, helps
from shiftable.repairing.crop_selection import with_center_crop, with_stable_crop
from shiftable.repairing.frames import find_images
from shiftable.repairing.measuring import key
from shiftable.repairing.parting import FEWEST, split
from shiftable.repairing.plan import Phases, Plan, repaired
from shiftable.repairing.refusing import nothing_chosen, refuse_steady
from shiftable.repairing.repair import repair
from shiftable.repairing.timing import time_ratio
from shiftable.repairing.verification import centred

pytest.importorskip("torch")
from shiftable.surgery.edits import Edit

UNTIMED = {"budget": 1000.0}
"""The fake model takes no time, and choosing a crop some."""


def estimate(value, reach=0.0, images=100):
    return Estimate(value, value - reach, value + reach, images, images)


def candidate(name, *, room_px=0, removed=0.05, before=0.1, time=1.0, agreement=1.0, accuracy=None, reach=0.01):
    return Candidate(
        name,
        Plan(crop=CropSelection(room_px=room_px)) if room_px else Plan(),
        estimate(before - removed),
        estimate((before - removed) / 2),
        estimate(removed, reach),
        estimate(removed / 2, reach / 2),
        estimate(agreement),
        estimate(agreement),
        None if accuracy is None else estimate(accuracy, reach),
        estimate(time),
    )


def jumping(**fields):
    """A model that answers something else at every step, shown noise of which a crop can keep hold."""
    return FakeModel(hashed, (24, 24), Preprocessing(resize_px=32), "logits", **fields)


def noise(count, labels=None):
    return pictures(count, (64, 72), labels)


# What is measured.


def test_doing_nothing_removes_and_costs_nothing(tmp_path):
    model, images = with_center_crop(jumping()), noise(8, labels=list(range(8)))
    one, other = (audit(model, images, walk="pairs", controls=False, out=tmp_path / name) for name in "ab")
    found = measured("nothing", Plan(), one, other, estimate(1.0))
    assert (found.flips_removed.value, found.mac_removed.value, found.accuracy_change.value) == (0, 0, 0)
    assert found.agreement.value == found.same_answer.value == 1
    assert not helps(found)


def test_what_one_removes_the_other_brings_back(tmp_path):
    images = noise(12, labels=list(range(12)))
    models = with_center_crop(jumping()), with_stable_crop(jumping())
    one, other = (
        audit(model, images, walk="pairs", controls=False, out=tmp_path / name)
        for model, name in zip(models, "ab", strict=True)
    )
    there, back = measured("", Plan(), one, other, estimate(1.0)), measured("", Plan(), other, one, estimate(1.0))
    assert there.flips_removed.value == pytest.approx(-back.flips_removed.value)
    assert there.flips_removed.value > 0
    assert there.mac_removed.low == pytest.approx(-back.mac_removed.high, abs=0.02)
    assert there.flips.value + there.flips_removed.value == pytest.approx(one.metrics["p_top1_change"].value)
    assert there.flips.value == pytest.approx(other.metrics["p_top1_change"].value)


def test_agreement_is_with_the_original_on_the_same_pixels(tmp_path):
    """A chosen crop asks the same net about other pixels: that is no disagreement."""
    images = noise(12)
    before = audit(with_center_crop(jumping()), images, walk="pairs", controls=False, out=tmp_path / "a")
    after = audit(with_stable_crop(jumping()), images, walk="pairs", controls=False, out=tmp_path / "b")
    found = measured("", Plan(), before, after, estimate(1.0), alike=after)
    assert found.agreement.value == 1 > found.same_answer.value


def test_the_ratio_is_of_medians_of_sums(monkeypatch):
    """Two models whose times are known: one has a slow picture, and one outlier, which does not count."""
    clock = [0.0]
    calls = []

    def model(cost):
        def answer(views):
            calls.append(cost)
            clock[0] += cost * (3 if views[0, 0, 0, 0] else 1) * (50 if len(calls) == 20 else 1)
            return histogram(views)

        return FakeModel(answer)

    monkeypatch.setattr(timing, "perf_counter", lambda: clock[0])
    images = [np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)]
    found = time_ratio(model(1.0), model(1.5), images)
    assert found.value == pytest.approx(1.5)
    assert found.low <= 1.5 <= found.high
    assert (found.images, found.pairs) == (2, 2 * timing.ROUNDS)


@given(value=st.floats(0.001, 0.5), reach=st.floats(0.001, 0.5), more=st.floats(1.1, 10))
def test_larger_gains_need_fewer_images(value, reach, more):
    needed = images_needed(estimate(value, reach))
    assert needed >= images_needed(estimate(value * more, reach))
    # with so many, the interval is as short as its square root says, and leaves out 0 with room to spare
    assert reach * (100 / needed) ** 0.5 <= value * 1.96 / 2.8 * (1 + 1e-9)


def test_no_gain_is_not_made_one_by_more_images():
    assert images_needed(estimate(0.0, 0.1)) is None
    assert images_needed(estimate(-0.1, 0.2)) is None
    assert images_needed(Estimate(0.1, nan, nan, 1, 1)) is None


# How it is chosen.

EFFECTS = st.lists(
    st.tuples(st.floats(-0.05, 0.1), st.floats(0.9, 1.6), st.floats(0.5, 1), st.floats(-0.1, 0.05)), max_size=8
)


@given(effects=EFFECTS, budget=st.floats(1, 1.5))
def test_every_step_keeps_the_limits_and_makes_a_difference(effects, budget):
    candidates = [
        candidate(str(at), room_px=at + 1, removed=removed, time=time, agreement=agreement, accuracy=accuracy)
        for at, (removed, time, agreement, accuracy) in enumerate(effects)
    ]
    limits, left = Limits(budget), {key(each.plan): each for each in candidates}

    def removed(one, other):
        gain = one.flips.value - other.flips.value
        return estimate(gain, 0.01), estimate(gain / 2, 0.005)

    chosen = choose(candidates, limits, lambda name, plan: replace(left[key(plan)], name=name), removed)
    assert all(limits.exceeded(each) is None for each in chosen.steps)
    flips = [each.flips.value for each in chosen.steps]
    assert flips == sorted(flips, reverse=True)
    assert bool(chosen.steps) == any(helps(each) and limits.exceeded(each) is None for each in candidates)
    assert all(helps(each) for each in chosen.steps[:1])


def test_gains_are_not_added_up_but_measured():
    """Two candidates that are the same remedy in other words: together they are no better, so one is taken."""
    one = replace(candidate("one", removed=0.08), plan=Plan(edits=(Edit("a"),)))
    other = replace(candidate("other", removed=0.05), plan=Plan(edits=(Edit("b"),)))
    asked = []

    def measure(name, plan):
        asked.append([edit.site for edit in plan.edits])
        return replace(one, name=name, plan=plan)

    nothing = estimate(0.0, 0.01), estimate(0.0, 0.01)
    found = choose([other, one], Limits(), measure, lambda before, after: nothing)
    assert [each.name for each in found.steps] == ["one"]
    assert asked == [["a", "b"]]
    assert len(found.combined) == 1


def test_phases_are_not_added_to_a_crop_that_keeps_them():
    crop = candidate("crop", room_px=4)
    phases = replace(candidate("phases"), plan=Plan(phases=Phases(((0, 0), (0, 2)))))
    found = choose([crop, phases], Limits(), lambda *_: pytest.fail("tried"), lambda *_: pytest.fail("tried"))
    assert found.combined == ()


def test_the_closest_is_what_needs_the_least_more():
    dear, slow = candidate("dear", time=2.0), candidate("slow", time=1.2)
    useless = candidate("useless", removed=0.0, time=1.0)
    assert closest([dear, slow, useless], Limits(1.1)).name == "slow"
    assert closest([useless], Limits(1.1)) is None


def test_limits_say_what_is_too_much():
    limits = Limits(1.1, 0.9, 0.02)
    assert limits.exceeded(candidate("", time=1.1, agreement=0.9, accuracy=-0.02)) is None
    assert "1.20 times" in limits.exceeded(candidate("", time=1.2))
    assert "80%" in limits.exceeded(candidate("", agreement=0.8))
    assert "3.0 points" in limits.exceeded(candidate("", accuracy=-0.03))


@given(count=st.integers(2, 200), finetune=st.booleans())
def test_no_image_serves_two_ends(count, finetune):
    samples = pictures(count, (2, 2))
    parts, remarks = split(samples, (), 10 if finetune else 0)
    ids = [{sample.id for sample in part} for part in (parts.choosing, parts.proving, parts.tuning)]
    assert set.union(*ids) == {sample.id for sample in samples}
    assert not ids[0] & ids[2]
    assert not ids[1] & ids[2]
    if count - len(ids[2]) >= FEWEST:
        assert not ids[0] & ids[1]
        assert abs(len(ids[0]) - len(ids[1])) <= 1
    else:
        assert ids[0] == ids[1]
        assert any("flattered" in remark or "flatters" in remark for remark in remarks)


def test_plans_have_folders_of_their_own():
    plans = [Plan(), Plan(crop=CropSelection()), Plan(crop=CropSelection(room_px=8)), Plan(measured={"a": 1})]
    assert [key(plan) for plan in plans].count("before") == 2
    assert len({key(plan) for plan in plans}) == 3


# From one end to the other.


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A repair of the jumping model, and how its views were before."""
    folder = tmp_path_factory.mktemp("repaired")
    labels = [number % 20 for number in range(FEWEST)]
    return repair(jumping(), noise(FEWEST, labels), **UNTIMED, walks=1, out=folder)


def test_a_jumping_model_is_held_still(done):
    model, found = done
    assert isinstance(model.preprocessing.crop, CropSelection)
    assert found.plan.crop == model.preprocessing.crop
    assert found.verified.flips_removed.low > 0.2
    assert found.verified.agreement.value == 1


def test_it_is_proved_on_other_images_and_the_same_views(done):
    _, found = done
    first, last = (compared.audit for compared in found.comparison.audits)
    assert first.images["sha256"] == last.images["sha256"]
    assert first.walk == last.walk
    assert first.seed == last.seed
    assert first.motion["enlarged"] == last.motion["enlarged"]
    chosen_on = read_audit(found.folder / "measured" / "before")
    assert chosen_on.images["sha256"] != first.images["sha256"]
    assert first.images["listed"] + chosen_on.images["listed"] == FEWEST


def test_what_is_audited_is_what_is_given_back(done):
    model, found = done
    again = audit(model, noise(FEWEST, [n % 20 for n in range(FEWEST)])[1::2], walk="pairs", walks=1)
    assert again.metrics == found.comparison.audits[1].audit.metrics


def test_a_stopped_repair_goes_on_and_ends_in_the_same(tmp_path):
    class Stopped(Exception):
        pass

    def stop(shown, in_all):
        if shown > 12:
            raise Stopped

    model, images = jumping(), noise(12)
    with pytest.raises(Stopped):
        repair(model, images, **UNTIMED, walks=1, out=tmp_path / "stopped", progress=stop)
    assert not (tmp_path / "stopped" / "repair.json").exists()
    _, again = repair(model, images, **UNTIMED, walks=1, out=tmp_path / "stopped")
    _, straight = repair(model, images, **UNTIMED, walks=1, out=tmp_path / "straight")
    assert [each.flips for each in again.candidates] == [each.flips for each in straight.candidates]
    assert again.verified.flips == straight.verified.flips
    before = (tmp_path / "stopped" / "repair.json").read_bytes()
    repair(model, images, **UNTIMED, walks=1, out=tmp_path / "stopped")
    assert (tmp_path / "stopped" / "repair.json").read_bytes() == before  # times were not taken again either


def test_another_repair_is_not_overwritten_unasked(tmp_path):
    images = noise(12)
    repair(jumping(), images, **UNTIMED, walks=1, out=tmp_path)
    with pytest.raises(InputError, match=r"another repair.*walks"):
        repair(jumping(), images, **UNTIMED, walks=3, out=tmp_path)
    _, other = repair(jumping(), images, 500, walks=1, out=tmp_path)  # other limits: the same measurements serve
    assert other.settings["budget"] == 500
    (tmp_path / "mine.txt").write_text("stays")
    repair(jumping(), images, **UNTIMED, walks=3, out=tmp_path, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "stays"


def test_few_images_are_used_twice_and_it_is_said():
    _, found = repair(jumping(), noise(12), **UNTIMED, walks=1)
    assert any("chosen by" in remark for remark in found.remarks)
    assert found.settings["choosing"] == found.settings["proving"] == 12


def test_how_many_images_would_tell_is_said():
    unsure = candidate("crop", removed=0.05, reach=0.06)
    said = str(nothing_chosen([unsure], {}, Limits(), jumping()))
    assert re.search(r"too few images to tell: crop .* give about \d+ images", said)


def test_what_is_refused_names_the_limits_under_which_it_would_do():
    limits = Limits(1.1, 0.9, 0.02)
    near = candidate("blur", time=1.2, agreement=0.8, accuracy=-0.05)
    said = str(nothing_chosen([near], {}, limits, jumping()))
    flags = dict(
        zip(*[iter(re.findall(r"--[a-z-]+|[\d.]+$|[\d.]+(?= and)", said.partition("; give ")[2]))] * 2, strict=True)
    )
    raised = Limits(*(float(flags[f"--{name}"]) for name in ("budget", "min-agreement", "max-accuracy-loss")))
    assert limits.exceeded(near)
    assert not raised.exceeded(near)


def test_a_loss_of_accuracy_that_may_be_chance_is_let_pass():
    assert Limits(max_accuracy_loss=0.02).exceeded(candidate("crop", accuracy=-0.05, reach=0.02))
    assert not Limits(max_accuracy_loss=0.02).exceeded(candidate("crop", accuracy=-0.05, reach=0.06))


def test_a_model_that_nothing_names_is_given_back_but_not_written(done):
    _, found = done
    assert any("not written" in remark for remark in found.remarks)
    assert (found.folder / "repair.json").is_file()


def test_a_video_gives_frames_equally_far_apart(tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed")
    film = tmp_path / "film.mp4"
    write_film(film, frames=20)
    samples = find_images(film, tmp_path / "frames", 5)
    assert [int(sample.id.removesuffix(".png")) for sample in samples] == [0, 4, 8, 12, 16]
    levels = [sample.read().mean() for sample in samples]
    assert levels == sorted(levels)
    film.unlink()  # they are there: the video is not read again
    assert len(find_images(film, tmp_path / "frames", 5)) == 5


def write_film(path, frames):
    """Frames that become lighter."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            picture = np.full((48, 64, 3), 10 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


# What is refused.


def test_nothing_to_repair_and_too_few_to_see_are_told_apart():
    still, images = FakeModel(histogram, (24, 24), Preprocessing(resize_px=24)), noise(4)
    found = audit(still, images, motion="roll", walk="pairs", controls=False)
    with pytest.raises(InputError, match=r"no answer changes.*give 736 images"):
        refuse_steady(found, still)
    many = replace(found, metrics={"p_top1_change": Estimate(0.0, 0.0, 0.003, 1200, 9600)})
    with pytest.raises(InputError, match="nothing to repair"):
        refuse_steady(many, still)


def test_what_takes_far_too_long_is_said_and_not_measured():
    with pytest.raises(InputError, match=r"nothing comes near the budget: crop .* takes .* times as long"):
        repair(
            FakeModel(lambda views: np.eye(20)[views[:, 0, 0, 0] % 20], (24, 24), Preprocessing(resize_px=24)),
            pictures(16, (32, 32)),
            budget=0.01,
            walks=2,
        )


def test_a_budget_that_nothing_meets_names_the_closest():
    def slowly(views):
        sleep(0.004)
        return hashed(views)

    with pytest.raises(InputError, match=r"closest is crop .* removes \d+% .*takes .* give --budget"):
        repair(replace(jumping(), answer=slowly), noise(16), budget=0.01, walks=2)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"budget": 0}, "--budget"),
        ({"min_agreement": 2}, "--min-agreement"),
        ({"max_accuracy_loss": -1}, "--max-accuracy-loss"),
        ({"motion": "rotate"}, "--motion.*crop or camera"),
        ({"walk": "grid"}, "--walk"),
        ({"finetune": -1}, "--finetune"),
        ({"tune_images": "photos"}, "--tune-images"),
    ],
)
def test_slips_are_told_before_the_work(asked, message):
    with pytest.raises(InputError, match=message):
        repair(FakeModel(lambda views: pytest.fail("asked")), noise(2), **asked)


def test_only_classifiers_are_repaired():
    with pytest.raises(InputError, match="task is 'embed'"):
        repair(jumping(task="embed"), noise(2))


# The views that are compared.


def test_the_model_as_it_is_is_shown_the_same_larger_views():
    for plan in (Plan(crop=CropSelection(room_px=6)),):
        before, after = repaired(jumping(), centred(plan)), repaired(jumping(), plan)
        assert before.view_size == after.view_size
        assert before.preprocessing.crop.larger((24, 24)) == after.preprocessing.crop.larger((24, 24))
        assert before.preprocessing.resize_px == after.preprocessing.resize_px
    assert centred(Plan()) == Plan()
