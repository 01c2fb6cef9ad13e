"""Make the checkpoint, the two LoRAs and the tokenizer of the reference outputs again, bit for bit, from their seeds.

The reference model is SD1's topology, 32 channels wide, with the weights that PyTorch gives a fresh model: seeds 0
(model), 1 (tinyA) and 2 (tinyB). What matters is the order of the draws from the random generator, which this file
spells out; no library that defines the networks is needed. All weights are checked against digests of the originals.

`python -m tests.golden.authors.rebuild FOLDER` writes `checkpoint/`, `lora/`, `tiny-clip/` and `golden/`.
"""

import hashlib
import json
import math
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]

CHANNELS = 32
MULTIPLIERS = (1, 2, 4, 4)
BLOCKS = 2
LEVELS_WITH_ATTENTION = (0, 1, 2)
CONTEXT = 64
TEXT_LAYERS = 3
VOCABULARY = 49408
RANK = 4

DIGESTS = {
    "tiny-sd1": "667cc7a1888e9f5774fc3ffe48c5c3c48a19e04910cbf6eaf1bd1d49c2874d0c",
    "tinyA": "6d76c39a23ea2203c9468058773e80e0e1b81954e5ed7e784d4ec56794793bd8",
    "tinyB": "20e642670a75d23a3c07bcdb81c52681858ecbd418e29e20e0b09e2f225d27b1",
    "vocab": "970030e2064dba4e4b368853e20846ac6b61f7ca8d6af1085c20697626eb3f27",
}
"""SHA-256 of the originals: `tensors_digest` of the weights, the file's own of the vocabulary."""

Weights = dict[str, Tensor]

AS_ORIGINAL = platform.system() == "Linux" and platform.machine() == "x86_64"
"""Where the originals were made. Elsewhere torch may draw normal numbers whose last bits differ."""


class OtherNumbersError(ValueError):
    """torch draws other random numbers here than where the originals were made."""


def parity_folder() -> Path:
    """Return the folder with the reference model: `CLORA_PARITY`, else one made (once, 70 MB) below `out/`."""
    named = os.environ.get("CLORA_PARITY")
    if named:
        return Path(named).expanduser().resolve()
    folder = CHECKOUT / "out" / "parity"
    if not folder.is_dir():
        folder.parent.mkdir(exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix="parity-"))
        rebuild(scratch)
        try:
            scratch.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(scratch)
    return folder


