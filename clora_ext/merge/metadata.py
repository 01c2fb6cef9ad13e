"""What a merged file says of itself, in the words of kohya's trainer and of modelspec."""

import json
from collections.abc import Mapping, Sequence

from clora_ext.merge.inputs import SDXL, MergeLora
from clora_ext.merge.output import WrittenLayer
from clora_ext.merge.recipe import Recipe

_BASES: Mapping[str | None, tuple[str, str]] = {
    "Stable Diffusion 1.x": ("sd_v1", "stable-diffusion-v1"),
    "Stable Diffusion 2.x": ("sd_v2", "stable-diffusion-v2-512"),
    SDXL: ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
}
"""``ss_base_model_version`` and the beginning of ``modelspec.architecture`` by kind of model."""
_SGM = "https://github.com/Stability-AI/generative-models"


def merged_metadata(
    name: str, loras: Sequence[MergeLora], layers: Mapping[str, WrittenLayer], recipe: Recipe
) -> dict[str, str]:
    """For a file ``name`` of ``layers`` merged from ``loras``: sizes, base, triggers of all, and the recipe."""
    family = next((lora.family for lora in loras if lora.family), None)
    triggers = list(dict.fromkeys(lora.trigger for lora in loras if lora.trigger))
    rank = _rank(layers)
    found = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": rank,
        "ss_network_alpha": rank,
        "ss_output_name": name,
        "ss_sd_model_name": recipe.base,
        "ss_tag_frequency": json.dumps({trigger: {trigger: 1} for trigger in triggers}, ensure_ascii=False),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.implementation": _SGM if family == SDXL else "diffusers",
        "modelspec.title": name,
        "modelspec.trigger_phrase": ", ".join(triggers),
        "modelspec.merged_from": ", ".join(lora.name for lora in loras),
        **recipe.metadata(),
    }
    if family in _BASES:
        version, architecture = _BASES[family]
        found |= {"ss_base_model_version": version, "modelspec.architecture": f"{architecture}/lora"}
        found["ss_v2"] = str(version == "sd_v2")
    return found


def _rank(layers: Mapping[str, WrittenLayer]) -> str:
    """kohya's word for the rank of all layers."""
    ranks = {layer.rank for layer in layers.values() if layer.rank is not None}
    return str(ranks.pop()) if len(ranks) == 1 else "Dynamic"
