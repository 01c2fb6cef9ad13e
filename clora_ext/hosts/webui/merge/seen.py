"""The loaded checkpoint as a merge is checked by, while the host may be drawing with it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NoReturn

import torch
from modules import shared
from torch import Tensor

from clora_ext.batch.conditions import Condition
from clora_ext.core.maps import Grid
from clora_ext.hosts.webui.drive.families import loaded_family
from clora_ext.hosts.webui.merge.layers import model_layers, own_size
from clora_ext.merge.layer import LayerDelta
from clora_ext.merge.learnt import Learnt
from clora_ext.merge.lessons import Lessons, Pictures
from clora_ext.merge.prompted import bytes_of_lessons
from clora_ext.merge.prompts import Prompts
from clora_ext.merge.run import See, Stage


class SeenModel:
    """Meets ``merge.work.MergeModel`` for everything but drawing; nothing of the host is changed."""

    def __init__(self, _: Sequence[str], prompts: Prompts, __: int, size: Grid | None, ___: Callable[[], None]) -> None:
        self.device = torch.device("cpu")
        self.family = loaded_family(shared.sd_model)
        self._found = model_layers(shared.sd_model)
        self.modules = self._found.modules
        self.lesson_bytes = bytes_of_lessons(prompts, size or own_size(shared.sd_model))
        self.room: float | None = None

    @property
    def weights(self) -> dict[str, Tensor]:
        """The layers' own, by kohya's names."""
        return self._found.weights

    def show(
        self, stage: Stage, lora: int, active: Mapping[str, LayerDelta], watched: Collection[str], see: See
    ) -> None:
        """A merge is checked without it. Raises ``RuntimeError``."""
        _draws_nothing()

    def pictures(self, lora: int, own: Mapping[str, LayerDelta], tell: Callable[[], None]) -> Pictures:
        """The same."""
        _draws_nothing()

    def noised(
        self, lora: int, own: Mapping[str, LayerDelta], clean: Iterable[Tensor], tell: Callable[[], None]
    ) -> Lessons:
        """The same."""
        _draws_nothing()

    def texts(self, lora: int) -> Sequence[str | None]:
        """The same."""
        _draws_nothing()

    def read(self, texts: Sequence[str | None]) -> Condition:
        """The same."""
        _draws_nothing()

    def learning(self, learnt: Mapping[str, Learnt], fixed: Mapping[str, LayerDelta]) -> AbstractContextManager[None]:
        """The same."""
        _draws_nothing()

    def predict(self, z: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """The same."""
        _draws_nothing()


def _draws_nothing() -> NoReturn:
    raise RuntimeError("a merge that is only looked at draws nothing")
