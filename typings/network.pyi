# WebUI 1.10.1: extensions-builtin/Lora/network.py

import enum
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

class NetworkWeights(NamedTuple):
    network_key: str
    sd_key: str
    w: dict[str, Tensor]
    sd_module: nn.Module

class SdVersion(enum.Enum):
    Unknown = 1
    SD1 = 2
    SD2 = 3
    SDXL = 4

class NetworkOnDisk:
    name: str
    filename: str
    # Of the file; values that look like JSON are parsed.
    metadata: dict[str, Any]
    is_safetensors: bool
    # The name that its training gave it, or its own.
    alias: str
    hash: str
    shorthash: str
    sd_version: SdVersion

    def __init__(self, name: str, filename: str) -> None: ...
    def read_hash(self) -> None: ...
    def get_alias(self) -> str: ...

class Network:
    name: str
    network_on_disk: NetworkOnDisk
    te_multiplier: float
    unet_multiplier: float
    # Rank that is used, of LyCORIS' dyn; None for all of it.
    dyn_dim: float | None
    # By the names of the layers, as in the model's ``network_layer_mapping``.
    modules: dict[str, NetworkModule]
    bundle_embeddings: dict[str, Any]
    mtime: float | None
    # The name or alias in the prompt.
    mentioned_name: str | None

    def __init__(self, name: str, network_on_disk: NetworkOnDisk) -> None: ...

class ModuleType:
    def create_module(self, net: Network, weights: NetworkWeights) -> NetworkModule | None: ...

class NetworkModule:
    network: Network
    network_key: str
    sd_key: str
    sd_module: nn.Module
    shape: torch.Size | tuple[int, int] | None
    dim: int | None
    bias: Tensor | None
    alpha: float | None
    scale: float | None
    dora_scale: Tensor | None
    dora_norm_dims: int

    def __init__(self, net: Network, weights: NetworkWeights) -> None: ...
    # The network's, of the text encoder or of the UNet.
    def multiplier(self) -> float: ...
    # alpha / rank, or what the file says.
    def calc_scale(self) -> float: ...
    # Differences of weight and bias against the layer's weight, scale and multiplier in them.
    def calc_updown(self, target: Tensor, /) -> tuple[Tensor, Tensor | None]: ...
    def forward(self, x: Tensor, y: Tensor) -> Tensor: ...
