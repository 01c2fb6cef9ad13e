"""Which cross-attention layers a UNet has, and how much smaller than the latent each one's picture is."""

from collections.abc import Iterator, Mapping

from torch import nn

LDM = ("input_blocks", "middle_block", "output_blocks")
"""The parts of a UNet of ldm (SD1, SD2) and sgm (SDXL), in the order in which they run."""
DIFFUSERS = ("down_blocks", "mid_block", "up_blocks")
_ENDS = ("down", "middle", "up")
"""Which of these parts the gradient of maps may end with."""
LayerFactors = Mapping[nn.Module, int]
"""Cross-attention layers of a UNet with their downsampling factors."""


def attention_factors(unet: nn.Module) -> LayerFactors:
    """Every cross-attention layer with its downsampling factor, in the order of a forward; empty for no known UNet.

    It is read from the UNet's own blocks: a strided convolution halves the picture, an upsampler doubles it.
    """
    found: dict[nn.Module, int] = {}
    for part in _by_part(unet):
        found |= part
    return found


def layers_until(unet: nn.Module, until: str) -> list[nn.Module]:
    """The cross-attention layers of every factor in the ``down`` blocks, in these and the ``middle``, or in all blocks,
    ``up`` to the end. All of a factor that has none so early.
    """
    early: dict[nn.Module, int] = {}
    late: dict[nn.Module, int] = {}
    for number, part in enumerate(_by_part(unet)):
        (early if number <= _ENDS.index(until) else late).update(part)
    factors = set(early.values())
    return [*early, *(layer for layer, factor in late.items() if factor not in factors)]


def _by_part(unet: nn.Module) -> list[dict[nn.Module, int]]:
    """The layers of each part with their factors, in the order of a forward."""
    factor = 1
    parts: list[dict[nn.Module, int]] = []
    for block in _blocks(unet):
        found: dict[nn.Module, int] = {}
        factor = _walk(block, factor, found)
        parts.append(found)
    return parts


def _blocks(unet: nn.Module) -> Iterator[nn.Module]:
    for names in (LDM, DIFFUSERS):
        parts = [getattr(unet, name, None) for name in names]
        if parts[0] is not None:
            yield from (part for part in parts if part is not None)
            return


def _walk(block: nn.Module, factor: int, found: dict[nn.Module, int]) -> int:
    """Note the layers of ``block``, whose picture is ``factor`` times smaller at its start; gives that at its end."""
    for name, layer in block.named_modules():
        if is_cross_attention(name, layer):
            found[layer] = factor
        elif isinstance(layer, nn.Conv2d) and layer.stride[0] == 2:
            factor *= 2
        elif _is_upsampler(layer):
            factor //= 2
    return factor


def is_cross_attention(name: str, layer: nn.Module) -> bool:
    """Whether it is an ``attn2``; ldm, sgm and diffusers agree on ``to_q``, ``to_k``, ``heads`` and ``scale``."""
    return name.endswith("attn2") and hasattr(layer, "to_q")


def _is_upsampler(layer: nn.Module) -> bool:
    """``Upsample`` of ldm and sgm, ``Upsample2D`` of diffusers."""
    return type(layer).__name__.startswith("Upsample")
