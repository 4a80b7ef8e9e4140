"""Key points from MoveNet's raw output (github.com/google-coral/test_data, a TFLite file for one person).

    shiftable audit movenet_single_pose_lightning_ptq.tflite photos/ --task keypoints \
        --decoder examples/movenet.py:decode --preprocessing crop=letterbox --out audit

The file takes 192×192 RGB pixels and gives one array of 1×1×17×3: for each of COCO's 17 key points (nose, eyes, ears,
shoulders, elbows, wrists, hips, knees, ankles) y and x as fractions of the view, and how sure it is.
"""

import numpy as np


def decode(outputs: list[np.ndarray], view_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """One person's points (x, y in px of the view and a score from 0 to 1), and how sure it is of the person."""
    height, width = view_size
    y, x, scores = np.moveaxis(outputs[0][0], -1, 0)  # each (person, point)
    return np.stack([x * width, y * height, scores], axis=-1), scores.mean(axis=1)
