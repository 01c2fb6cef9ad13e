"""LoRA files through the built-in Lora extension: facts for binding, deltas for rows, text encoders for branches."""

import difflib
import json
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from modules import shared
from torch import nn

from clora_ext.engine.job import Wear
from clora_ext.errors import HostError, LoraError
from clora_ext.lora.deltas import Delta, Full, LowRank
from clora_ext.prompt import LoraFacts

ADAPTED = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)
"""Layers that the built-in Lora merges into (extensions-builtin/Lora/lora_patches.py)."""


def builtin() -> Any:
    """The built-in Lora extension's module ``networks``. Raises ``HostError`` when the extension is disabled."""
    try:
        import networks
    except ModuleNotFoundError as error:
        msg = "WebUI's built-in extension Lora is disabled; enable it under Extensions and restart."
        raise HostError(msg) from error
    return networks


def on_disk(name: str, *, refresh: bool = True) -> Any:
    """The file that ``name`` (or an alias) stands for. Raises ``LoraError`` with near names when there is none.

    ``refresh`` looks into the folder again for a name that is not known.
    """
    networks = builtin()
    for again in (False, True) if refresh else (False,):
        if again:
            networks.list_available_networks()
        found = networks.available_networks.get(name)
        if found is None and name.lower() not in networks.forbidden_network_aliases:
            found = networks.available_network_aliases.get(name)
        if found is not None:
            return found
    known = sorted(networks.available_networks)
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.3) or known[:5]
    folder = Path(shared.cmd_opts.lora_dir).name
    choices = f"did you mean {', '.join(near)}?" if near else f"the folder {folder} holds none."
    raise LoraError(f"There is no LoRA “{name}”; {choices}", field="lora")


def misfit(name: str) -> str | None:
    """The kind of model that a LoRA's own metadata names, if that is not Stable Diffusion 1.x."""
    return {"SDXL": "SDXL", "SD2": "Stable Diffusion 2"}.get(on_disk(name, refresh=False).sd_version.name)


def facts(name: str, *, refresh: bool = True) -> LoraFacts:
    """What binding wants to know of a LoRA: its names, its activation text, the words of its training tags."""
    found = on_disk(name, refresh=refresh)
    user = _user_metadata(found.filename)
    metadata = found.metadata or {}
    triggers = [user.get("activation text", ""), metadata.get("modelspec.trigger_phrase", "")]
    tags = [tag for folder in _tag_frequency(metadata).values() for tag in folder]
    return LoraFacts(
        name=name,
        aliases=tuple(dict.fromkeys([found.name, str(found.alias)])),
        triggers=tuple(dict.fromkeys(trigger.strip() for trigger in triggers if trigger and trigger.strip())),
        words=tuple(dict.fromkeys(tags)),
    )


def _user_metadata(filename: str) -> dict[str, Any]:
    path = Path(filename).with_suffix(".json")
    try:
        read = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}  # the host reports a broken file when it lists LoRAs
    return read if isinstance(read, dict) else {}


def _tag_frequency(metadata: dict[str, Any]) -> dict[str, dict[str, int]]:
    read = metadata.get("ss_tag_frequency", {})
    if isinstance(read, str):
        try:
            read = json.loads(read)
        except ValueError:
            return {}
    return {k: v for k, v in read.items() if isinstance(v, dict)} if isinstance(read, dict) else {}


def loaded(names: Iterable[str]) -> dict[str, Any]:
    """Network objects by name, loaded from disk where the host has not. Raises ``LoraError`` for a misfit."""
    networks = builtin()
    at_hand = {net.name: net for net in networks.loaded_networks}
    found: dict[str, Any] = {}
    for name in names:
        net = at_hand.get(name) or networks.networks_in_memory.get(name)
        if net is None:
            try:
                net = networks.load_network(name, on_disk(name))
            except LoraError:
                raise
            except Exception as error:
                raise LoraError(f"LoRA {name} could not be loaded: {error}", field="lora") from error
            net.mentioned_name = name
        if not net.modules:
            msg = f"LoRA {name} fits no layer of the loaded model; it was made for another kind of model."
            raise LoraError(msg, field="lora")
        found[name] = net
    return found


def wear(wears: Sequence[Wear], nets: dict[str, Any]) -> None:
    """Make the host apply ``wears``, in this order, until it next loads the LoRAs of a prompt."""
    for wear in wears:
        _set(nets[wear.name], wear)
    builtin().loaded_networks[:] = [nets[wear.name] for wear in wears]


def _set(net: Any, wear: Wear) -> None:
    net.te_multiplier, net.unet_multiplier, net.dyn_dim = wear.te, wear.unet, wear.dyn


@contextmanager
def wearing(wears: Sequence[Wear], nets: dict[str, Any], others: Sequence[Any]) -> Generator[None, None, None]:
    """While inside, the host applies exactly ``wears`` and ``others`` to whatever it encodes or denoises."""
    networks = builtin()
    before = list(networks.loaded_networks)
    chosen = [nets[wear.name] for wear in wears]
    strengths = [(net, net.te_multiplier, net.unet_multiplier, net.dyn_dim) for net in chosen]
    for net, wear in zip(chosen, wears, strict=True):
        _set(net, wear)
    networks.loaded_networks[:] = [*others, *chosen]
    try:
        yield
    finally:
        networks.loaded_networks[:] = before
        for net, te, unet, dyn in strengths:
            net.te_multiplier, net.unet_multiplier, net.dyn_dim = te, unet, dyn


def settle(unet: nn.Module) -> None:
    """Bring every layer's merged weights up to date now: the host does it lazily, which breaks a backward pass."""
    networks = builtin()
    if shared.opts.lora_functional:
        return
    with torch.no_grad():
        for layer in unet.modules():
            if isinstance(layer, ADAPTED):
                networks.network_apply_weights(layer)


def unet_deltas(net: Any, wear: Wear) -> dict[nn.Module, Delta]:
    """What ``net`` adds to each UNet layer at the strength of ``wear``, against the layers' present weights."""
    strengths = net.te_multiplier, net.unet_multiplier, net.dyn_dim
    _set(net, wear)
    try:
        with torch.no_grad():
            return {
                module.sd_module: delta_of(module)
                for key, module in net.modules.items()
                if "transformer" not in key[:20]  # the host's own test for a text encoder (network.py)
            }
    finally:
        net.te_multiplier, net.unet_multiplier, net.dyn_dim = strengths


def delta_of(module: Any) -> Delta:
    """One layer's change. Plain low-rank factors stay factors; every other kind becomes a difference of weights."""
    factors = getattr(module, "up_model", None), getattr(module, "down_model", None)
    plain = (
        all(factor is not None for factor in factors)
        and getattr(module, "mid_model", None) is None
        and module.dora_scale is None
        and module.bias is None
        and module.network.dyn_dim is None
        and isinstance(module.sd_module, nn.Linear | nn.Conv2d)
    )
    if plain:
        up, down = factors
        return LowRank(down.weight, up.weight, float(module.calc_scale() * module.multiplier()))
    layer = module.sd_module
    weight, bias = module.calc_updown(layer.weight)
    return Full(weight, bias)