def rebuild(folder: Path) -> None:
    """Write the reference model and its outputs below `folder`. Raise OtherNumbersError where a digest differs."""
    for name in ("checkpoint", "lora", "tiny-clip", "golden"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    model = make_model(seed=0)
    _check("tiny-sd1", tensors_digest(model))
    save_file(model, folder / "checkpoint" / "tiny-sd1.safetensors", metadata={"format": "pt"})
    shutil.copyfile(HERE / "tiny-sd1.yaml", folder / "checkpoint" / "tiny-sd1.yaml")
    for name, seed in {"tinyA": 1, "tinyB": 2}.items():
        lora = make_lora(model, seed=seed)
        _check(name, tensors_digest(lora))
        save_file(lora, folder / "lora" / f"{name}.safetensors", metadata=lora_metadata(name))
    write_tokenizer(folder / "tiny-clip")
    for file in HERE.glob("*-s1.*"):
        shutil.copyfile(file, folder / "golden" / file.name)


def tensors_digest(weights: Weights) -> str:
    """SHA-256 of tensors, by name: names, dtypes, shapes and bytes. The order of the dictionary plays no part."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _check(name: str, digest: str) -> None:
    if digest != DIGESTS[name]:
        message = (
            f"{name} came out different from the original: torch {torch.__version__} draws other random numbers. "
            "Use torch 2.1 to 2.13 on Linux and a CPU of x86, or set CLORA_PARITY to a folder with the original files."
        )
        raise OtherNumbersError(message)


# -- the checkpoint --------------------------------------------------------------------------------------------------


class _Maker:
    """Collects weights, drawn in the order of the calls. `zeroed` names those that SD1 starts from zero."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.weights: Weights = {}
        self.zeroed: list[str] = []

    def uniform(self, shape: tuple[int, ...], bound: float) -> Tensor:
        return torch.empty(shape).uniform_(-bound, bound, generator=self.generator)

    def normal(self, shape: tuple[int, ...], std: float = 1.0, mean: float = 0.0) -> Tensor:
        return torch.empty(shape).normal_(mean, std, generator=self.generator)

    def layer(self, name: str, out: int, into: int, kernel: int = 0, *, bias: bool = True, zero: bool = False) -> None:
        """Add a linear layer (`kernel` 0) or a square convolution, as PyTorch fills them: uniform, 1/sqrt(fan-in)."""
        shape = (out, into, kernel, kernel) if kernel else (out, into)
        weight = self.uniform(shape, _kaiming_bound(shape))
        offset = self.uniform((out,), 1 / math.sqrt(math.prod(shape[1:]))) if bias else None
        self.weights[f"{name}.weight"] = weight
        if offset is not None:
            self.weights[f"{name}.bias"] = torch.zeros(out) if zero else offset
        if zero:
            self.zeroed.append(f"{name}.weight")

    def norm(self, name: str, width: int) -> None:
        self.weights[f"{name}.weight"], self.weights[f"{name}.bias"] = torch.ones(width), torch.zeros(width)


def _kaiming_bound(shape: tuple[int, ...]) -> float:
    # written as PyTorch computes it (gain, then std, then bound): another order of rounding gives other bits
    gain = math.sqrt(2.0 / (1 + math.sqrt(5) ** 2))
    return math.sqrt(3.0) * (gain / math.sqrt(math.prod(shape[1:])))


def make_model(seed: int) -> Weights:
    """Return the checkpoint in SD1's (ldm) names, float32: UNet, KL autoencoder, text encoder, noise schedule."""
    maker = _Maker(seed)
    _unet(maker)
    _autoencoder(maker)
    _text_encoder(maker)
    for name in maker.zeroed:  # otherwise neither attention nor a LoRA would change anything
        shape = tuple(maker.weights[name].shape)
        maker.weights[name] = maker.uniform(shape, _kaiming_bound(shape))
    text = "cond_stage_model.transformer.text_model"
    maker.weights[f"{text}.embeddings.token_embedding.weight"] = maker.normal((VOCABULARY, CONTEXT))
    # a mean that is not zero: WebUI's emphasis divides by it
    maker.weights[f"{text}.final_layer_norm.weight"] = maker.normal((CONTEXT,), 0.2, mean=1.0)
    maker.weights[f"{text}.final_layer_norm.bias"] = maker.normal((CONTEXT,), 0.2, mean=0.1)
    for name in maker.weights:  # sharper maps, and an effect one can see
        if re.search(r"attn2\.to_[qk]\.weight", name):
            maker.weights[name] *= 3
        elif re.search(r"attn2\.to_(v|out\.0)\.weight", name):
            maker.weights[name] *= 2
    betas = np.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000, dtype=np.float64) ** 2
    maker.weights["betas"] = torch.tensor(betas, dtype=torch.float32)
    maker.weights["alphas_cumprod"] = torch.tensor(np.cumprod(1 - betas), dtype=torch.float32)
    return maker.weights


