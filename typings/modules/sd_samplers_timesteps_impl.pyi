# WebUI 1.10.1: modules/sd_samplers_timesteps_impl.py

from typing import Any

from torch import Tensor

class UniPCCFG:
    def __init__(self, cfg_model: Any, extra_args: Any, callback: Any, *args: Any, **kwargs: Any) -> None: ...
    def multistep_uni_pc_update(
        self, x: Tensor, model_prev_list: list[Tensor], t_prev_list: list[Tensor], t: Tensor, order: int, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]: ...
