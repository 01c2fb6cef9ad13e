# The tools' diffusers: diffusers/models/autoencoders/autoencoder_kl.py

from diffusers.configuration_utils import ConfigMixin
from diffusers.loaders.single_file_model import FromOriginalModelMixin
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor, nn
from torch import dtype as _dtype

class AutoencoderKL(nn.Module, ConfigMixin, FromOriginalModelMixin):
    @property
    def dtype(self) -> _dtype: ...
    def decode(self, z: Tensor) -> DecoderOutput: ...
