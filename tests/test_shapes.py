"""The procedural world: what moves, moves exactly; what is said about objects is true; nothing gives the class away."""

import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from shiftable.data.shapes import CLASSES, EDGE_PX, WAVE_BAND, box, draw_scene, mask, render, samples, scenes
from shiftable.errors import InputError

SIZE = (40, 56)  # not square, so that swapped axes show

every_class = pytest.mark.parametrize("label", range(len(CLASSES)), ids=CLASSES)


def a_scene(seed=0, label=None, size=SIZE):
    return draw_scene(seed, label, size, "uniform")


@pytest.mark.parametrize("view", [{}, {"scale": 1.3, "angle": 20.0}, {"scale": 0.6}], ids=str)
@pytest.mark.parametrize(("dy", "dx"), [(0.0, 0.0), (0.3, -0.7), (1 / 3, 100.1)])
def test_whole_pixel_moves_give_the_same_bytes(view, dy, dx):
    scene = a_scene(5)
    still = render(scene, SIZE, dy, dx, **view)
    for down, right in [(1, 0), (0, 1), (3, 2), (17, 29)]:
        moved = render(scene, SIZE, dy + down, dx + right, **view)
        np.testing.assert_array_equal(moved[down:, right:], still[: SIZE[0] - down, : SIZE[1] - right])


@every_class
def test_content_moves_down_and_right(label):
    scene = a_scene(label=label)
    still, moved = render(scene, SIZE), render(scene, SIZE, dy=2, dx=5)
    np.testing.assert_array_equal(moved[2:, 5:], still[:-2, :-5])


def test_fractions_of_a_pixel_are_those_of_a_finer_grid():
    """Every second pixel of a view enlarged twice lies a quarter of a pixel beside a pixel of the plain view."""
    scene = replace(
        draw_scene(1), radius=2.0, y=3.0, x=3.0
    )  # its edge is soft in pixels, at any scale; so, out of the way
    enlarged = render(scene, scale=2)[::2, ::2].astype(int)
    plain = render(scene, dy=-23.75, dx=-23.75)[:48, :48].astype(int)
    assert abs(enlarged - plain).max() <= 1


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_positive_angles_turn_counter_clockwise(turns):
    scene = draw_scene(2)
    turned = render(scene, angle=90.0 * turns).astype(int)
    assert abs(turned - np.rot90(render(scene), turns)).max() <= 1


def test_moves_come_after_the_turn():
    scene = draw_scene(3)
    np.testing.assert_array_equal(render(scene, dx=4, angle=45)[:, 4:], render(scene, angle=45)[:, :-4])


def test_hardly_aliases():
    window = np.hanning(96)[:, None] * np.hanning(96)
    fast = np.maximum(*np.meshgrid(*[abs(np.fft.fftfreq(96))] * 2)) > 0.45
    shares = []
    for scene in scenes(50, seed=4):
        gray = render(scene).mean(-1)
        power = abs(np.fft.fft2((gray - gray.mean()) * window)) ** 2
        shares.append(power[fast].sum() / power.sum())
    assert np.mean(shares) < 1e-3


def test_backgrounds_have_the_spectrum_of_photographs():
    """Amplitude falls as 1/f: over four octaves the slope in log-log is -1."""
    side = 192
    window = np.hanning(side)[:, None] * np.hanning(side)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side)] * 2))
    bands = np.geomspace(1 / 64, WAVE_BAND[1], 9)
    power = np.zeros((side, side))
    for seed in range(30):
        picture = render(replace(draw_scene(seed), y=-99.0), (side, side)).mean(-1)
        power += abs(np.fft.fft2((picture - picture.mean()) * window)) ** 2
    within = [(frequency >= low) & (frequency < high) for low, high in pairwise(bands)]
    levels = [power[band].mean() for band in within]
    slope = np.polyfit(np.log(bands[:-1]), np.log(levels) / 2, 1)[0]
    assert slope == pytest.approx(-1, abs=0.15)


@every_class
def test_the_object_changes_pixels_only_in_its_box(label):
    scene = a_scene(7, label)
    moves = {"dy": 0.4, "dx": -1.7, "angle": 33.0, "scale": 1.1}
    with_object = render(scene, SIZE, **moves)
    without = render(replace(scene, color=(0.9, 0.1, 0.5)), SIZE, **moves)
    x0, y0, x1, y1 = box(scene, SIZE, **moves)
    y, x = np.nonzero((with_object != without).any(-1))
    margin = EDGE_PX / 2
    assert len(y) > 20
    assert x0 - margin < x.min() + 0.5 <= x.max() + 0.5 < x1 + margin
    assert y0 - margin < y.min() + 0.5 <= y.max() + 0.5 < y1 + margin


