"""Run by WebUI's own Python: ``python place_loras.py WEBUI CHECKOUT SCRATCH``: LoRA files on full-size models.

The models have no numbers (torch's device meta), only layers. Every folder of SCRATCH/loras is a kind of model, with
LoRA files. Prints one JSON line a file: how many layers it has, how many of them the host has a place for and a module
of, and what was told, or the sentence with which it was refused.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bare_host import SCRATCH, WEBUI, start

CONFIGS = {
    "sd1": "configs/v1-inference.yaml",
    "sd2": "repositories/stable-diffusion-stability-ai/configs/stable-diffusion/v2-inference.yaml",
    "sdxl": "repositories/generative-models/configs/inference/sd_xl_base.yaml",
}


def clip() -> Any:
    """CLIP's text encoder of SD 1.x and SDXL, as the host wraps it."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
    found = torch.nn.Module()
    found.transformer = CLIPTextModel(CLIPTextConfig(**sizes))
    return found


def open_clip(name: str) -> Any:
    """OpenCLIP's text encoder of that name."""
    import open_clip
    import torch

    found = torch.nn.Module()
    found.model = torch.nn.Module()
    found.model.transformer = open_clip.model._build_text_tower(
        1024, open_clip.model.CLIPTextCfg(**open_clip.get_model_config(name)["text_cfg"])
    ).transformer
    return found


def model(kind: str) -> Any:
    """What the host has loaded, in so far as its LoRA extension and ours look at it."""
    import torch
    from omegaconf import OmegaConf
    from sgm.util import instantiate_from_config

    config = OmegaConf.load(WEBUI / CONFIGS[kind]).model.params
    with torch.device("meta"):
        unet = instantiate_from_config(config.network_config if kind == "sdxl" else config.unet_config)
        texts = {"sd1": lambda: [clip()], "sd2": lambda: [open_clip("ViT-H-14")]}
        texts["sdxl"] = lambda: [clip(), open_clip("ViT-bigG-14")]
        encoders = [SimpleNamespace(wrapped=encoder) for encoder in texts[kind]()]
    whole = torch.nn.Module()
    whole.diffusion_model = unet
    marks = {f"is_{name}": name == kind for name in CONFIGS}
    found = SimpleNamespace(model=whole, sd_checkpoint_info=SimpleNamespace(name_for_extra=kind), **marks)
    found.conditioner = SimpleNamespace(embedders=encoders)
    found.cond_stage_model = encoders[0]
    return found


def load(kind: str) -> None:
    """Make the host think that a model of that kind is loaded."""
    from modules import sd_models

    from clora_ext.hosts.webui.drive.catalogue import builtin

    sd_models.model_data.sd_model = model(kind)
    sd_models.model_data.was_loaded_at_least_once = True
    builtin().assign_network_names_to_compvis_modules(sd_models.model_data.sd_model)


def told(path: Path) -> dict[str, Any]:
    """One file, as a job would load it."""
    import networks
    from network import NetworkOnDisk

    from clora_ext.errors import LoraError
    from clora_ext.hosts.webui.drive.networks import load_networks

    networks.available_networks[path.stem] = NetworkOnDisk(path.stem, str(path))
    notes: list[str] = []
    try:
        net = load_networks([path.stem], notes.append)[path.stem]
    except LoraError as error:
        return {"error": error.message}
    read = {module.network_key.partition(".")[0] for module in net.modules.values()}
    found = {"layers": len(read), "notes": notes, "embeddings": list(net.bundle_embeddings)}
    return {**found, "kinds": sorted({type(module).__name__ for module in net.modules.values()})}


def main() -> None:
    """All files."""
    start()
    for folder in sorted((SCRATCH / "loras").iterdir()):
        load(folder.name)
        for path in sorted(folder.iterdir()):
            print(json.dumps({"file": f"{folder.name}/{path.name}", **told(path)}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
