"""`explain` on models that nobody can look into. Nothing here needs torch."""

import numpy as np
import pytest
from fakes import FakeModel, hashed, pictures

import shiftable as sh
from shiftable.errors import InputError


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_black_boxes_are_told_by_their_answers(direction):
    def grid(views):  # every fourth row and column, and a ReLU
        seen = views[:, ::4, ::4].astype(float) / 255
        maps = np.maximum(seen @ np.random.default_rng(1).normal(size=(3, 6)), 0.3)
        return 8 * maps.mean(axis=(1, 2))

    model = FakeModel(grid, view_size=(32, 32), preprocessing=sh.Preprocessing(resize_px=64), scores="logits")
    found = sh.explain(model, pictures(12, (64, 80)), direction=direction)
    assert found.structure is None
    assert found.responses == ()
    assert found.outside.stride_px == 4
    assert any(each.figure == "outside" for each in found.findings)


def test_a_steady_model_has_nothing_to_find():
    model = FakeModel(lambda views: np.tile([3.0, 1.0], (len(views), 1)), scores="logits")
    found = sh.explain(model, pictures(8))
    assert [each.cause for each in found.findings] == ["nothing"]
    assert found.risk(np.array([2.0])) < 1


def test_a_black_box_has_no_layers():
    with pytest.raises(InputError, match="--layer needs a net to look into"):
        sh.explain(FakeModel(hashed, scores="logits"), pictures(2), layers=["features"])
    with pytest.raises(InputError, match="--interventions needs a net"):
        sh.explain(FakeModel(hashed, scores="logits"), pictures(2), interventions=True)