@every_class
@pytest.mark.parametrize("angle", [0.0, 25.0, 140.0])
def test_the_box_is_the_exact_extent(label, angle):
    """Seen from so near that a pixel is little, the covered pixels reach the box's four sides and not beyond."""
    scene = replace(a_scene(8, label), y=20.0, x=28.0, radius=10.0, angle=angle)
    view = {"size": (400, 560), "scale": 16.0, "dy": 16 * 180.0, "dx": 16 * 252.0}
    covered = mask(scene, **view) > 0.5
    y, x = np.nonzero(covered)
    seen = (x.min(), y.min(), x.max() + 1, y.max() + 1)
    np.testing.assert_allclose(seen, box(scene, **view), atol=4)  # a quarter of a scene's pixel


def test_the_mask_is_what_the_object_covers():
    scene = replace(a_scene(9), texture="plain")
    cover = mask(scene, SIZE)[..., None]
    picture, without = render(scene, SIZE) / 255, render(replace(scene, y=-99.0), SIZE) / 255
    np.testing.assert_allclose(picture, cover * np.clip(scene.color, 0, 1) + (1 - cover) * without, atol=2.1 / 255)


def test_the_same_seed_draws_the_same_world():
    assert draw_scene(3) == draw_scene(3)
    assert draw_scene(3) != draw_scene(4)
    assert list(scenes(3, seed=1)) == list(scenes(9, seed=1))[:3]
    assert set(scenes(50, seed=1)).isdisjoint(scenes(50, seed=2))


def test_samples_are_balanced_labelled_and_can_be_sent_to_another_process():
    images = samples(20, seed=6, size=SIZE)
    assert [image.label for image in images] == 2 * list(range(len(CLASSES)))
    assert all(image.id == f"shapes/{k:05d}-{CLASSES[k % len(CLASSES)]}" for k, image in enumerate(images))
    again = pickle.loads(pickle.dumps(images[11]))
    np.testing.assert_array_equal(again.read(), images[11].read())
    assert again.read().shape == (*SIZE, 3)


@pytest.mark.parametrize("placement", ["photographer", "uniform"])
def test_only_the_shape_depends_on_the_class(placement):
    """So neither colour, nor background, nor place or size can tell the class."""
    for seed in range(20):
        first, other = draw_scene(seed, 1, placement=placement), draw_scene(seed, 8, placement=placement)
        assert first == replace(other, label=1)


def test_placement_changes_place_and_size_alone():
    one, other = (draw_scene(5, placement=placement) for placement in ("photographer", "uniform"))
    assert one != other
    assert one == replace(other, y=one.y, x=one.x, radius=one.radius)


def test_photographers_put_things_near_the_centre():
    drawn = list(scenes(500, placement="photographer"))
    radius = np.array([scene.radius for scene in drawn])
    offset = np.array([(scene.y - 48, scene.x - 48) for scene in drawn])
    assert abs(offset).mean() < 3
    assert (abs(offset).max(1) + radius).max() < 16.001  # within the central 64 px even when moved by 16
    assert radius.max() / radius.min() < 1.7


def test_uniform_places_cover_the_canvas_and_every_size():
    size = (96, 144)
    drawn = list(scenes(500, size=size, placement="uniform"))
    radius = np.array([scene.radius for scene in drawn])
    for side, place in zip(size, np.array([(scene.y, scene.x) for scene in drawn]).T, strict=True):
        assert (place >= radius).all()
        assert (place <= side - radius).all()
        share = (place - radius) / (side - 2 * radius)
        np.testing.assert_allclose(np.histogram(share, 4, (0, 1))[0] / 500, 0.25, atol=0.07)
    assert radius.max() / radius.min() > 3


def test_names_what_it_can_not_use():
    with pytest.raises(InputError, match="unknown placement 'unifrom'; did you mean uniform"):
        draw_scene(0, placement="unifrom")
    with pytest.raises(InputError, match="scale is 0"):
        render(draw_scene(0), scale=0.0)
