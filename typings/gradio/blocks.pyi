# gradio 3.41.2: gradio/blocks.py

from types import TracebackType

from typing_extensions import Self

class Block:
    visible: bool
    elem_id: str | None
    elem_classes: list[str] | None
    parent: BlockContext | None

    # WebUI keeps no value of such a component in ui-config.json.
    do_not_save_to_config: bool  # read in modules/ui_loadsave.py

class BlockContext(Block):
    children: list[Block]

    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None = None, *args: BaseException | TracebackType | None
    ) -> None: ...

class Blocks(BlockContext):
    def __init__(self, *, analytics_enabled: bool | None = None) -> None: ...
