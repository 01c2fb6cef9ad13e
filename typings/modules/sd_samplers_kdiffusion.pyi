# WebUI 1.10.1: modules/sd_samplers_kdiffusion.py

from k_diffusion.external import CompVisDenoiser, CompVisVDenoiser
from modules.sd_models_types import WebuiSdModel
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from modules.sd_samplers_common import Sampler

# Its model predicts the denoised latent. Stable Diffusion 3 has a model of its own kind here.
class CFGDenoiserKDiffusion(CFGDenoiser):
    @property
    def inner_model(self) -> CompVisDenoiser | CompVisVDenoiser: ...

class KDiffusionSampler(Sampler):
    model_wrap_cfg: CFGDenoiserKDiffusion
    model_wrap: CompVisDenoiser | CompVisVDenoiser

    def __init__(self, funcname: str, sd_model: WebuiSdModel, options: dict[str, object] | None = None) -> None: ...
