# WebUI 1.10.1: scripts/xyz_grid.py
#
# The host loads it by its path, as the module ``xyz_grid.py``: only for annotations.

from collections.abc import Callable, Sequence
from typing import Any

from modules.processing import StableDiffusionProcessing

class AxisOption:
    label: str
    type: Callable[[str], Any]
    apply: Callable[[StableDiffusionProcessing, Any, Sequence[Any]], object]
    confirm: Callable[[StableDiffusionProcessing, Sequence[Any]], object] | None
    cost: float
    choices: Callable[[], list[str]] | None

    def __init__(
        self,
        label: str,
        type: Callable[[str], Any],
        apply: Callable[[StableDiffusionProcessing, Any, Sequence[Any]], object],
        format_value: Callable[[StableDiffusionProcessing, AxisOption, Any], object] = ...,
        confirm: Callable[[StableDiffusionProcessing, Sequence[Any]], object] | None = None,
        cost: float = 0.0,
        choices: Callable[[], list[str]] | None = None,
        prepare: Callable[[str], Any] | None = None,
    ) -> None: ...

axis_options: list[AxisOption]
