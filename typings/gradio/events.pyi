# gradio 3.41.2: gradio/events.py

from collections.abc import Callable, Sequence
from typing import Any, Literal

from gradio.components import Component

# What an event starts; further events may follow it.
class Dependency(dict[str, Any]):
    then: EventListenerMethod
    success: EventListenerMethod

class EventListenerMethod:
    event_name: str

    # ``fn`` has one parameter for each of ``inputs``; it gives a value for each of ``outputs``, or some by component.
    def __call__(
        self,
        fn: Callable[..., object] | None,
        inputs: Component | Sequence[Component] | set[Component] | None = None,
        outputs: Component | Sequence[Component] | None = None,
        api_name: str | Literal[False] | None = None,
        *,
        show_progress: bool | Literal["full", "minimal", "hidden"] = "full",
        queue: bool | None = None,
        _js: str | None = None,
    ) -> Dependency: ...
