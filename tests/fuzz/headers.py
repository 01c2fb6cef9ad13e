"""Safetensors files with damage: in the length, in the header as JSON and as bytes, in the numbers."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import torch
from safetensors.torch import save

GIGABYTE = 2**30
ODD: tuple[Any, ...] = (None, True, -1, 0, 1.5, 2**63, 10**400, "", "x", "\ud83d", [], [[]], {}, float("nan"), -(2**63))
"""Values that stand where others are meant."""
LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
Header = dict[str, Any]


def whole_files() -> list[bytes]:
    """Sound files of some kinds."""
    pair = {f"{LAYER}.lora_down.weight": torch.ones(2, 6), f"{LAYER}.lora_up.weight": torch.ones(8, 2)}
    peft = {
        "unet.mid_block.to_q.lora_A.weight": torch.ones(2, 6),
        "unet.mid_block.to_q.lora_B.weight": torch.ones(8, 2),
    }
    loha = {f"{LAYER}.hada_w{n}_{side}": torch.ones(2, 2) for n in (1, 2) for side in "ab"}
    told = {"ss_base_model_version": "sd_v1", "lora_adapter_metadata": json.dumps({"unet.lora_alpha": 2})}
    alpha = {f"{LAYER}.alpha": torch.tensor(1.0)}
    return [
        save(pair | alpha, told),
        save(peft, told),
        save(loha | alpha),
        save(pair | {"emb_params": torch.ones(2, 6)}),
    ]


def mutated(whole: bytes, random: Random) -> bytes:
    """``whole`` with one to three kinds of damage."""
    for _ in range(random.randint(1, 3)):
        whole = random.choice(DAMAGE)(whole, random)
    return whole


def _parts(whole: bytes) -> tuple[Header, bytes] | None:
    """The header and what follows it; None where it is damaged already."""
    length = int.from_bytes(whole[:8], "little")
    try:
        header = json.loads(whole[8 : 8 + length])
    except (ValueError, RecursionError):
        return None
    return (header, whole[8 + length :]) if isinstance(header, dict) else None


def _joined(header: Header | str, rest: bytes) -> bytes:
    text = header if isinstance(header, str) else json.dumps(header)
    written = text.encode("utf-8", "surrogatepass")
    return len(written).to_bytes(8, "little") + written + rest


def _in_header(change: Callable[[Header, Random], Header | str]) -> Callable[[bytes, Random], bytes]:
    def damage(whole: bytes, random: Random) -> bytes:
        parts = _parts(whole)
        return whole if parts is None else _joined(change(parts[0], random), parts[1])

    return damage


def _odd_field(header: Header, random: Random) -> Header:
    name = random.choice([*header, "new"])
    entry = header.setdefault(name, {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})
    if isinstance(entry, dict):
        entry[random.choice(["dtype", "shape", "data_offsets", "more"])] = random.choice(ODD)
    return header


def _odd_number(header: Header, random: Random) -> Header:
    for entry in header.values():
        numbers = entry.get(random.choice(["shape", "data_offsets"])) if isinstance(entry, dict) else None
        if isinstance(numbers, list) and numbers and random.random() < 0.5:
            numbers[random.randrange(len(numbers))] = random.choice([*ODD, random.randint(-9, 99)])
    return header


def _odd_entry(header: Header, random: Random) -> Header:
    header[random.choice([*header, "__metadata__", "", "\x00", "a" * 5000])] = random.choice(ODD)
    return header


def _odd_metadata(header: Header, random: Random) -> Header:
    keys = ["ss_base_model_version", "lora_adapter_metadata", "modelspec.trigger_phrase"]
    header["__metadata__"] = {random.choice(keys): random.choice([*ODD, "[" * 3000, '{"unet.alpha_pattern": []}'])}
    return header


def _renamed(header: Header, random: Random) -> Header:
    old = random.choice([*header, ""])
    new = old.replace(
        random.choice(["lora_", ".", "weight", "_"]), random.choice(["", ".", "..", "lora_te_", "\u202e"])
    )
    return {new if name == old else name: entry for name, entry in header.items()}


def _dropped(header: Header, random: Random) -> Header:
    gone = random.choice([*header, ""])
    return {name: entry for name, entry in header.items() if name != gone}


def _doubled(header: Header, _random: Random) -> str:
    """Every name twice, which JSON lets pass."""
    text = json.dumps(header)
    return text[:-1] + "," + text[1:]


def _flipped(whole: bytes, random: Random) -> bytes:
    place = random.randrange(len(whole)) if whole else 0
    return whole[:place] + random.randbytes(1) + whole[place + 1 :]


def _cut(whole: bytes, random: Random) -> bytes:
    return whole[: random.randint(0, len(whole))]


def _longer(whole: bytes, random: Random) -> bytes:
    place = random.randint(0, len(whole))
    return whole[:place] + random.randbytes(random.randint(1, 40)) + whole[place:]


def _length(whole: bytes, random: Random) -> bytes:
    lengths = [0, 1, 2, len(whole), GIGABYTE, 2**63, 2**64 - 1, random.randint(0, 400)]
    return random.choice(lengths).to_bytes(8, "little") + whole[8:]


def _not_finite(whole: bytes, random: Random) -> bytes:
    return whole[:-4] + random.choice([b"\x00\x00\xc0\x7f", b"\x00\x00\x80\xff"])


def _other_file(_whole: bytes, random: Random) -> bytes:
    return random.choice([b"", b"PK\x03\x04", b"\x80\x02}", b"<html>", b"version https://git-lfs", b"{" * 9]) * 3


DAMAGE = (
    *(
        _in_header(change)
        for change in (_odd_field, _odd_number, _odd_entry, _odd_metadata, _renamed, _dropped, _doubled)
    ),
    *(_flipped, _cut, _longer, _length, _not_finite, _other_file),
)
