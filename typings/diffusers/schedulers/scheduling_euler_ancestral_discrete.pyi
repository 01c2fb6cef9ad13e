# The tools' diffusers: diffusers/schedulers/scheduling_euler_ancestral_discrete.py

from typing import Literal

from torch import Generator, Tensor

class EulerAncestralDiscreteSchedulerOutput:
    prev_sample: Tensor

class EulerAncestralDiscreteScheduler:
    alphas_cumprod: Tensor
    sigmas: Tensor
    timesteps: Tensor

    def __init__(self, *, prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon") -> None: ...
    @property
    def init_noise_sigma(self) -> Tensor: ...
    def set_timesteps(self, num_inference_steps: int) -> None: ...
    def set_begin_index(self, begin_index: int = 0) -> None: ...
    def scale_model_input(self, sample: Tensor, timestep: float | Tensor) -> Tensor: ...
    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        *,
        generator: Generator | list[Generator] | None = None,
    ) -> EulerAncestralDiscreteSchedulerOutput: ...