def _unet(maker: _Maker) -> None:
    root = "model.diffusion_model"
    time = 4 * CHANNELS
    maker.layer(f"{root}.time_embed.0", time, CHANNELS)
    maker.layer(f"{root}.time_embed.2", time, time)
    maker.layer(f"{root}.input_blocks.0.0", CHANNELS, 4, 3)
    widths, width, index = [CHANNELS], CHANNELS, 1
    for level, multiplier in enumerate(MULTIPLIERS):
        for _ in range(BLOCKS):
            _unet_block(maker, f"{root}.input_blocks.{index}", multiplier * CHANNELS, width, level)
            width = multiplier * CHANNELS
            widths.append(width)
            index += 1
        if level < len(MULTIPLIERS) - 1:
            maker.layer(f"{root}.input_blocks.{index}.0.op", width, width, 3)
            widths.append(width)
            index += 1
    _resnet(maker, f"{root}.middle_block.0", width, width)
    _transformer(maker, f"{root}.middle_block.1", width)
    _resnet(maker, f"{root}.middle_block.2", width, width)
    index = 0
    for level, multiplier in reversed(list(enumerate(MULTIPLIERS))):
        for block in range(BLOCKS + 1):
            _unet_block(maker, f"{root}.output_blocks.{index}", multiplier * CHANNELS, width + widths.pop(), level)
            width = multiplier * CHANNELS
            if level and block == BLOCKS:
                place = 2 if level in LEVELS_WITH_ATTENTION else 1
                maker.layer(f"{root}.output_blocks.{index}.{place}.conv", width, width, 3)
            index += 1
    maker.norm(f"{root}.out.0", width)
    maker.layer(f"{root}.out.2", 4, CHANNELS, 3, zero=True)


def _unet_block(maker: _Maker, name: str, out: int, into: int, level: int) -> None:
    _resnet(maker, f"{name}.0", out, into)
    if level in LEVELS_WITH_ATTENTION:
        _transformer(maker, f"{name}.1", out)


def _resnet(maker: _Maker, name: str, out: int, into: int) -> None:
    maker.norm(f"{name}.in_layers.0", into)
    maker.layer(f"{name}.in_layers.2", out, into, 3)
    maker.layer(f"{name}.emb_layers.1", out, 4 * CHANNELS)
    maker.norm(f"{name}.out_layers.0", out)
    maker.layer(f"{name}.out_layers.3", out, out, 3, zero=True)
    if out != into:
        maker.layer(f"{name}.skip_connection", out, into, 1)


def _transformer(maker: _Maker, name: str, width: int) -> None:
    block = f"{name}.transformer_blocks.0"
    maker.norm(f"{name}.norm", width)
    maker.layer(f"{name}.proj_in", width, width, 1)
    _attention(maker, f"{block}.attn1", width, width)
    maker.layer(f"{block}.ff.net.0.proj", 8 * width, width)
    maker.layer(f"{block}.ff.net.2", width, 4 * width)
    _attention(maker, f"{block}.attn2", width, CONTEXT)
    for number in (1, 2, 3):
        maker.norm(f"{block}.norm{number}", width)
    maker.layer(f"{name}.proj_out", width, width, 1, zero=True)


def _attention(maker: _Maker, name: str, width: int, context: int) -> None:
    maker.layer(f"{name}.to_q", width, width, bias=False)
    maker.layer(f"{name}.to_k", width, context, bias=False)
    maker.layer(f"{name}.to_v", width, context, bias=False)
    maker.layer(f"{name}.to_out.0", width, width)


def _autoencoder(maker: _Maker) -> None:
    root, top = "first_stage_model", MULTIPLIERS[-1] * CHANNELS
    width = CHANNELS
    maker.layer(f"{root}.encoder.conv_in", width, 3, 3)
    for level, multiplier in enumerate(MULTIPLIERS):
        for block in range(BLOCKS):
            _vae_resnet(maker, f"{root}.encoder.down.{level}.block.{block}", multiplier * CHANNELS, width)
            width = multiplier * CHANNELS
        if level < len(MULTIPLIERS) - 1:
            maker.layer(f"{root}.encoder.down.{level}.downsample.conv", width, width, 3)
    _vae_middle(maker, f"{root}.encoder.mid", top)
    maker.norm(f"{root}.encoder.norm_out", top)
    maker.layer(f"{root}.encoder.conv_out", 8, top, 3)
    maker.layer(f"{root}.decoder.conv_in", top, 4, 3)
    _vae_middle(maker, f"{root}.decoder.mid", top)
    for level, multiplier in reversed(list(enumerate(MULTIPLIERS))):
        for block in range(BLOCKS + 1):
            _vae_resnet(maker, f"{root}.decoder.up.{level}.block.{block}", multiplier * CHANNELS, width)
            width = multiplier * CHANNELS
        if level:
            maker.layer(f"{root}.decoder.up.{level}.upsample.conv", width, width, 3)
    maker.norm(f"{root}.decoder.norm_out", CHANNELS)
    maker.layer(f"{root}.decoder.conv_out", 3, CHANNELS, 3)
    maker.layer(f"{root}.quant_conv", 8, 8, 1)
    maker.layer(f"{root}.post_quant_conv", 4, 4, 1)


