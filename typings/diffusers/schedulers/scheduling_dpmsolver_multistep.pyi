# The tools' diffusers: diffusers/schedulers/scheduling_dpmsolver_multistep.py

from typing import Literal

from diffusers.configuration_utils import ConfigMixin
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from torch import Generator, Tensor

class DPMSolverMultistepScheduler(ConfigMixin):
    alphas_cumprod: Tensor
    init_noise_sigma: float
    timesteps: Tensor
    sigmas: Tensor
    # Of the last calls, the latest last; None before the first.
    model_outputs: list[Tensor | None]

    def __init__(
        self,
        *,
        prediction_type: Literal["epsilon", "sample", "v_prediction", "flow_prediction"] = "epsilon",
        use_karras_sigmas: bool = False,
    ) -> None: ...
    def set_timesteps(self, num_inference_steps: int | None = None) -> None: ...
    def set_begin_index(self, begin_index: int = 0) -> None: ...
    def scale_model_input(self, sample: Tensor, *args: Tensor) -> Tensor: ...
    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        generator: Generator | list[Generator] | None = None,
    ) -> SchedulerOutput: ...
