"""Walks: through the deployed place, inside the image, one pixel a step, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiftable.auditing.walks import DIRECTIONS, SHAPES, lay_walks, make_walk
from shiftable.errors import InputError

ROOM = range(-16, 17)
directions = pytest.mark.parametrize("direction", DIRECTIONS)


def _lay(walk, dy=ROOM, dx=ROOM, seed=0):
    return lay_walks(walk, dy, dx, np.random.default_rng(seed))


@directions
def test_sweep_passes_the_deployed_place_pixel_by_pixel(direction):
    (places,) = _lay(make_walk("sweep", direction=direction))
    assert len(places) == 33
    assert [0, 0] in places.tolist()
    assert (np.diff(places, axis=0) == DIRECTIONS[direction]).all()
    assert abs(places.sum(axis=0)).max() == 0  # centred


@directions
def test_pairs_are_one_step_apart_and_inside(direction):
    walks = _lay(make_walk("pairs", walks=500, direction=direction), range(-3, 4), range(-40, 2))
    assert {tuple(np.diff(pair, axis=0)[0]) for pair in walks} == {DIRECTIONS[direction]}
    places = np.concatenate(walks)
    assert (places.min(axis=0) >= (-3, -40)).all()
    assert (places.max(axis=0) <= (3, 1)).all()
    assert (places.min(axis=0) == (-3, -40)).all()  # 500 draws reach every border
    assert (places.max(axis=0) == (3, 1)).all()


def test_random_places_are_those_of_zhang():
    places = np.concatenate(_lay(make_walk("random", walks=2000)))
    windows = 16 - places  # the place of a 224 px window in 256 px
    assert windows.min() == 0
    assert windows.max() == 31
    assert abs(np.corrcoef(places[::2, 0], places[1::2, 0])[0, 1]) < 0.1  # independent


def test_grid_walks_every_row_and_column_once():
    walks = _lay(make_walk("grid", radius_px=2))
    assert len(walks) == 10
    assert len({tuple(place) for walk in walks for place in walk.tolist()}) == 25
    assert all(np.abs(np.diff(walk, axis=0)).sum(axis=1).tolist() == [1] * 4 for walk in walks)
    assert make_walk("grid", radius_px=2).views == 25


@given(st.sampled_from(sorted(SHAPES)), st.integers(0, 2**32))
def test_same_seed_same_places(shape, seed):
    one, two = _lay(make_walk(shape), seed=seed), _lay(make_walk(shape), seed=seed)
    assert all((a == b).all() for a, b in zip(one, two, strict=True))


def test_leaving_the_image_says_which_step_and_how_far():
    with pytest.raises(InputError, match=r"step 0 \(dy = -16 px\) leaves the image; 6 px are missing"):
        _lay(make_walk("sweep"), range(-10, 11), ROOM)
    with pytest.raises(InputError, match="no room"):
        _lay(make_walk("pairs"), ROOM, range(0, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": "swep"}, "did you mean sweep"),
        ({"direction": "up"}, "vertical"),
        ({"shape": "grid", "direction": "vertical"}, "a grid walk has no direction"),
        ({"shape": "pairs", "steps": 3}, "a pairs walk has no steps"),
        ({"steps": 1}, "2 or more"),
        ({"shape": "random", "walks": 0}, "1 or more"),
    ],
)
def test_bad_options_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        make_walk(**arguments)
