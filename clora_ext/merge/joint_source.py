"""What a merge asks of a host whose UNet it learns as a whole."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from torch import Tensor

from clora_ext.batch.conditions import Condition
from clora_ext.merge.layer import LayerDelta
from clora_ext.merge.learnt import Learnt
from clora_ext.merge.lessons import Lessons, Pictures
from clora_ext.merge.run import Source


@runtime_checkable
class JointSource(Source, Protocol):
    """A host that also predicts."""

    def pictures(self, lora: int, own: Mapping[str, LayerDelta], tell: Callable[[], None]) -> Pictures:
        """What a LoRA with its ``own`` deltas draws; ``tell`` is called after each of ``lessons.LEVELS`` steps."""
        ...

    def noised(
        self, lora: int, own: Mapping[str, LayerDelta], clean: Iterable[Tensor], tell: Callable[[], None]
    ) -> Lessons:
        """What it predicts for latents of finished pictures, once noise is added; ``tell`` is called for each batch."""
        ...

    @property
    def lesson_bytes(self) -> int:
        """Of one LoRA's."""
        ...

    def texts(self, lora: int) -> Sequence[str | None]:
        """Those of a LoRA's lessons by their numbers, and at last none."""
        ...

    def read(self, texts: Sequence[str | None]) -> Condition:
        """What the UNet is given of each text, with the graph of what is learnt; None is an empty negative prompt."""
        ...

    def learning(self, learnt: Mapping[str, Learnt], fixed: Mapping[str, LayerDelta]) -> AbstractContextManager[None]:
        """While inside, layers have these deltas, with a graph of those that are ``learnt``."""
        ...

    def predict(self, z: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """The UNet's output for z [row, 4, h, w] at timesteps [row], float32."""
        ...

    @property
    def room(self) -> float | None:
        """Bytes that may be taken of the device; None where nobody tells."""
        ...
