"""The host's network objects: loaded, worn by the host at given strengths, and as deltas for our rows."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from modules import shared
from torch import nn

from clora_ext.engine.branches import ActiveLora
from clora_ext.errors import LoraError
from clora_ext.hosts.webui.drive.catalogue import builtin, misfit
from clora_ext.hosts.webui.drive.embeddings import bring_embeddings, carriers
from clora_ext.hosts.webui.drive.own_networks import fitting, keep_only, own_network
from clora_ext.lora.deltas import Delta, DenseDelta, LowRank
from clora_ext.lora.kinds import MisfitError
from clora_ext.lora.layers import ADAPTED

Networks = Mapping[str, Any]
"""The host's network objects by name."""


def load_networks(names: Iterable[str], tell: Callable[[str], None]) -> dict[str, Any]:
    """Network objects by name, loaded from disk where the host has not, or could not; ``tell`` is told of notes.

    Raises ``LoraError`` for a file that is damaged or does not fit the loaded checkpoint.
    """
    at_hand = {net.network_on_disk.name: net for net in builtin().loaded_networks}
    found: dict[str, Any] = {}
    for name in names:
        wrong = misfit(name, refresh=True)
        if wrong is not None:
            raise LoraError(wrong, field="lora")
        file = fitting(name)
        net = at_hand.get(name) or builtin().networks_in_memory.get(name)
        found[name] = net if net is not None and file.read_by(net) else own_network(name, file)
        for note in (*file.notes, *bring_embeddings(found[name])):
            tell(note)
    keep_only(tuple(found))
    return found


def _strengths(net: Any) -> tuple[Any, Any, Any]:
    return net.te_multiplier, net.unet_multiplier, net.dyn_dim


def _set_strengths(net: Any, te: float, unet: float, dyn: int | None) -> None:
    net.te_multiplier, net.unet_multiplier, net.dyn_dim = te, unet, dyn


def _set_lora(net: Any, lora: ActiveLora) -> None:
    _set_strengths(net, lora.te, lora.unet, lora.dyn)


def let_host_apply(loras: Sequence[ActiveLora], nets: Networks) -> None:
    """Make the host apply ``loras``, in this order, until it next loads the LoRAs of a prompt."""
    for lora in loras:
        _set_lora(nets[lora.name], lora)
    chosen = [nets[lora.name] for lora in loras]
    loaded = builtin().loaded_networks
    loaded[:] = [*chosen, *carriers([net for net in loaded if net not in chosen])]


def applied_by_host() -> dict[str, tuple[float, float]]:
    """The strengths at which the host applies LoRAs now, by their files; one that it has twice counts twice."""
    nets = builtin().loaded_networks
    return add_strengths((net.network_on_disk.name, net.te_multiplier, net.unet_multiplier) for net in nets)


def add_strengths(each: Iterable[tuple[str, float, float]]) -> dict[str, tuple[float, float]]:
    """The sums of the strengths for text encoders and UNet, by name."""
    sums: dict[str, tuple[float, float]] = {}
    for name, te, unet in each:
        before = sums.get(name, (0, 0))
        sums[name] = before[0] + te, before[1] + unet
    return sums


@contextmanager
def host_applies(loras: Sequence[ActiveLora], nets: Networks, others: Sequence[Any]) -> Generator[None, None, None]:
    """While inside, the host applies exactly ``loras`` and ``others`` to whatever it encodes or denoises."""
    networks = builtin()
    before = list(networks.loaded_networks)
    chosen = [nets[lora.name] for lora in loras]
    strengths = [_strengths(net) for net in chosen]
    for net, lora in zip(chosen, loras, strict=True):
        _set_lora(net, lora)
    networks.loaded_networks[:] = [*others, *chosen]
    try:
        yield
    finally:
        networks.loaded_networks[:] = before
        for net, own in zip(chosen, strengths, strict=True):
            _set_strengths(net, *own)


def merge_now(unet: nn.Module) -> None:
    """Bring every layer's merged weights up to date: the host does it lazily, which breaks a backward pass."""
    if shared.opts.lora_functional:
        return
    apply_weights = builtin().network_apply_weights
    with torch.no_grad():
        for layer in unet.modules():
            if isinstance(layer, ADAPTED):
                apply_weights(layer)


def take_off_networks() -> None:
    """Give every layer its own weights back, until the host loads the networks of its next prompt."""
    builtin().load_networks([])
    shared.loaded_hypernetworks.clear()
    with torch.no_grad():
        for layer in shared.sd_model.modules():
            if isinstance(layer, (*ADAPTED, nn.MultiheadAttention)):
                builtin().network_apply_weights(layer)


def network_deltas(net: Any, lora: ActiveLora) -> dict[nn.Module, Delta]:
    """What ``net`` adds to each UNet layer at the strength of ``lora``, against the layers' present weights.

    Layers are those of the checkpoint that is loaded now, which need not be the one that ``net`` was loaded for.
    Raises ``LoraError`` for a LoRA whose matrices have other sizes than the layers.
    """
    own = _strengths(net)
    layers = shared.sd_model.network_layer_mapping
    _set_lora(net, lora)
    try:
        with torch.no_grad():
            parts = {layers.get(key): module for key, module in net.modules.items() if _is_unet(key)}
            return {layer: delta_of(module, layer) for layer, module in parts.items() if layer is not None}
    except MisfitError as error:
        msg = f"LoRA {lora.name} does not fit the loaded checkpoint: {error}; choose one that was made for it."
        raise LoraError(msg, field="lora") from error
    finally:
        _set_strengths(net, *own)


def _is_unet(key: str) -> bool:
    """Not a text encoder's: the host's own test (network.py)."""
    return "transformer" not in key[:20]


def delta_of(module: Any, layer: nn.Module) -> Delta:
    """What ``module`` changes in ``layer``. Plain low-rank factors stay factors; every other kind becomes a difference
    of weights.

    Raises ``MisfitError`` where the sizes are not the layer's.
    """
    if _is_plain(module, layer):
        scale = module.calc_scale() * module.multiplier()
        down, up = module.down_model.weight.detach(), module.up_model.weight.detach()
        found = LowRank(down, up, float(scale))
        if not found.fits(layer):
            raise MisfitError(f"layer {module.network_key} has other sizes")
        return found
    try:
        weight, bias = module.calc_updown(layer.weight)
    except RuntimeError as error:  # torch's own, for sizes that do not match
        raise MisfitError(f"layer {module.network_key} has other sizes") from error
    return DenseDelta(weight, bias)


def _is_plain(module: Any, layer: nn.Module) -> bool:
    """Whether it is an up and a down matrix and nothing else."""
    factors = [getattr(module, name, None) for name in ("up_model", "down_model")]
    more = [getattr(module, "mid_model", None), module.dora_scale, module.bias, module.network.dyn_dim]
    has_both = all(factor is not None for factor in factors)
    has_more = any(part is not None for part in more)
    return has_both and not has_more and isinstance(layer, (nn.Linear, nn.Conv2d))
