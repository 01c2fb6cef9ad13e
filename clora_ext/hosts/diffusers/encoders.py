"""A checkpoint's text encoders, as transformers' modules."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TypeVar

from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint, convert_open_clip_checkpoint
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizerFast

from clora_ext.errors import HostError
from clora_ext.hosts.diffusers.architecture import Family

OPEN_CLIP_PADDING = 0
"""The token id behind the end of a text for OpenCLIP; CLIP repeats the end token."""
_HEAD_WIDTH = 64
"""Of every published text encoder; weights do not tell, but files beside the vocabulary may."""
_VOCABULARY = frozenset(["vocab.json", "tokenizer.json", "added_tokens.json"])
"""Large files of the vocabulary that describe no encoder."""
_LAYERS = "text_model.encoder.layers."
_PROJECTION = "text_projection.weight"
State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """One text encoder and how its model reads it."""

    network: CLIPTextModel | CLIPTextModelWithProjection
    padding: int
    """The token id behind a chunk's end token."""
    penultimate: bool = False
    """Whether the model reads the last but one layer, without the final norm, as SDXL does."""


def text_encoders(
    tensors: Mapping[str, Tensor], family: Family, words: CLIPTokenizerFast, folder: Path
) -> tuple[TextEncoder, ...]:
    """All of them, in the order in which their vectors are joined.

    ``folder`` may have a ``config.json`` for CLIP and OpenCLIP's own description of its model. Raises ``HostError`` for
    one that does not fit.
    """
    if family is Family.SD2:
        return (TextEncoder(_huge(tensors, words, folder), OPEN_CLIP_PADDING),)
    clip = TextEncoder(_clip(tensors, words, folder), words.eos_token_id, penultimate=family is Family.SDXL)
    if family is Family.SD1:
        return (clip,)
    return clip, TextEncoder(_big(tensors, words, folder), OPEN_CLIP_PADDING, penultimate=True)


def _clip(tensors: Mapping[str, Tensor], words: CLIPTokenizerFast, folder: Path) -> CLIPTextModel:
    """CLIP-L of SD 1.x and SDXL."""
    found = convert_ldm_clip_checkpoint(tensors)
    state = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in found.items()}
    if (folder / "config.json").is_file():
        config = CLIPTextConfig.from_pretrained(folder, local_files_only=True)
    else:
        config = _config(state, words, "quick_gelu", None)
    return _filled(CLIPTextModel(config), state)


def _big(tensors: Mapping[str, Tensor], words: CLIPTokenizerFast, folder: Path) -> CLIPTextModelWithProjection:
    """OpenCLIP's bigG of SDXL."""
    state = convert_open_clip_checkpoint(nn.Module(), tensors, "conditioner.embedders.1.model.")
    return _filled(CLIPTextModelWithProjection(_config(state, words, "gelu", folder)), state)


def _huge(tensors: Mapping[str, Tensor], words: CLIPTokenizerFast, folder: Path) -> CLIPTextModel:
    """OpenCLIP's H of SD 2.x, which leaves the last layer out, but not the final norm."""
    prefix = "cond_stage_model.model."
    last = max(_layers(tensors, f"{prefix}transformer.resblocks."))
    state = convert_open_clip_checkpoint(nn.Module(), tensors, prefix)
    left_out = (f"{_LAYERS}{last}.", _PROJECTION)
    state = {name: tensor for name, tensor in state.items() if not name.startswith(left_out)}
    return _filled(CLIPTextModel(_config(state, words, "gelu", folder)), state)


def _layers(tensors: Mapping[str, Tensor], prefix: str) -> set[int]:
    """The numbers behind ``prefix``."""
    return {int(name.removeprefix(prefix).split(".")[0]) for name in tensors if name.startswith(prefix)}


def _config(state: State, words: CLIPTokenizerFast, activation: str, folder: Path | None) -> CLIPTextConfig:
    """The numbers of a text encoder, read off its weights; its heads off OpenCLIP's description in ``folder``."""
    vocabulary, width = state["text_model.embeddings.token_embedding.weight"].shape
    described = _described_heads(folder, width) if folder is not None else None
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=state[f"{_LAYERS}0.mlp.fc1.weight"].shape[0],
        projection_dim=state[_PROJECTION].shape[0] if _PROJECTION in state else width,
        num_hidden_layers=len(_layers(state, _LAYERS)),
        num_attention_heads=described or max(width // _HEAD_WIDTH, 1),
        hidden_act=activation,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )


def _described_heads(folder: Path, width: int) -> int | None:
    """The heads of a text encoder of ``width`` by a file as open_clip's model_configs are; None where there is none."""
    for path in sorted(folder.glob("*.json")):
        if path.name in _VOCABULARY:
            continue
        told = json.loads(path.read_text(encoding="utf-8"))
        text = told.get("text_cfg") if isinstance(told, dict) else None
        if text and text.get("width") == width:
            return int(text["heads"])
    return None


Network = TypeVar("Network", CLIPTextModel, CLIPTextModelWithProjection)


def _filled(network: Network, state: State) -> Network:
    """``network`` with the weights ``state``. Raises ``HostError`` where they are others."""
    if not hasattr(network, "text_model"):  # transformers 5.6 and later have no inner wrapper
        state = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    state = {name: tensor for name, tensor in state.items() if not name.endswith("position_ids")}
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        why = shorten(str(error), 300)
        raise HostError(f"The checkpoint's text encoder has other sizes than its config.json says: {why}") from error
    wrong = [name for name in missing if not name.endswith("position_ids")] + unexpected
    if wrong:
        raise HostError(f"The checkpoint's text encoder does not fit its config.json: {wrong[0]}.")
    return network
