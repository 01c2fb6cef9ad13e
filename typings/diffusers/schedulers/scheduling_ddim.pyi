# The tools' diffusers: diffusers/schedulers/scheduling_ddim.py

from typing import Literal

from torch import Tensor

class DDIMSchedulerOutput:
    prev_sample: Tensor
    pred_original_sample: Tensor | None

class DDIMScheduler:
    alphas_cumprod: Tensor
    num_inference_steps: int | None

    def __init__(
        self,
        *,
        clip_sample: bool = True,
        set_alpha_to_one: bool = True,
        timestep_spacing: Literal["leading", "trailing", "linspace"] = "leading",
    ) -> None: ...
    def step(self, model_output: Tensor, timestep: int, sample: Tensor, eta: float = 0.0) -> DDIMSchedulerOutput: ...
