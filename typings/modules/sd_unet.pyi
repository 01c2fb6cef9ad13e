# WebUI 1.10.1: modules/sd_unet.py

from torch import Tensor, nn

class SdUnet(nn.Module):
    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, *args: Tensor, **kwargs: Tensor) -> Tensor: ...
    def activate(self) -> None: ...
    def deactivate(self) -> None: ...

class SdUnetOption:
    model_name: str | None
    label: str | None

    def create_unet(self) -> SdUnet: ...

# None for the checkpoint's own.
current_unet: SdUnet | None
current_unet_option: SdUnetOption | None
