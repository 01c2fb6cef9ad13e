# The tools' diffusers: diffusers/models/autoencoders/autoencoder_kl.py

from diffusers.configuration_utils import ConfigMixin
from diffusers.loaders.single_file_model import FromOriginalModelMixin
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor, nn

class AutoencoderKL(nn.Module, ConfigMixin, FromOriginalModelMixin):
    def decode(self, z: Tensor) -> DecoderOutput: ...