def _vae_resnet(maker: _Maker, name: str, out: int, into: int) -> None:
    maker.norm(f"{name}.norm1", into)
    maker.layer(f"{name}.conv1", out, into, 3)
    maker.norm(f"{name}.norm2", out)
    maker.layer(f"{name}.conv2", out, out, 3)
    if out != into:
        maker.layer(f"{name}.nin_shortcut", out, into, 1)


def _vae_middle(maker: _Maker, name: str, width: int) -> None:
    _vae_resnet(maker, f"{name}.block_1", width, width)
    maker.norm(f"{name}.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        maker.layer(f"{name}.attn_1.{part}", width, width, 1)
    _vae_resnet(maker, f"{name}.block_2", width, width)


def _text_encoder(maker: _Maker) -> None:
    root, wide = "cond_stage_model.transformer.text_model", 4 * CONTEXT
    maker.weights[f"{root}.embeddings.position_ids"] = torch.arange(77)[None]
    attention = ("self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj", "self_attn.out_proj")
    maker.normal((VOCABULARY, CONTEXT))  # PyTorch's own filling of layers, drawn and then written over by CLIP's
    maker.normal((77, CONTEXT))
    for number in range(TEXT_LAYERS):
        layer = f"{root}.encoder.layers.{number}"
        for part in attention:
            maker.layer(f"{layer}.{part}", CONTEXT, CONTEXT)
        maker.layer(f"{layer}.mlp.fc1", wide, CONTEXT)
        maker.layer(f"{layer}.mlp.fc2", CONTEXT, wide)
        maker.norm(f"{layer}.layer_norm1", CONTEXT)
        maker.norm(f"{layer}.layer_norm2", CONTEXT)
    maker.normal((VOCABULARY, CONTEXT), 0.02)
    maker.weights[f"{root}.embeddings.position_embedding.weight"] = maker.normal((77, CONTEXT), 0.02)
    inner = CONTEXT**-0.5 * (2 * TEXT_LAYERS) ** -0.5
    spread = {"self_attn.q_proj": inner, "self_attn.k_proj": inner, "self_attn.v_proj": inner}
    spread |= {"self_attn.out_proj": CONTEXT**-0.5, "mlp.fc1": (2 * CONTEXT) ** -0.5, "mlp.fc2": inner}
    for number in range(TEXT_LAYERS):
        for part, std in spread.items():
            name = f"{root}.encoder.layers.{number}.{part}"
            maker.weights[f"{name}.weight"] = maker.normal(tuple(maker.weights[f"{name}.weight"].shape), std)
            maker.weights[f"{name}.bias"] = torch.zeros_like(maker.weights[f"{name}.bias"])


# -- the LoRAs -------------------------------------------------------------------------------------------------------

_TEXT_TARGET = re.compile(
    r"cond_stage_model\.transformer\.(text_model\.encoder.*_proj|text_model\.encoder.*\.fc\d)\.weight"
)
_UNET_TARGET = re.compile(
    r"model\.diffusion_model\.((?:input|middle|output)_block.*\.(?:proj_(?:in|out)|to_.*|ff\.net.*))\.weight"
)


def make_lora(model: Weights, seed: int, rank: int = RANK) -> Weights:
    """Return a random kohya LoRA for every layer that kohya's trainer takes in `model`, text encoder included.

    Down weights are normal with variance 1/fan-in, up weights normal with standard deviation 0.15, alpha is the rank.
    """
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}
    for target in sorted(filter(lora_name, model)):
        name, shape = str(lora_name(target)), model[target].shape
        ones = (1,) * (len(shape) - 2)
        down = torch.randn((rank, *shape[1:]), generator=generator) / math.sqrt(math.prod(shape[1:]))
        up = torch.randn((shape[0], rank, *ones), generator=generator) * 0.15
        weights |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(rank)}
    return weights


