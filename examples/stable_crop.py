"""Where `shiftable.repairing.StableCrop` cuts an image, by the default rule, in plain Python: a reference to port.

It needs nothing but whole numbers, lists and loops, and no library; in another language take 64-bit integers, and
divisions that round down (all numbers divided here are positive, but for those under ``%``, whose result must be too).
``python examples/stable_crop.py photo.jpg`` (with Pillow to read the file) prints top, left, height and width of the
crop in px of the image; resize that to the view. The numbers at the top are those of ``crop.json``. With LETTERBOX the
crop reaches beyond the image, where all is grey (114).
"""

import sys
from collections.abc import Sequence

VIEW, RESIZE, ROOM, BOX, LETTERBOX = 224, 256, 31, 5, False


def scaled(px: int, length: int, resized: int) -> int:
    """So many px of the resized image, in px of the image; halves are rounded up."""
    return (2 * px * length + resized) // (2 * resized)


def axis(length: int, resized: int, n: int) -> tuple[int, int, int, int, int, int]:
    """(length of the crop, its first place, number of places, box, first px looked at, how many are)."""
    if LETTERBOX:
        crop, box = -(-VIEW * n // (ROOM + 1)), max(1, scaled(BOX, n, ROOM + 1))
        sure = length - 2 * (n - 1)
    else:
        crop, box = scaled(VIEW, length, resized), max(1, scaled(BOX, length, resized))
        n = min(scaled(ROOM, length, resized), length - crop) + 1
        sure = crop - (n - 1)
    first, times = (length - crop - n + 1) // 2, max(0, ((sure - 4 * box) // n - 1) // 2)
    start, seen = first + crop // 2 - times * n, (2 * times + 1) * n
    fits = start >= 2 * box and start + seen + 2 * box <= length
    return crop, first, n, box, start, seen if fits else 0


def cells(length: int) -> int:
    """How many px of an image are ROOM + 1 of a letterbox that has room for it."""
    return max(1, -(-(length - 1) * (ROOM + 1) // (VIEW - ROOM - 1)))


def boxed(row: Sequence[int], box: int) -> list[int]:
    """The sums of every ``box`` neighbours."""
    sums = [sum(row[:box])]
    for old, new in zip(row, row[box:], strict=False):
        sums.append(sums[-1] + new - old)
    return sums


def blurred(rows: list[list[int]], box_y: int, box_x: int) -> list[list[int]]:
    """The sums over a triangle, a box twice over, along x and then along y."""
    rows = [boxed(boxed(row, box_x), box_x) for row in rows]
    columns = [boxed(boxed(list(column), box_y), box_y) for column in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def stable_crop(pixels: Sequence[Sequence[Sequence[int]]]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the crop of an image given as rows of (red, green, blue), 0 to 255."""
    height, width = len(pixels), len(pixels[0])
    short, n = min(height, width), max(cells(height), cells(width))
    crop_y, first_y, n_y, box_y, start_y, seen_y = axis(height, RESIZE * height // short, n)
    crop_x, first_x, n_x, box_x, start_x, seen_x = axis(width, RESIZE * width // short, n)
    if seen_y * seen_x == 0 or n_y * n_x == 1:  # a strip, or no room
        return first_y + middle(n_y), first_x + middle(n_x), crop_y, crop_x
    rows = range(start_y - 2 * box_y, start_y + seen_y + 2 * box_y)
    columns = range(start_x - 2 * box_x, start_x + seen_x + 2 * box_x)
    light = [[pixels[y][x][0] + 2 * pixels[y][x][1] + pixels[y][x][2] for x in columns] for y in rows]
    fine = blurred(light, box_y, box_x)

    def score(y: int, x: int) -> int:
        """How much a place differs from its surroundings: 16 times the fine blur less the coarse one."""
        y, x, coarse = y + box_y, x + box_x, 0
        for j, weight_y in ((-box_y, 1), (0, 2), (box_y, 1)):
            for i, weight_x in ((-box_x, 1), (0, 2), (box_x, 1)):
                coarse += weight_y * weight_x * fine[y + j][x + i]
        return abs(16 * fine[y][x] - coarse)

    scores = [[score(y, x) for x in range(seen_x + 2)] for y in range(seen_y + 2)]
    best, where, alone = 0, None, False
    for y in range(1, seen_y + 1):
        for x in range(1, seen_x + 1):
            here, around = scores[y][x], [scores[y + j][x + i] for j in (-1, 0, 1) for i in (-1, 0, 1) if j or i]
            if here >= best and here > max(around):
                alone, best, where = here > best, here, (y - 1, x - 1)
    if where and alone:
        down = (start_y + where[0] - first_y - crop_y // 2) % n_y
        across = (start_x + where[1] - first_x - crop_x // 2) % n_x
    else:
        down, across = middle(n_y), middle(n_x)  # nothing to hold on to: the centre
    return first_y + down, first_x + across, crop_y, crop_x


def middle(places: int) -> int:
    """Half way, half a px rounded to even."""
    half = (places - 1) // 2
    return half + half % 2 if places % 2 == 0 else half


if __name__ == "__main__":
    from PIL import Image

    picture = Image.open(sys.argv[1]).convert("RGB")
    flat = list(picture.getdata())
    print(*stable_crop([flat[y * picture.width : (y + 1) * picture.width] for y in range(picture.height)]))
