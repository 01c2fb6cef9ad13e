# The tools' diffusers: diffusers/__init__.py
#
# Its own annotations give every class that needs torch twice, the first time without any method.

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL as AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel as UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler as DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import (
    DPMSolverMultistepScheduler as DPMSolverMultistepScheduler,
)
from diffusers.schedulers.scheduling_euler_ancestral_discrete import (
    EulerAncestralDiscreteScheduler as EulerAncestralDiscreteScheduler,
)
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler as EulerDiscreteScheduler
