"""Run by WebUI's Python: an untrained YOLO that finds the left and the right of every picture, for ADetailer.

``make_detector.py FILE``. Where a picture ends a convolution sees zeros: the upper corners are told from the rest by
that, and each says a box of half the width and three quarters of the height.
"""

import sys
from collections.abc import Mapping
from typing import Any

import torch
from ultralytics import YOLO

FAR: Mapping[int, float] = {0: 9.5, 1: 0.5, 2: 9.5, 3: 15.0}
"""From the middle of a cell to the left, top, right and bottom of its box, in cells of a grid of 20."""
SURE = 20.0


def constant(layer: Any, value: float) -> None:
    """A convolution with normalisation and activation that gives the same whatever it sees."""
    torch.nn.init.zeros_(layer.bn.weight)
    torch.nn.init.constant_(layer.bn.bias, value)


def see_edges(layer: Any, level: float) -> None:
    """Channels 0, 1 and 2: 10 at the left, right and upper edge of a picture of ``level`` all over, else 0."""
    torch.nn.init.zeros_(layer.conv.weight)
    for channel, (row, column) in enumerate(((1, 0), (1, 2), (0, 1))):
        layer.conv.weight[channel, 0, row, column] = 1.0
    layer.bn.weight.fill_(-20.0 / level)
    layer.bn.bias.fill_(10.0)


def see_corners(layer: Any) -> None:
    """Channels 0 and 1: 5 in the upper left and upper right corner, else 0."""
    torch.nn.init.zeros_(layer.conv.weight)
    for channel in range(2):
        layer.conv.weight[channel, [channel, 2], 1, 1] = 1.0
    layer.bn.weight.fill_(1.0)
    layer.bn.bias.fill_(-15.0)


def say_boxes(layer: Any) -> None:
    """The same box everywhere; a distance is the mean of the bins that are sure."""
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    bins = layer.bias.view(4, -1)
    for side, far in FAR.items():
        bins[side, [int(far), int(far + 0.5)]] = SURE


def say_classes(layer: Any, *, seeing: bool) -> None:
    """The first class in the corners, the left one first; without ``seeing`` nothing."""
    torch.nn.init.zeros_(layer.weight)
    layer.bias.fill_(-SURE)
    if seeing:
        layer.weight[0, 0, 0, 0], layer.weight[0, 1, 0, 0] = 5.0, 4.5


def main(file: str) -> None:
    """Write the detector."""
    detector = YOLO("yolov8n.yaml")
    layers = detector.model.model
    with torch.no_grad():
        constant(layers[-2].cv2, 1.0)
        *fine, coarse = zip(layers[-1].cv2, layers[-1].cv3, strict=True)
        for _, classes in fine:
            say_classes(classes[2], seeing=False)
        boxes, classes = coarse
        see_edges(classes[0], float(torch.nn.functional.silu(torch.tensor(1.0))))
        see_corners(classes[1])
        say_classes(classes[2], seeing=True)
        say_boxes(boxes[2])
    detector.save(file)


main(sys.argv[1])
