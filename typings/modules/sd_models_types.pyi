# WebUI 1.10.1: modules/sd_models_types.py

from ldm.models.diffusion.ddpm import LatentDiffusion
from modules.sd_hijack_clip import TextConditionalModel
from modules.sd_models import CheckpointInfo
from sgm.modules import GeneralConditioner
from torch import Tensor, nn

class WebuiSdModel(LatentDiffusion):
    lowvram: bool
    sd_model_hash: str
    sd_model_checkpoint: str
    sd_checkpoint_info: CheckpointInfo
    is_sdxl: bool
    is_ssd: bool
    is_sd2: bool
    is_sd1: bool
    is_sd3: bool
    latent_channels: int
    is_sdxl_inpaint: bool  # set in modules/sd_models.py

    # SDXL has several text encoders behind one conditioner.
    cond_stage_model: TextConditionalModel | GeneralConditioner  # set in modules/sd_hijack.py
    cond_stage_model_empty_prompt: Tensor  # set in modules/sd_models.py
    network_layer_mapping: dict[str, nn.Module]  # set in extensions-builtin/Lora/networks.py
