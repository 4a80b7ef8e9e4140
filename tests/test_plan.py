"""A plan is plain values; done on a model it gives another, and leaves the model as it was. No torch needed."""

import json
from dataclasses import replace
from math import inf

import pytest
from fakes import FakeModel, hashed, histogram
from hypothesis import given
from hypothesis import strategies as st

from shiftable.auditing import audit
from shiftable.errors import InputError
from shiftable.models.crop_rules import RULES
from shiftable.models.preprocessing import CropSelection, Preprocessing
from shiftable.repairing.phase_average import PhaseAveraged
from shiftable.repairing.plan import SCHEMA, Phases, Plan, repaired, source_of, together

MODEL = FakeModel(hashed, view_size=(16, 20), preprocessing=Preprocessing(resize_px=24))

CROPS = st.fixed_dictionaries(
    {"rule": st.sampled_from(sorted(RULES)), "room_px": st.integers(0, 64), "width_px": st.integers(1, 9)}
)
PHASES = st.fixed_dictionaries(
    {
        "offsets_px": st.lists(st.tuples(st.integers(-16, 16), st.integers(-16, 16)), min_size=1, max_size=4),
        "around": st.sampled_from(["picture", "circle"]),
        "room_px": st.integers(0, 32),
        "only_below": st.none() | st.floats(0, 10),
    }
)
VALUES = st.fixed_dictionaries(
    {
        "resize_px": st.none() | st.integers(24, 30) | st.just((24, 40)),
        "crop": st.none() | CROPS,
        "phases": st.none() | PHASES,
        "measured": st.dictionaries(st.text(max_size=4), st.none() | st.lists(st.booleans()), max_size=3),
    }
)


def plan_of(values):
    """A plan of drawn values, made in the test: types are not checked while values are drawn."""
    resize_px, crop, phases = values["resize_px"], values["crop"], values["phases"]
    source = None if resize_px is None else replace(source_of(MODEL), preprocessing=Preprocessing(resize_px))
    return Plan(
        source,
        None if crop is None else CropSelection(**crop),
        None if phases is None else Phases(**{**phases, "offsets_px": tuple(phases["offsets_px"])}),
        measured=values["measured"],
    )


def refused(found):
    """The one line with which JSON is refused, naming what to do."""
    with pytest.raises(InputError) as caught:
        Plan.from_json(found, "out/plan.json")
    assert "\n" not in str(caught.value)
    assert "out/plan.json" in str(caught.value)
    assert caught.value.todo
    return str(caught.value)


@given(VALUES)
def test_json_and_back_is_the_same_plan(values):
    plan = plan_of(values)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "no plan"),
        ({}, "no plan"),
        ({"schema": SCHEMA + 1}, "schema"),
        ({"schema": SCHEMA, "edit": []}, "'edit'"),
        ({"schema": SCHEMA, "edits": 3}, "edits"),
        ({"schema": SCHEMA, "crop": 3}, "crop"),
        ({"schema": SCHEMA, "crop": {"rule": "croft"}}, "'croft'"),
        ({"schema": SCHEMA, "crop": {"room_px": "wide"}}, "'wide'"),
        ({"schema": SCHEMA, "crop": {"room_px": -1}}, "room_px"),
        ({"schema": SCHEMA, "phases": {}}, "offsets_px"),
        ({"schema": SCHEMA, "phases": {"offsets_px": [[0]]}}, "offsets_px"),
        ({"schema": SCHEMA, "source": {"spec": "demo", "view": [1, 1]}}, "'view'"),
    ],
)
def test_what_is_no_plan_is_refused(found, said):
    assert said in refused(found)


def test_an_empty_plan_gives_the_model():
    assert repaired(MODEL, Plan()) == MODEL


def test_a_crop_is_done_as_planned():
    found = repaired(MODEL, Plan(crop=CropSelection("ripples", 4, 3)))
    assert found.preprocessing.crop == CropSelection("ripples", 4, 3)
    assert found.preprocessing.resize_px == 24  # 16 + 4 and 20 + 4 fit
    assert replace(found, preprocessing=MODEL.preprocessing) == MODEL
    assert MODEL.preprocessing == Preprocessing(resize_px=24)


def test_phases_are_done_as_planned():
    found = repaired(MODEL, Plan(phases=Phases(((0, 0), (2, -1)), room_px=8)))
    assert isinstance(found, PhaseAveraged)
    assert (found.offsets_px, found.around, found.only_below) == (((0, 0), (2, -1)), "picture", inf)
    assert found.view_size == (24, 28)
    assert repaired(MODEL, Plan(phases=Phases(((0, 0), (1, 1)), only_below=0.5))).only_below == 0.5


def test_a_planned_crop_holds_still_what_it_promises():
    """Answers that depend on every pixel change when the view does, and only then."""
    model = replace(MODEL, view_size=(48, 48), preprocessing=Preprocessing(resize_px=64))
    crop = audit(repaired(model, Plan(crop=CropSelection(room_px=8))), "shapes", count=4, steps=9, controls=False)
    plain = audit(model, "shapes", count=4, steps=9, controls=False)
    assert plain.metrics["p_top1_change"].value > 0.5
    assert crop.metrics["p_top1_change"].value < 0.5 * plain.metrics["p_top1_change"].value


@given(VALUES, VALUES)
def test_together_keeps_the_first_and_fills_in_from_the_second(values, others):
    first, second = plan_of(values), plan_of(others)
    both = together(first, second)
    for name in ("source", "crop", "phases", "finetune"):
        assert getattr(both, name) == (getattr(first, name) or getattr(second, name))
    assert together(both, second) == both
    assert together(Plan(), both) == together(both, Plan()) == both


def test_what_is_no_net_has_no_surgery():
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match="PyTorch"):
        repaired(MODEL, Plan(), torch.nn.Flatten())


def test_the_source_says_how_the_model_was_opened():
    model = FakeModel(histogram, class_names=("a", "b"))
    source = source_of(model)
    assert (source.spec, source.view_size, source.preprocessing) == ("fake", (8, 8), model.preprocessing)
    assert (source.scores, source.class_names, source.task) == ("probabilities", ("a", "b"), "classify")
