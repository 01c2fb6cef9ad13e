# WebUI 1.10.1: modules/devices.py

from contextlib import AbstractContextManager

import torch
from torch import Tensor

cpu: torch.device
device: torch.device
dtype: torch.dtype
dtype_vae: torch.dtype
dtype_unet: torch.dtype
dtype_inference: torch.dtype
fp8: bool
force_fp16: bool
unet_needs_upcast: bool

class NansException(Exception): ...

def autocast(disable: bool = False) -> AbstractContextManager[object]: ...
def without_autocast(disable: bool = False) -> AbstractContextManager[object]: ...
def cond_cast_unet(input: Tensor) -> Tensor: ...
def cond_cast_float(input: Tensor) -> Tensor: ...
def test_for_nans(x: Tensor, where: str) -> None: ...
def torch_gc() -> None: ...
