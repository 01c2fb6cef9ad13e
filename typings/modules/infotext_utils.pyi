# WebUI 1.10.1: modules/infotext_utils.py

from collections.abc import Callable
from typing import Any

from gradio.components import Component

_Target = str | Callable[[dict[str, str]], object]

class PasteField(tuple[Component, _Target]):
    api: str | None
    component: Component
    label: str | None
    function: Callable[[dict[str, str]], object] | None

    def __new__(cls, component: Component, target: _Target, *, api: str | None = None) -> PasteField: ...

paste_fields: dict[str, dict[str, Any]]

# A text with a comma, colon or line break becomes JSON; any other value stays what it is.
def quote(text: object) -> object: ...
def unquote(text: str) -> Any: ...
def parse_generation_parameters(x: str, skip_fields: list[str] | None = None) -> dict[str, Any]: ...
