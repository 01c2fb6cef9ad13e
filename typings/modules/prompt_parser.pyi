# WebUI 1.10.1: modules/prompt_parser.py

from collections.abc import Sequence
from typing import NamedTuple

import torch
from modules.sd_models_types import WebuiSdModel
from torch import Tensor

# A condition is a tensor [token, width]; of SDXL it is a dictionary of that, ``crossattn``, and ``vector`` [width].
class ScheduledPromptConditioning(NamedTuple):
    end_at_step: int
    cond: Tensor | dict[str, Tensor]

class SdConditioning(list[str]):
    is_negative_prompt: bool
    width: int | None
    height: int | None

    def __init__(
        self,
        prompts: Sequence[str],
        is_negative_prompt: bool = False,
        width: int | None = None,
        height: int | None = None,
        copy_from: Sequence[str] | None = None,
    ) -> None: ...

class ComposableScheduledPromptConditioning:
    schedules: list[ScheduledPromptConditioning]
    weight: float

    def __init__(self, schedules: list[ScheduledPromptConditioning], weight: float = 1.0) -> None: ...

class MulticondLearnedConditioning:
    shape: tuple[int, ...]
    batch: list[list[ComposableScheduledPromptConditioning]]

    def __init__(self, shape: tuple[int, ...], batch: list[list[ComposableScheduledPromptConditioning]]) -> None: ...

# The conditions of a batch for SDXL.
class DictWithShape(dict[str, Tensor]):
    def __init__(self, x: dict[str, Tensor], shape: Sequence[int] | None = None) -> None: ...
    @property
    def shape(self) -> torch.Size: ...

# Per prompt its stages, each a list of two: the last step and the text.
def get_learned_conditioning_prompt_schedules(
    prompts: Sequence[str], base_steps: int, hires_steps: int | None = None, use_old_scheduling: bool = False
) -> list[list[list[int | str]]]: ...
def get_learned_conditioning(
    model: WebuiSdModel,
    prompts: SdConditioning | list[str],
    steps: int,
    hires_steps: int | None = None,
    use_old_scheduling: bool = False,
) -> list[list[ScheduledPromptConditioning]]: ...

# Per prompt its parts between AND, as places in the flat list with their weights; the flat list; places by text.
def get_multicond_prompt_list(
    prompts: SdConditioning | list[str],
) -> tuple[list[list[tuple[int, float]]], SdConditioning, dict[str, int]]: ...
def get_multicond_learned_conditioning(
    model: WebuiSdModel,
    prompts: SdConditioning | list[str],
    steps: int,
    hires_steps: int | None = None,
    use_old_scheduling: bool = False,
) -> MulticondLearnedConditioning: ...
def reconstruct_cond_batch(c: list[list[ScheduledPromptConditioning]], current_step: int) -> Tensor | DictWithShape: ...

# Per prompt the rows and weights of its parts, and the rows.
def reconstruct_multicond_batch(
    c: MulticondLearnedConditioning, current_step: int
) -> tuple[list[list[tuple[int, float]]], Tensor | DictWithShape]: ...
def stack_conds(tensors: list[Tensor]) -> Tensor: ...

# Lists of two: a text and its weight, -1 for the text BREAK.
def parse_prompt_attention(text: str) -> list[list[str | float]]: ...
