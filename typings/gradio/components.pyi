# gradio 3.41.2: gradio/components/__init__.py

from collections.abc import Callable
from typing import Any, Literal

from gradio.blocks import Block
from gradio.events import EventListenerMethod

class Component(Block): ...

class IOComponent(Component):
    label: str | None
    value: Any

class FormComponent: ...

class Textbox(FormComponent, IOComponent):
    change: EventListenerMethod
    input: EventListenerMethod
    submit: EventListenerMethod

    def __init__(
        self,
        value: str | Callable[[], str] | None = "",
        *,
        lines: int = 1,
        max_lines: int = 20,
        placeholder: str | None = None,
        label: str | None = None,
        info: str | None = None,
        show_label: bool | None = None,
        scale: int | None = None,
        min_width: int = 160,
        interactive: bool | None = None,
        visible: bool = True,
        elem_id: str | None = None,
        elem_classes: list[str] | str | None = None,
    ) -> None: ...

class Button(IOComponent):
    click: EventListenerMethod

    def __init__(
        self,
        value: str | Callable[[], str] = "Run",
        *,
        variant: Literal["primary", "secondary", "stop"] = "secondary",
        size: Literal["sm", "lg"] | None = None,
        visible: bool = True,
        interactive: bool = True,
        elem_id: str | None = None,
        elem_classes: list[str] | str | None = None,
        scale: int | None = None,
        min_width: int | None = None,
    ) -> None: ...

class Checkbox(FormComponent, IOComponent):
    change: EventListenerMethod
    input: EventListenerMethod

    def __init__(
        self,
        value: bool | Callable[[], bool] = False,
        *,
        label: str | None = None,
        info: str | None = None,
        show_label: bool | None = None,
        scale: int | None = None,
        min_width: int = 160,
        interactive: bool | None = None,
        visible: bool = True,
        elem_id: str | None = None,
        elem_classes: list[str] | str | None = None,
        tooltip: str | None = None,
    ) -> None: ...

class Dropdown(FormComponent, IOComponent):
    change: EventListenerMethod
    input: EventListenerMethod

    def __init__(
        self,
        choices: list[str] | None = None,
        *,
        value: str | list[str] | Callable[[], str | list[str]] | None = None,
        type: Literal["value", "index"] = "value",
        multiselect: bool | None = None,
        allow_custom_value: bool = False,
        label: str | None = None,
        info: str | None = None,
        show_label: bool | None = None,
        scale: int | None = None,
        min_width: int = 160,
        interactive: bool | None = None,
        visible: bool = True,
        elem_id: str | None = None,
        elem_classes: list[str] | str | None = None,
    ) -> None: ...

class Slider(FormComponent, IOComponent):
    change: EventListenerMethod
    input: EventListenerMethod
    release: EventListenerMethod

    def __init__(
        self,
        minimum: float = 0,
        maximum: float = 100,
        value: float | Callable[[], float] | None = None,
        *,
        step: float | None = None,
        label: str | None = None,
        info: str | None = None,
        show_label: bool | None = None,
        scale: int | None = None,
        min_width: int = 160,
        interactive: bool | None = None,
        visible: bool = True,
        elem_id: str | None = None,
        elem_classes: list[str] | str | None = None,
        tooltip: str | None = None,
    ) -> None: ...

class Number(FormComponent, IOComponent):
    change: EventListenerMethod
    input: EventListenerMethod

    def __init__(
        self,
        value: float | Callable[[], float] | None = None,
        *,
        label: str | None = None,
        info: str | None = None,
        show_label: bool | None = None,
        scale: int | None = None,
        min_width: int = 160,
        interactive: bool | None = None,
        visible: bool = True,
        elem_id: str | None = None,
        elem_classes: list[str] | str | None = None,
        precision: int | None = None,
        minimum: float | None = None,
        maximum: float | None = None,
        step: float = 1,
    ) -> None: ...

class Radio(FormComponent, IOComponent):
    change: EventListenerMethod
    input: EventListenerMethod

    def __init__(
        self,
        choices: list[str] | list[tuple[str, str]] | None = None,
        *,
        value: str | Callable[[], str] | None = None,
        type: str = "value",
        label: str | None = None,
        info: str | None = None,
        show_label: bool | None = None,
        scale: int | None = None,
        min_width: int = 160,
        interactive: bool | None = None,
        visible: bool = True,
        elem_id: str | None = None,
        elem_classes: list[str] | str | None = None,
    ) -> None: ...

class HTML(IOComponent):
    change: EventListenerMethod

    def __init__(
        self,
        value: str | Callable[[], str] = "",
        *,
        label: str | None = None,
        show_label: bool | None = None,
        visible: bool = True,
        elem_id: str | None = None,
        elem_classes: list[str] | str | None = None,
    ) -> None: ...

class Dataframe(IOComponent):
    change: EventListenerMethod
    input: EventListenerMethod

    # A table's rows with ``type="array"``.
    def __init__(
        self,
        value: list[list[Any]] | Callable[[], list[list[Any]]] | None = None,
        *,
        headers: list[str] | None = None,
        row_count: int | tuple[int, str] = (1, "dynamic"),
        col_count: int | tuple[int, str] | None = None,
        datatype: str | list[str] = "str",
        type: Literal["pandas", "numpy", "array"] = "pandas",
        label: str | None = None,
        interactive: bool | None = None,
        visible: bool = True,
        elem_id: str | None = None,
        elem_classes: list[str] | str | None = None,
    ) -> None: ...
