# WebUI 1.10.1: extensions-builtin/Lora/network_lora.py

from network import ModuleType, NetworkModule
from torch import nn

class ModuleTypeLora(ModuleType): ...

class NetworkModuleLora(NetworkModule):
    dim: int
    up_model: nn.Linear | nn.Conv2d
    down_model: nn.Linear | nn.Conv2d
    # Of a CP decomposition; None for all others.
    mid_model: nn.Linear | nn.Conv2d | None
