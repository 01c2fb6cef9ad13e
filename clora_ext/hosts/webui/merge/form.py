"""The tab's form: every field once, with its words, for javascript/clora_merge.js to draw. It knows no host."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from clora_ext.merge.output import PRECISIONS
from clora_ext.merge.ways import WAYS

AUTO = "auto"
"""A rank that is as large as a layer needs."""


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of the form, by the name that an order has for it; ``kept`` ones may have a default of the user's."""

    name: str
    kind: Literal["text", "lines", "number", "switch", "choice"]
    label: str
    value: Any
    info: str = ""
    choices: tuple[str, ...] = ()
    kept: bool = True
    placeholder: str = ""


_ABOVE = (
    FormField(
        "name", "text", "Name of the merged file", "", "In WebUI's folder of LoRAs.", kept=False, placeholder="six"
    ),
    FormField("overwrite", "switch", "Overwrite it if it is there", value=False, kept=False),
    FormField("method", "choice", "Way to merge", "default", choices=tuple(WAYS)),
)
_SIZE = (
    FormField("rank", "text", "Rank", AUTO, "auto, or a number."),
    FormField("conv_rank", "text", "Rank of convolutions", AUTO, "Of those larger than 1x1."),
    FormField("precision", "choice", "Precision", "fp16", choices=tuple(PRECISIONS)),
    FormField("full", "switch", "Whole differences", value=False),
)
_LEARNING = (
    FormField(
        "prompt", "lines", "Prompts to learn from", "", "One on each line, {} for the trigger. Empty: the usual ones.",
        kept=False,
    ),
    FormField("held_prompt", "lines", "Prompts to judge by", "", kept=False),
    FormField("steps", "number", "Steps of each picture", 20),
    FormField(
        "joint_steps", "text", "Joint steps", AUTO, "auto, or a number. More: truer to each LoRA, longer. 0: none."
    ),
    FormField("memory", "number", "Memory for inputs, GiB", 1),
)  # fmt: skip
FORM = {"": _ABOVE, "Size of the file": _SIZE, "What is learnt from": _LEARNING}
"""The fields by the title of what they are folded in; those without one are in sight."""


def form_as_data() -> list[dict[str, Any]]:
    """For the script: a title and its fields, one after the other; what each way does is among them."""
    return [{"title": title, "fields": [asdict(field) for field in fields]} for title, fields in FORM.items()]
