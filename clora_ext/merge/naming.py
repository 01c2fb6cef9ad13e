"""One name for a layer, whatever its trainer calls it: the name that kohya's trainer writes for its kind of model.

kohya calls the layers of a UNet as diffusers does in Stable Diffusion 1.x and 2.x, and as sgm does in SDXL. Both hosts
read those.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import product

from torch import Tensor

from clora_ext.lora.names import UNET, for_encoders

_RESNET: Mapping[str, str] = {
    "in_layers_0": "norm1",
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_0": "norm2",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}
"""sgm's and diffusers' names of what is in a residual block."""
_ALONE: Mapping[str, str] = {
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
    "input_blocks_0_0": "conv_in",
    "out_2": "conv_out",
}
"""Those of layers that stand in no block."""
_LAST_NORM = ("conv_norm_out", "out_0")
"""WebUI knows this one by ldm's and sgm's name alone."""
_LEVELS = range(4)
_ATTENTION = re.compile(
    r"(?:down_blocks_\d|up_blocks_\d|mid_block)_attentions_\d|(?:input|output)_blocks_\d+_1|middle_block_1"
)
"""The beginning of the name of a layer in an attention block."""


def _blocks() -> Iterator[tuple[str, str]]:
    """sgm's and diffusers' names of residual, attention and scaling blocks, of models with two blocks a level."""
    places = (("middle_block_0", "mid_block_resnets_0"), ("middle_block_2", "mid_block_resnets_1"))
    yield from (*places, ("middle_block_1", "mid_block_attentions_0"))
    for level in _LEVELS:
        yield f"input_blocks_{3 * level + 3}_0_op", f"down_blocks_{level}_downsamplers_0_conv"
        last = f"output_blocks_{3 * level + 2}"
        yield from ((f"{last}_{place}_conv", f"up_blocks_{level}_upsamplers_0_conv") for place in (1, 2))
    for level, place, (number, kind) in product(_LEVELS, range(3), enumerate(("resnets", "attentions"))):
        yield f"output_blocks_{3 * level + place}_{number}", f"up_blocks_{level}_{kind}_{place}"
        if place < 2:
            yield f"input_blocks_{3 * level + place + 1}_{number}", f"down_blocks_{level}_{kind}_{place}"


def _pairs() -> Iterator[tuple[str, str]]:
    """sgm's and diffusers' names of all layers, and the beginnings of those in attention, which agree in the rest."""
    yield from _ALONE.items()
    for sgm, diffusers in _blocks():
        if "resnets" in diffusers:
            yield from ((f"{sgm}_{inner}", f"{diffusers}_{other}") for inner, other in _RESNET.items())
        else:
            yield sgm, diffusers


_TO_DIFFUSERS = dict(_pairs()) | {_LAST_NORM[0]: _LAST_NORM[1]}
_TO_SGM = {diffusers: sgm for sgm, diffusers in _pairs()} | {_LAST_NORM[0]: _LAST_NORM[1]}


def written_name(layer: str, *, is_xl: bool) -> str:
    """The name of a layer in a file for SDXL, or for 1.x and 2.x; one that is not known stays."""
    if not layer.startswith(UNET):
        return layer
    inner, names = layer.removeprefix(UNET), _TO_SGM if is_xl else _TO_DIFFUSERS
    found = None if inner in names else _ATTENTION.match(inner)
    start = found[0] if found else inner
    return UNET + names[start] + inner.removeprefix(start) if start in names else layer


def written_names(tensors: Mapping[str, Tensor], *, is_xl: bool) -> dict[str, Tensor]:
    """The tensors of a LoRA, by kohya's names, with every layer called as a file for that kind of model calls it."""
    found: dict[str, Tensor] = {}
    for key, tensor in for_encoders(tensors, 2 if is_xl else 1).items():
        layer, dot, part = key.partition(".")
        found[written_name(layer, is_xl=is_xl) + dot + part] = tensor
    return found
