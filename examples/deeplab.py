"""The class of every pixel from DeepLab v3's TFLite file (github.com/google-coral/test_data, PASCAL VOC's 21 classes).

    shiftable audit deeplabv3_mnv2_pascal_quant.tflite photos/ --task segment --decoder examples/deeplab.py:decode \
        --preprocessing crop=letterbox --class-names pascal_voc_labels.txt --out audit

The file takes 513×513 RGB pixels and gives one array of 1×513×513 whole numbers: the classes themselves. Such a file
needs no decoder; this one shows where a class could be left out, or several made one.
"""

import numpy as np

UNKNOWN = 255
"""Pixels that annotators leave out; the net has no such class."""


def decode(outputs: list[np.ndarray], view_size: tuple[int, int]) -> np.ndarray:
    """The class of every pixel of the view, 0 for the background."""
    (classes,) = outputs[0]
    return np.where(classes == UNKNOWN, 0, classes)
