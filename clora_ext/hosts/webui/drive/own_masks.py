"""Somebody's own masks, laid over what a pass of the host draws."""

from typing import Any

from clora_ext.core.window import Window
from clora_ext.engine.own_masks import NO_OWN_MASKS, OwnMasks
from clora_ext.engine.prepare import Prepared
from clora_ext.hosts.pictures import read_masks
from clora_ext.hosts.webui.drive.sampling_pass import LATENT_CELL, in_hires_pass
from clora_ext.hosts.webui.drive.whole_picture import window_of


def own_masks(p: Any, prepared: Prepared) -> OwnMasks:
    """Those of the job's subjects on the grid of the latent that the pass draws.

    A mask is stretched over the whole picture; of that the pass may draw a part ("Only masked", and a second pass whose
    edges the host cuts off).
    """
    if not prepared.has_own_masks or not prepared.settings.masked:
        return NO_OWN_MASKS
    given = read_masks(prepared.bound[0].subjects)
    if not in_hires_pass(p):
        return given.on((p.height // LATENT_CELL, p.width // LATENT_CELL), window_of(p))
    height, width = p.hr_upscale_to_y // LATENT_CELL, p.hr_upscale_to_x // LATENT_CELL
    top, left = p.truncate_y // 2, p.truncate_x // 2
    size = height - p.truncate_y, width - p.truncate_x
    window = Window(top / height, left / width, (top + size[0]) / height, (left + size[1]) / width)
    return given.on(size, window)
