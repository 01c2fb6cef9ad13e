# The tools' diffusers: diffusers/schedulers/scheduling_ddim.py

from typing import Literal

from torch import Generator, Tensor

class DDIMSchedulerOutput:
    prev_sample: Tensor
    pred_original_sample: Tensor | None

class DDIMScheduler:
    alphas_cumprod: Tensor
    init_noise_sigma: float
    num_inference_steps: int | None
    timesteps: Tensor

    def __init__(
        self,
        *,
        clip_sample: bool = True,
        set_alpha_to_one: bool = True,
        prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon",
        timestep_spacing: Literal["leading", "trailing", "linspace"] = "leading",
    ) -> None: ...
    def scale_model_input(self, sample: Tensor, timestep: Tensor | int | None = None) -> Tensor: ...
    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        eta: float = 0.0,
        *,
        generator: Generator | list[Generator] | None = None,
    ) -> DDIMSchedulerOutput: ...