def lora_name(weight: str) -> str | None:
    """Return kohya's name of a layer, given its weight's name in SD1's checkpoint; None for a layer it leaves alone."""
    if text := _TEXT_TARGET.fullmatch(weight):
        return "lora_te_" + text[1].replace(".", "_")
    if unet := _UNET_TARGET.fullmatch(weight):
        return "lora_unet_" + re.sub(r"^(\w+)_blocks?\.(\d+)(?:\.\d)?", _diffusers_place, unet[1]).replace(".", "_")
    return None


def _diffusers_place(place: re.Match[str]) -> str:
    side, number = place[1], int(place[2])
    if side == "middle":
        return "mid_block_attentions_0"
    level, index = divmod(number - 1, BLOCKS + 1) if side == "input" else divmod(number, BLOCKS + 1)
    return f"{'down' if side == 'input' else 'up'}_blocks_{level}_attentions_{index}"


def lora_metadata(name: str) -> dict[str, str]:
    """Return the entries of kohya's safetensors header that a host looks at."""
    return {
        "ss_output_name": name,
        "ss_network_module": "networks.lora",
        "ss_base_model_version": "sd_v1",
        "ss_network_dim": str(RANK),
        "ss_network_alpha": str(RANK),
    }


# -- the tokenizer ---------------------------------------------------------------------------------------------------


def write_tokenizer(folder: Path) -> None:
    """Write CLIP's tokenizer and the text encoder's config. The vocabulary follows from the merges."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    special = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    text = json.dumps(vocabulary(), indent=1, ensure_ascii=False)
    _check("vocab", hashlib.sha256(text.encode()).hexdigest())
    (folder / "vocab.json").write_text(text, encoding="utf-8", newline="\n")
    shutil.copyfile(HERE / "clip-merges.txt", folder / "merges.txt")
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, "errors": "replace"}
        | {"add_prefix_space": False}
        | special,
    )
    _write_json(
        folder / "config.json",
        {
            "architectures": ["CLIPTextModel"],
            "model_type": "clip_text_model",
            "vocab_size": VOCABULARY,
            "hidden_size": CONTEXT,
            "intermediate_size": 4 * CONTEXT,
            "projection_dim": CONTEXT,
            "num_hidden_layers": TEXT_LAYERS,
            "num_attention_heads": 4,
            "max_position_embeddings": 77,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-05,
            "attention_dropout": 0.0,
            "dropout": 0.0,
            "initializer_factor": 1.0,
            "initializer_range": 0.02,
            "bos_token_id": VOCABULARY - 2,
            "eos_token_id": VOCABULARY - 1,
            "pad_token_id": 1,
            "torch_dtype": "float32",
        },
    )


def vocabulary() -> dict[str, int]:
    """Return CLIP's vocabulary, 49,408 entries: bytes, bytes at a word's end, one per merge, start and end."""
    letters = list(_byte_letters())
    lines = (HERE / "clip-merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [line.replace(" ", "") for line in lines[1:] if line]
    words = [*letters, *(letter + "</w>" for letter in letters), *merges, "<|startoftext|>", "<|endoftext|>"]
    return {word: number for number, word in enumerate(words)}


def _byte_letters() -> Iterator[str]:
    # byte-level BPE writes a byte as a printable letter: itself where it is one, else the next letter above 255
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    yield from map(chr, printable)
    yield from (chr(256 + number) for number in range(256 - len(printable)))


def _write_json(path: Path, content: dict[str, object] | dict[str, str]) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    rebuild(Path(sys.argv[1]))
    for file in sorted(Path(sys.argv[1]).rglob("*.safetensors")):
        sys.stdout.write(f"{tensors_digest(load_file(file))}  {file}\n")
