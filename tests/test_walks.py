"""Walks: through the deployed place, inside the image, one pixel a step, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiftable.auditing.motions.stage import Place
from shiftable.auditing.walks import DIRECTIONS, SHAPES, Walk, lay_walks, make_walk
from shiftable.errors import InputError

ROOM = range(-16, 17)
directions = pytest.mark.parametrize("direction", DIRECTIONS)


def _lay(walk, dy=ROOM, dx=ROOM, seed=0, **options):
    return lay_walks(walk, dy, dx, np.random.default_rng(seed), **options)


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
    with pytest.raises(InputError, match=r"dy = -16 steps\) leaves the image; 6 steps are missing"):
        _lay(make_walk("sweep"), range(-10, 11), ROOM, unit="steps")


# One axis

ONLY = range(0, 1)
"""The other axis, where there is none."""


def test_one_axis_is_walked_up_and_down():
    (sweep,) = _lay(make_walk("sweep", axes=1), dx=ONLY)
    assert sweep.tolist() == [[step, 0] for step in range(-16, 17)]
    pairs = np.stack(_lay(make_walk("pairs", walks=500, axes=1), range(-3, 9), ONLY))
    assert (np.diff(pairs, axis=1) == [1, 0]).all()
    assert (pairs[..., 0].min(), pairs[..., 0].max()) == (-3, 8)
    near = np.stack(_lay(make_walk("pairs", walks=900, axes=1), range(-180, 181), ONLY))
    assert (near[..., 0].min(), near[..., 0].max()) == (-16, 16)  # however far it could go
    random = np.concatenate(_lay(make_walk("random", walks=500, axes=1), dx=ONLY))
    assert (random[:, 1] == 0).all()
    assert (random[:, 0].min(), random[:, 0].max()) == (-15, 16)


def test_one_axis_says_what_its_steps_are():
    def size(i, j):
        return Place(scale=100 / (100 - i))

    with pytest.raises(
        InputError, match=r"can be -50 \(×0\.67\) to \+13 \(×1\.15\).* -16 to \+16; take --steps 27 or less"
    ):
        _lay(make_walk("sweep", axes=1), range(-50, 14), ONLY, unit="steps", place=size)
    with pytest.raises(
        InputError, match=r"-180 \(-180°\) to \+180 \(\+180°\).* -200 to \+200; .*smaller steps"
    ) as error:
        _lay(make_walk("sweep", steps=401, axes=1), range(-180, 181), ONLY, place=lambda i, j: Place(angle=float(i)))
    assert "enlarged" not in str(error.value)
    with pytest.raises(InputError, match=r"can be -3 to \+3, and the walk goes from [+-]\d+ to .*; take --walk pairs"):
        _lay(make_walk("random", axes=1, walks=9), range(-3, 4), ONLY)


@pytest.mark.parametrize("shape", ["sweep", "pairs", "random"])
def test_one_axis_needs_no_room_aside(shape):
    assert make_walk(shape, axes=1).room_steps == (32, 0)


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_walk_is_read_again_from_its_record(shape, axes):
    if (shape, axes) == ("grid", 1):
        return
    walk = make_walk(shape, axes=axes)
    assert Walk(**walk.to_json()).to_json() == walk.to_json()
    assert [path.tolist() for path in _lay(Walk(**walk.to_json()), dx=ROOM if axes == 2 else ONLY)] == [
        path.tolist() for path in _lay(walk, dx=ROOM if axes == 2 else ONLY)
    ]
    assert ("axes" in walk.to_json()) == (axes == 1)  # records of two axes are what they always were


# Walks of differing length


@given(
    st.integers(-40, 40), st.integers(0, 40), st.integers(-40, 40), st.integers(0, 40),
    st.sampled_from(sorted(DIRECTIONS)), st.integers(2, 40), st.data(),
)  # fmt: skip
def test_a_shortened_sweep_is_the_longest_and_most_central_one(top, tall, left, wide, direction, steps, data):
    dy, dx = range(top, top + tall + 1), range(left, left + wide + 1)
    home = data.draw(st.sampled_from(dy)), data.draw(st.sampled_from(dx))
    walk, step = make_walk("sweep", steps=steps, direction=direction), DIRECTIONS[direction]

    def allowed(at):
        return home[0] + at * step[0] in dy and home[1] + at * step[1] in dx

    possible = [at for at in range(-90, 91) if allowed(at)]
    if len(possible) < 2:
        with pytest.raises(InputError, match="no two places"):
            _lay(walk, dy, dx, home=home, shorten=True)
        return
    (path,) = _lay(walk, dy, dx, home=home, shorten=True)
    assert len(path) == min(steps, len(possible))
    assert (np.diff(path, axis=0) == step).all()
    assert home in [tuple(place) for place in path.tolist()]
    assert all(place[0] in dy and place[1] in dx for place in path.tolist())

    # no other walk of this length has its middle nearer to home
    ats = [at for at in possible if (home[0] + at * step[0], home[1] + at * step[1]) in set(map(tuple, path.tolist()))]
    starts = [start for start in possible if start + len(path) - 1 in possible and start <= 0 <= start + len(path) - 1]
    uneven = [abs(start + len(path) // 2) for start in starts]
    assert abs(ats[0] + len(path) // 2) == min(uneven)


def test_room_enough_makes_a_shortened_walk_the_usual_one():
    for shape in ("sweep", "pairs", "random"):
        usual, shortened = (_lay(make_walk(shape), shorten=shorten) for shorten in (False, True))
        assert [path.tolist() for path in usual] == [path.tolist() for path in shortened]


def test_random_places_stay_where_they_may_be():
    places = np.concatenate(
        _lay(make_walk("random", walks=300), range(-30, -20), range(3, 5), home=(-21, 3), shorten=True)
    )
    assert {tuple(place) for place in places.tolist()} == {(dy, dx) for dy in range(-30, -20) for dx in (3, 4)}
    for shape in ("random", "pairs", "sweep"):
        with pytest.raises(InputError, match="no two places of the view show the whole box"):
            _lay(make_walk(shape), range(7, 8), range(3, 4), home=(7, 3), shorten=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": "swep"}, "did you mean sweep"),
        ({"direction": "up"}, "vertical"),
        ({"shape": "grid", "direction": "vertical"}, "a grid walk has no direction"),
        ({"shape": "pairs", "steps": 3}, "a pairs walk has no steps"),
        ({"steps": 1}, "2 or more"),
        ({"shape": "random", "walks": 0}, "1 or more"),
        ({"axes": 1, "direction": "vertical"}, "a motion with one axis has no direction"),
        ({"axes": 1, "shape": "grid"}, "a motion with one axis has no grid"),
    ],
)
def test_bad_options_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        make_walk(**arguments)
