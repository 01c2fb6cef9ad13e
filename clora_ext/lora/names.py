"""How trainers name a LoRA's tensors: diffusers' names, PEFT's, numbers and variations, put as kohya's trainer does.

kohya's name is `lora_unet_<layer>.<part>` or `lora_te1_<layer>.<part>`, with bars for the dots of a layer's name. A
layer may be called as diffusers, ldm or sgm call it; that is not changed here.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import product

from torch import Tensor

UNET = "lora_unet_"
"""kohya's beginning of the name of a UNet's layer."""
TEXT = "lora_te"
"""That of a text encoder's layer, before the encoder's number."""
EMBEDDING = "bundle_emb."
"""That of a textual inversion embedding that a LoRA brings along."""
_ONE_ENCODER, _FIRST_OF_TWO = f"{TEXT}_", f"{TEXT}1_"

_FRONT = re.compile(
    r"base_model_model_|lora_|oft_|lycoris_|model_(?=diffusion_model_)"
    r"|(?P<unet>unet_|diffusion_model_)|(?P<te>te_)|(?P<te1>te1_|text_encoder_(?!2_))|(?P<te2>te2_|text_encoder_2_)"
)
_PLAIN_PARTS = (
    r"lora_(?:down|up|mid)\.weight|alpha|scale|dora_scale|diff|diff_b|[wb]_norm|hada_\w+|lokr_\w+|oft_\w+|rescale"
    r"|[ab][12]\.weight|weight|on_input|bias|bias_\w+"
)
_LOW_RANK = re.compile(r"[._]lora(?:_linear_layer)?[._](down|up|mid)\.weight$")
_PEFT = re.compile(r"\.lora_([AB])(?:\.(?!weight)\w+)?\.weight$")
_WHOLE_OF_PEFT = re.compile(r"\.(lora_magnitude_vector|ia3_l|oft_R)(?:\.(?!weight)\w+)?(?:\.weight)?$")
_OTHER = re.compile(rf"\.({_PLAIN_PARTS})$")
_NUMBERED = re.compile(r"(unet|text_encoder):(\d+):(down|up)$")
_SIDES = {"A": "down", "B": "up"}


def kohya_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by kohya's names; what can not be put so keeps its name.

    DoRA's magnitudes, which PEFT keeps as a vector, become a column, as LyCORIS keeps them.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        new = kohya_name(name)
        is_vector = new.endswith(".dora_scale") and tensor.dim() == 1
        found[new] = tensor.unsqueeze(1) if is_vector else tensor
    return found


def kohya_name(name: str) -> str:
    """kohya's name of a tensor; ``name`` itself where it is none of a LoRA's that is known."""
    if name.startswith(EMBEDDING):
        return name
    if re.fullmatch(r"<\w+>", name):  # of cloneofsimo's trainer, an embedding
        return f"{EMBEDDING}{name}.string_to_param.*"
    numbered = _NUMBERED.fullmatch(name)
    if numbered:
        return _of_number(numbered[1], int(numbered[2]), numbered[3]) or name
    path, part = _divided(name)
    return f"{_layer(path)}.{part}" if part else name


def _divided(name: str) -> tuple[str, str]:
    """The layer's path and the part of it; no part where none is known."""
    if found := _LOW_RANK.search(name):
        return name[: found.start()], f"lora_{found[1]}.weight"
    if found := _PEFT.search(name):
        return name[: found.start()], f"lora_{_SIDES[found[1]]}.weight"
    if found := _WHOLE_OF_PEFT.search(name):
        return name[: found.start()], "dora_scale" if found[1] == "lora_magnitude_vector" else found[1]
    found = _OTHER.search(name)
    return (name[: found.start()], found[1]) if found else (name, "")


def _layer(path: str) -> str:
    """kohya's name of a layer: every word in front is taken off, however often it stands there."""
    rest, place = path.replace(".", "_"), ""
    while found := _FRONT.match(rest):
        rest, place = rest[found.end() :], found.lastgroup or place
    rest = re.sub(r"_(?:lora|processor)(?=_|$)", "", rest)
    if not place:
        place = "te1" if rest.startswith("text_model_") else "unet"
    return f"lora_{place}_{_as_in_unet(rest) if place == 'unet' else _as_in_clip(rest)}"


def _as_in_unet(layer: str) -> str:
    """diffusers' attention processors leave out that the way out is the first of two layers."""
    return f"{layer}_0" if layer.endswith("_to_out") else layer


def _as_in_clip(layer: str) -> str:
    """diffusers' attention processors give CLIP's layers the names of the UNet's."""
    layer = re.sub(r"_self_attn_to_([qkv])$", r"_self_attn_\1_proj", layer)
    return re.sub(r"_self_attn_to_out(_0)?$", "_self_attn_out_proj", layer)


# -- layers by number ------------------------------------------------------------------------------------------------


def _of_number(network: str, number: int, side: str) -> str | None:
    """kohya's name of the layer that cloneofsimo's trainer gives a number; None for one that is not known."""
    if network == "text_encoder":  # in the order in which transformers makes a layer
        layer, place = divmod(number, 4)
        inner = ("k_proj", "v_proj", "q_proj", "out_proj")[place]
        return f"{_ONE_ENCODER}text_model_encoder_layers_{layer}_self_attn_{inner}.lora_{side}.weight"
    layers = list(_layers_of_unet())
    return f"{UNET}{layers[number]}.lora_{side}.weight" if number < len(layers) else None


def _layers_of_unet() -> Iterator[str]:
    """The attention and feed-forward layers of SD 1.x and 2.x, in the order in which diffusers once made them."""
    blocks = [f"down_blocks_{level}_attentions_{place}" for level, place in product(range(3), range(2))]
    blocks += [f"up_blocks_{level}_attentions_{place}" for level, place in product(range(1, 4), range(3))]
    attention = ("to_q", "to_k", "to_v", "to_out_0")
    inner = [f"attn1_{layer}" for layer in attention] + ["ff_net_0_proj"] + [f"attn2_{layer}" for layer in attention]
    for block, layer in product([*blocks, "mid_block_attentions_0"], inner):
        yield f"{block}_transformer_blocks_0_{layer}"


def for_encoders(tensors: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """The tensors with the first text encoder called as kohya calls it in a model with so many of them.

    A file of diffusers does not say how many there are. kohya's own with a name for the only one is not for two.
    """
    if number > 1:
        return dict(tensors)
    return {_renamed(name): tensor for name, tensor in tensors.items()}


def _renamed(name: str) -> str:
    return _ONE_ENCODER + name.removeprefix(_FIRST_OF_TWO) if name.startswith(_FIRST_OF_TWO) else name
