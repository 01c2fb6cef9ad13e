# The tools' diffusers: diffusers/models/unets/unet_2d_condition.py

from diffusers.configuration_utils import ConfigMixin
from diffusers.loaders.single_file_model import FromOriginalModelMixin
from torch import Tensor, nn

class UNet2DConditionOutput:
    sample: Tensor

class UNet2DConditionModel(nn.Module, ConfigMixin, FromOriginalModelMixin):
    conv_in: nn.Conv2d

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        *,
        added_cond_kwargs: dict[str, Tensor] | None = None,
    ) -> UNet2DConditionOutput: ...
    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        *,
        added_cond_kwargs: dict[str, Tensor] | None = None,
    ) -> UNet2DConditionOutput: ...
