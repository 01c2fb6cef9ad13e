# The tools' diffusers: diffusers/models/autoencoders/vae.py

from torch import Tensor

class DecoderOutput:
    sample: Tensor
