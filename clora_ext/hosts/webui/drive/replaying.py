"""What of this host a replay of late steps would skip."""

from collections.abc import Callable, Hashable
from typing import Any

from modules import devices, lowvram, sd_unet, shared

from clora_ext.engine.replay import ReplayGuard
from clora_ext.hosts.webui.drive.catalogue import builtin
from clora_ext.hosts.webui.drive.neighbours import extension_of
from clora_ext.hosts.webui.options import option


class WebUIGuard:
    """Meets ``engine.replay.ReplayGuard`` for the loaded checkpoint."""

    def obstacle(self) -> str | None:
        """Of the host's own ways to change a layer while it runs, or to move the model."""
        ways = {
            "a hypernetwork is at work": bool(shared.loaded_hypernetworks),
            "the model is moved between GPU and CPU (--medvram, --lowvram)": lowvram.is_enabled(shared.sd_model),
            "weights are stored in 8 bits": devices.fp8,
            "the UNet is another program's": sd_unet.current_unet is not None,
            "token merging is on": bool(getattr(shared.sd_model, "applied_token_merged_ratio", 0)),
        }
        return next((why for why, stands in ways.items() if stands), None)

    def stranger(self, function: Callable[..., Any]) -> str | None:
        """The extension that the function comes from: those that are built in are known."""
        return extension_of(function)

    def state(self) -> Hashable:
        """The LoRAs that the host applies to all rows, which other extensions may weigh anew at every step."""
        nets = builtin().loaded_networks
        return tuple((id(net), net.unet_multiplier, net.te_multiplier, net.dyn_dim) for net in nets)


def asked_guard() -> ReplayGuard | None:
    """One where the settings page asks for replays; else None, and nothing is done about them."""
    return WebUIGuard() if option("replay") else None
