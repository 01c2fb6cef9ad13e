"""The loaded checkpoint as a merge is checked by, while the host may be drawing with it."""

from collections.abc import Collection, Mapping

import torch
from modules import shared
from torch import Tensor

from clora_ext.hosts.webui.drive.families import loaded_family
from clora_ext.hosts.webui.merge.layers import model_layers
from clora_ext.merge.layer import LayerDelta
from clora_ext.merge.run import See, Stage


class SeenModel:
    """Meets ``merge.work.MergeModel`` for everything but drawing; nothing of the host is changed."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.family = loaded_family(shared.sd_model)
        self._found = model_layers(shared.sd_model)
        self.modules = self._found.modules

    @property
    def weights(self) -> dict[str, Tensor]:
        """The layers' own, by kohya's names."""
        return self._found.weights

    def show(
        self, stage: Stage, lora: int, active: Mapping[str, LayerDelta], watched: Collection[str], see: See
    ) -> None:
        """A merge is checked without it. Raises ``RuntimeError``."""
        raise RuntimeError("a merge that is only looked at draws nothing")
