"""Attention that can keep its maps, and the loss that draws each noun's map onto its own things."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

LEAST_MASS = 0.25


class PlainAttention:
    """Attention by two matrix products (faster than fused kernels for small heads on a CPU) that can keep its maps.

    After a forward pass with `keep` true, `maps` is float [batch, queries, tokens], averaged over heads.
    """

    def __init__(self, keep: bool = False) -> None:
        self.keep = keep
        self.maps: Tensor | None = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """hidden_states [b, n, c], encoder_hidden_states [b, t, c'] or None; returns [b, n, c]."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        b, n, _ = hidden_states.shape
        query = attn.to_q(hidden_states)
        key, value = attn.to_k(context), attn.to_v(context)
        width = query.shape[-1] // attn.heads

        def split(x: Tensor) -> Tensor:
            return x.view(b, -1, attn.heads, width).transpose(1, 2)

        query, key, value = split(query * attn.scale), split(key), split(value)
        weights = (query @ key.transpose(-1, -2)).softmax(dim=-1)
        if self.keep:
            self.maps = weights.float().mean(dim=1)
        out = (weights @ value).transpose(1, 2).reshape(b, n, -1)
        return attn.to_out[1](attn.to_out[0](out))


def set_attention(unet: nn.Module, keep: bool) -> list[PlainAttention]:
    """Gives every attention layer of the UNet a PlainAttention; returns the cross-attention ones in order."""
    processors: dict[str, PlainAttention] = {}
    for name in unet.attn_processors:
        processors[name] = PlainAttention(keep and ".attn2." in name)
    unet.set_attn_processor(dict(processors))  # diffusers empties the dictionary
    return [p for name, p in processors.items() if ".attn2." in name]


def attention_loss(maps: Sequence[Tensor], owners: Tensor, regions: Tensor) -> Tensor:
    """How far the maps of nouns' tokens are from their own things' regions; a scalar, 0 at best.

    maps: one float [b, h * w, 77] per layer. owners int64 [b, 77] gives each token's noun or -1; regions [b, k, 16, 16]
    the share of each cell that a noun's things cover. Three terms, averaged over nouns and layers: the share of each
    token's attention outside its region; the lack of a mass of LEAST_MASS on the noun's tokens inside its region; the
    cross-entropy between nouns there. After TokenCompose (arXiv 2312.03626), whose first term this is.
    """
    k = regions.shape[1]
    own = (owners[..., None] == torch.arange(k, device=owners.device)).float()  # [b, 77, k]
    tokens = own.sum(dim=1)
    total = regions.new_zeros(())
    for attention in maps:
        side = int(attention.shape[1] ** 0.5)
        region = functional.adaptive_avg_pool2d(regions, side).flatten(2)  # [b, k, q]
        exists = ((tokens > 0) & (region.sum(dim=-1) > 0)).float()
        count = exists.sum().clamp(min=1)
        peak = region.amax(dim=-1, keepdim=True).clamp(min=1e-6)
        wide = (region / peak * 2).clamp(max=1)  # cells covered by a half or more (of the best) count as inside
        wide_of_token = own @ wide  # [b, 77, q]
        inside = (attention.transpose(1, 2) * wide_of_token).sum(-1) / attention.sum(dim=1).clamp(min=1e-6)  # [b, 77]
        outside = ((1 - inside)[..., None] * own).sum(1) / tokens.clamp(min=1)
        mass = (attention @ own).transpose(1, 2)  # [b, k, q]
        weight = region / region.sum(dim=-1, keepdim=True).clamp(min=1e-6)
        lack = ((LEAST_MASS - mass).clamp(min=0) / LEAST_MASS * weight).sum(-1)
        rival = -(((mass + 1e-4) / (mass.sum(dim=1, keepdim=True) + 1e-4 * k)).log() * weight).sum(-1)
        total = total + ((outside.square() + lack + 0.5 * rival) * exists).sum() / count
    return total / max(1, len(maps))
