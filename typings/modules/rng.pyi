# WebUI 1.10.1: modules/rng.py

from collections.abc import Sequence

from torch import Tensor

class ImageRNG:
    shape: tuple[int, ...]
    seeds: list[int]
    subseeds: list[int] | None
    is_first: bool

    def __init__(
        self,
        shape: Sequence[int],
        seeds: list[int],
        subseeds: list[int] | None = None,
        subseed_strength: float = 0.0,
        seed_resize_from_h: int = 0,
        seed_resize_from_w: int = 0,
    ) -> None: ...
    def first(self) -> Tensor: ...
    def next(self) -> Tensor: ...
