"""The whole picture of which an inpainting pass draws a part."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from modules import images, sd_samplers_common, shared
from PIL import Image
from torch import Tensor

from clora_ext.batch.conditions import Condition
from clora_ext.batch.rows import Row
from clora_ext.core.window import Window
from clora_ext.engine.outside import look_around
from clora_ext.engine.step import Composition
from clora_ext.hosts.webui.drive import conditions
from clora_ext.hosts.webui.drive.call import DenoiserCall
from clora_ext.hosts.webui.drive.noise_level import NoiseLevel

LOOKED_AT = 400.0
"""The timestep at which the picture is looked at: there is noise, as the model knows it, and what is there shows."""
ALIGNED = 64
"""Pixels of which its sides are multiples."""


def window_of(p: Any) -> Window | None:
    """The part of the picture that job ``p`` draws ("Only masked"); None where it draws all of it."""
    if getattr(p, "paste_to", None) is None or not p.init_images:
        return None
    x, y, width, height = p.paste_to
    whole = p.init_images[0]
    return Window(y / whole.height, x / whole.width, (y + height) / whole.height, (x + width) / whole.width)


def look_outside(p: Any, composition: Composition, call: DenoiserCall) -> frozenset[int]:
    """The concepts that the pictures of ``p`` have outside of the part that is drawn: they claim no pixel of it."""
    if window_of(p) is None or not composition.settings.masked or all(image.locked for image in composition.masks):
        return frozenset()
    whole = WholePicture(p, call)
    point = replace(call.point, noise=whole.level.noise, trial=True)
    return look_around(composition, point, whole.latent, whole, _painted(p))


class WholePicture:
    """Meets ``engine.port.Denoiser`` for the pictures of job ``p`` before they are cropped."""

    def __init__(self, p: Any, call: DenoiserCall) -> None:
        self.call = call
        self.model = call.params.denoiser.inner_model
        pictures = torch.stack([_pixels(image, p.width * p.height) for image in p.init_images])
        with torch.random.fork_rng():  # the host's autoencoder draws from it
            clean = sd_samplers_common.images_tensor_to_samples(pictures, model=p.sd_model)
            image_cond = p.img2img_image_conditioning(pictures.to(clean) * 2.0 - 1.0, clean)
        of_image = [place % len(pictures) for place in range(call.images)]  # the host repeats a single one
        clean, self.image_cond = clean[of_image], image_cond[of_image]
        self.sigma = self._sigma().to(call.params.sigma)
        self.level = NoiseLevel(self.model, self.sigma)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(clean)
        self.latent = self.level.alpha * clean + math.sqrt(1.0 - self.level.alpha**2) * noise

    def _sigma(self) -> Tensor:
        timestep = torch.full((self.call.images,), LOOKED_AT)
        if not hasattr(self.model, "sigma_to_t"):  # a timestep sampler's
            return timestep
        found: Tensor = self.model.t_to_sigma(timestep.to(self.model.sigmas.device))
        return found

    def conditions(self, rows: Sequence[Row]) -> Sequence[Condition]:
        """Those of the call that is about to be made."""
        return self.call.conditions(rows)

    def predict(self, latent: Tensor, rows: Sequence[Row], condition: Condition) -> Tensor:
        """A call of the host's model for the whole pictures."""
        places = [row.image for row in rows]
        arguments = conditions.model_arguments(self.call.marks.on(condition, rows), self.image_cond[places])
        found: Tensor = self.model((latent * self.level.scale)[places], self.sigma[places], cond=arguments)
        return found


def _painted(p: Any) -> Tensor:
    """What the user has painted [height, width] on the whole picture, from 0 to 1."""
    return torch.from_numpy(np.asarray(p.mask_for_overlay.convert("L")).astype(np.float32) / 255.0)


def _pixels(image: Image.Image, area: int) -> Tensor:
    """The picture [3, height, width] from 0 to 1, about as many pixels as ``area``."""
    flat = images.flatten(image, shared.opts.img2img_background_color)
    factor = math.sqrt(area / (flat.width * flat.height))
    sides = [max(ALIGNED, round(side * factor / ALIGNED) * ALIGNED) for side in (flat.width, flat.height)]
    values = np.asarray(flat.resize(sides, Image.Resampling.LANCZOS)).astype(np.float32) / 255.0
    return torch.from_numpy(values).movedim(-1, 0)
