"""Other extensions: their repositories, what the docs call them, and what a job asks of them through the API."""

import base64
import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

NAMES: Mapping[str, str] = {
    "sd-webui-controlnet": "ControlNet",
    "sd-webui-lora-block-weight": "LoRA Block Weight",
    "sd-webui-negpip": "NegPiP",
    "sd-webui-regional-prompter": "Regional Prompter",
    "sd-dynamic-thresholding": "Dynamic Thresholding",
    "CFG_Rescale_webui": "CFG Rescale",
    "sd-webui-freeu": "FreeU",
    "sd_webui_SAG": "Self Attention Guidance",
    "stable-diffusion-webui-composable-lora": "Composable LoRA",
    "a1111-sd-webui-lycoris": "LyCORIS",
    "multidiffusion-upscaler-for-automatic1111": "Tiled Diffusion",
    "sd-dynamic-prompts": "Dynamic Prompts",
    "sd-webui-prompt-postprocessor": "Prompt PostProcessor",
    "adetailer": "ADetailer",
}
"""Repositories, and what the docs call them."""
DRAWING = {
    "dp_ignore_whitespace": False,
    "dp_write_raw_template": False,
    "dp_write_prompts_to_file": False,
    "dp_parser_variant_start": "{",
    "dp_parser_variant_end": "}",
    "dp_parser_wildcard_wrap": "__",
    "dp_limit_jinja_prompts": False,
    "dp_auto_purge_cache": False,
    "dp_wildcard_manager_no_dedupe": False,
    "dp_wildcard_manager_no_sort": False,
    "dp_wildcard_manager_shuffle": False,
    "dp_magicprompt_batch_size": 1,
    "dp_magicprompt_default_model": "",
}
"""Settings of Dynamic Prompts, which it only gives itself where there is a page."""
NEGPIP = {"negpip": {"args": [True]}}
WEIGHTS = f"NONE:{','.join('0' * 17)}\nALL:{','.join('1' * 17)}\nOUTD:1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0"
BLOCKS = {"lora block weight": {"args": [WEIGHTS, True]}}
THRESHOLDING = {
    "dynamic thresholding (cfg scale fix)": {
        "args": [True, 3.0, 95.0, "Constant", 0.0, "Constant", 0.0, 4.0, "enable", "MEAN", "AD", 1.0]
    }
}
GUIDANCE = {"self attention guidance": {"args": [True, 2.0, 0.5]}}
COMPOSABLE = {"composable lora": {"args": [True, True, True]}}
FREEU = {"freeu": {"args": [True, 0.0, 1.0, 0.0, "1", 1.4, 0.5, 0.0, 0.5, 0.1, 1.0, 1.3, 0.6, 0.0, 0.5, 0.1, 1.0]}}
RESCALE = {"cfg rescale extension": {"args": [0.7, False, 1.0, False]}}


def regions(mode: str) -> dict[str, Any]:
    """Regional Prompter on two columns."""
    start = [True, False, "Matrix", "Columns", "Mask", "Prompt", "1,1", "0.2", False, False, False]
    return {"regional prompter": {"args": [*start, mode, False, "0", "0", "0.4", None]}}


def tiles(method: str) -> dict[str, Any]:
    """Tiled Diffusion with tiles of 128 pixels."""
    return {"tiled diffusion": {"args": [True, method, False, True, 256, 128, 16, 16, 4, 4]}}


def details(**values: Any) -> dict[str, Any]:
    """ADetailer with the detector of ``data/make_detector.py``, which finds the left and the right of every picture."""
    return {"adetailer": {"args": [True, False, {"ad_model": "halves.pt", **values}]}}


def control(**values: Any) -> dict[str, Any]:
    """ControlNet's preprocessor that needs no model."""
    kept = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 60, 10)).save(kept, "PNG")
    picture = base64.b64encode(kept.getvalue()).decode()
    unit = {"enabled": True, "module": "reference_only", "model": "None", "image": picture, **values}
    return {"controlnet": {"args": [unit]}}
