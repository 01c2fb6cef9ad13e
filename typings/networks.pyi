# WebUI 1.10.1: extensions-builtin/Lora/networks.py

from collections.abc import Sequence

from modules.sd_models_types import WebuiSdModel
from network import ModuleType, Network, NetworkOnDisk
from torch import nn

_Layer = nn.Conv2d | nn.Linear | nn.GroupNorm | nn.LayerNorm | nn.MultiheadAttention

module_types: list[ModuleType]
available_networks: dict[str, NetworkOnDisk]
available_network_aliases: dict[str, NetworkOnDisk]
# Aliases in lower case that several files have.
forbidden_network_aliases: dict[str, int]
available_network_hash_lookup: dict[str, NetworkOnDisk]
# What is applied, in this order, until the next prompt is read.
loaded_networks: list[Network]
networks_in_memory: dict[str, Network]

def list_available_networks() -> None: ...
def load_network(name: str, network_on_disk: NetworkOnDisk) -> Network: ...
def load_networks(
    names: Sequence[str],
    te_multipliers: Sequence[float] | None = None,
    unet_multipliers: Sequence[float] | None = None,
    dyn_dims: Sequence[int | None] | None = None,
) -> None: ...
def purge_networks_from_memory() -> None: ...
def assign_network_names_to_compvis_modules(sd_model: WebuiSdModel) -> None: ...
def network_apply_weights(self: _Layer) -> None: ...
def network_restore_weights_from_backup(self: _Layer) -> None: ...
def network_reset_cached_weight(self: _Layer) -> None: ...
