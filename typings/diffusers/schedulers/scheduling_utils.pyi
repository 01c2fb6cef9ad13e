# The tools' diffusers: diffusers/schedulers/scheduling_utils.py

from torch import Tensor

class SchedulerOutput:
    prev_sample: Tensor
