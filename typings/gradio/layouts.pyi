# gradio 3.41.2: gradio/layouts.py

from typing import Literal

from gradio.blocks import BlockContext

class Row(BlockContext):
    def __init__(
        self,
        *,
        variant: Literal["default", "panel", "compact"] = "default",
        visible: bool = True,
        elem_id: str | None = None,
        equal_height: bool = True,
        elem_classes: list[str] | str | None = None,
    ) -> None: ...

class Column(BlockContext):
    def __init__(
        self,
        *,
        scale: int = 1,
        min_width: int = 320,
        variant: Literal["default", "panel", "compact"] = "default",
        visible: bool = True,
        elem_id: str | None = None,
        elem_classes: list[str] | str | None = None,
    ) -> None: ...

class Group(BlockContext):
    def __init__(
        self,
        *,
        visible: bool = True,
        elem_id: str | None = None,
        elem_classes: list[str] | str | None = None,
    ) -> None: ...

class Accordion(BlockContext):
    def __init__(
        self,
        label: str,
        *,
        open: bool = True,
        visible: bool = True,
        elem_id: str | None = None,
        elem_classes: list[str] | str | None = None,
    ) -> None: ...
