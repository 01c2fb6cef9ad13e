"""Other extensions, noticed by what they do: whose code stands where we would find the host's."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from inspect import unwrap
from pathlib import Path
from typing import Any

from modules import extensions, extra_networks, script_callbacks, shared
from torch import nn

from clora_ext.attention.levels import attention_factors
from clora_ext.errors import HostError
from clora_ext.prompt import find_tags

_DENOISER = ("cfg_denoiser", "cfg_denoised", "cfg_after_cfg")


def extension_of(function: Callable[..., Any]) -> str | None:
    """The name of the extension that a function comes from; None for the host's own, its built-in ones and ours."""
    while isinstance(function, partial):
        function = function.func
    code = getattr(unwrap(function), "__code__", None)
    return None if code is None else extension_at(code.co_filename)


def extension_at(name: str) -> str | None:
    """The name of the extension that a file of code belongs to; None as ``extension_of``."""
    file = Path(name)
    return next((each.name for each in extensions.active() if _is_other(each) and _holds(each.path, file)), None)


def _is_other(extension: extensions.Extension) -> bool:
    return not extension.is_builtin and not _holds(extension.path, Path(__file__))


def _holds(folder: str, file: Path) -> bool:
    """Whether a file is in a folder; either may be a link."""
    return file.is_relative_to(folder) or file.resolve().is_relative_to(Path(folder).resolve())


def forward_replaced() -> str | None:
    """Who has put another ``forward`` on the UNet: an extension's name, or “another extension”; None for nobody."""
    return _replaced(shared.sd_model.model.diffusion_model)


def require_own_attention() -> None:
    """Raise ``HostError`` where an extension computes cross-attention in its own way: it knows nothing of our rows."""
    for layer in attention_factors(shared.sd_model.model.diffusion_model):
        name = _replaced(layer)
        if name is not None:
            msg = f"{name} has replaced the UNet's cross-attention, which CLoRA draws each subject by; turn it off."
            raise HostError(msg, field="alwayson_scripts")


def require_whole_pictures(denoiser: Any) -> None:
    """Raise ``HostError`` where an extension stands between the host's denoiser and its model: it draws in tiles."""
    name = _replaced(denoiser.inner_model)
    if name is not None:
        msg = f"{name} calls the model in its own way (in tiles, say), and CLoRA needs whole pictures; turn it off."
        raise HostError(msg, field="alwayson_scripts")


def require_own_tags(prompts: Iterable[str]) -> None:
    """Raise ``HostError`` where an extension reads tags that we bind: it would apply the LoRA to everything."""
    for tag in (tag for prompt in prompts for tag in find_tags(prompt)):
        reader = extra_networks.extra_network_registry.get(tag.kind)
        name = None if reader is None else extension_of(type(reader).activate)
        if name is not None:
            msg = f"{name} reads <{tag.kind}:{tag.name}> by itself; write <lora:{tag.name}:1>, or turn {name} off."
            raise HostError(msg, field="prompt")


def blamed(does: str) -> str:
    """A sentence about something that an extension ``does``, with the names of those that are at work."""
    names = ", ".join(dict.fromkeys(_at_work()))
    return f"Another extension{f' ({names})' if names else ''} {does}; turn it off to compose with CLoRA."


def suspected() -> str:
    """A sentence for a prompt that an extension may have made unreadable; empty where none is at work."""
    names = ", ".join(dict.fromkeys(_at_work()))
    return f" If you have not written it, {names} has; turn that off." if names else ""


def _replaced(module: nn.Module) -> str | None:
    forward = vars(module).get("forward")
    if forward is None or getattr(forward, "__func__", None) is type(module).forward:  # put back by who had replaced it
        return None
    return extension_of(forward) or "Another extension"


def _at_work() -> Iterator[str]:
    """The extensions that have their hands in the denoiser now."""
    unet = shared.sd_model.model.diffusion_model
    found = [vars(module).get("forward") for module in unet.modules()]
    found.append(vars(shared.sd_model).get("apply_model"))
    for kind in _DENOISER:
        found.extend(each.callback for each in script_callbacks.callback_map[f"callbacks_{kind}"])
    for function in found:
        name = extension_of(function) if function is not None else None
        if name is not None:
            yield name
