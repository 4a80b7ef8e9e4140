"""Boxes from FastestDet's raw output (github.com/dog-qiuqiu/FastestDet, an ONNX file trained on COCO).

    shiftable audit FastestDet.onnx photos/ --task detect --decoder examples/fastestdet.py:decode \
        --preprocessing "resize_px=[352,352];resampler=box;mean=[0];std=[1];color_order=BGR" \
        --class-names coco_labels.txt --out audit

The net is fed BGR from 0 to 1, squashed to 352×352 px by averaging areas. It gives one array of 1×85×22×22: for each of
22×22 cells how sure it is that an object's centre is there, where in the cell, how large, and what it is.
"""

import numpy as np

LEAST_SCORE = 0.05
MOST_OVERLAP = 0.45


def decode(outputs: list[np.ndarray], view_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (x0, y0, x1, y1 in px of the view), their scores from 0 to 1 and their classes, best first."""
    (cells,) = outputs[0]
    rows, columns = cells.shape[1:]
    y, x = np.indices((rows, columns))
    height, width = view_size
    center_x, center_y = (x + np.tanh(cells[1])) / columns * width, (y + np.tanh(cells[2])) / rows * height
    half_width, half_height = sigmoid(cells[3]) * width / 2, sigmoid(cells[4]) * height / 2
    corners = center_x - half_width, center_y - half_height, center_x + half_width, center_y + half_height
    scores = cells[0] ** 0.6 * cells[5:].max(axis=0) ** 0.4

    likely = scores >= LEAST_SCORE
    boxes = np.stack([each[likely] for each in corners], axis=1)
    kept = without_doubles(boxes, scores[likely])
    return boxes[kept], scores[likely][kept], cells[5:].argmax(axis=0)[likely][kept]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """From 0 to 1."""
    return np.asarray(1 / (1 + np.exp(-x)))


def without_doubles(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    """The numbers of the boxes, best first, that no better one overlaps by more than MOST_OVERLAP of their union."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for number in np.argsort(-scores, kind="stable").tolist():
        low, high = np.maximum(boxes[kept, :2], boxes[number, :2]), np.minimum(boxes[kept, 2:], boxes[number, 2:])
        shared = (high - low).clip(0).prod(axis=1)
        if (shared <= MOST_OVERLAP * (area[kept] + area[number] - shared)).all():
            kept.append(number)
    return kept
