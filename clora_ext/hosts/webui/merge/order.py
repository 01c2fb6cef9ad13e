"""What the route and the tab are told: a merge in the command line's words, with LoRAs by their names."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from clora_ext.errors import SettingsError, shown
from clora_ext.merge.job import UNDER_WAY
from clora_ext.merge.output import OutputForm

LONGEST_NAME = 100
"""Characters of the merged file's name."""
MOST_LORAS = 100
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
"""Names that Windows has for other things, whatever their ending."""
_UNFIT = frozenset('/\\:*?"<>|,')
"""Signs that a file's name, or the tag of a LoRA, can not have."""


class MergePart(BaseModel):
    """One LoRA of a merge."""

    name: str = Field(..., description="As in a tag, without an ending")
    ratio: float = Field(1.0, description="Its strength in the merged file at strength 1")
    trigger: str = Field("", description="The words that call it up; by default those that its note or file says")

    class Config:
        """What is not known is refused."""

        extra = "forbid"


class MergeOrder(BaseModel):
    """A merge, by the names that the command line and the recipe have."""

    loras: list[MergePart] = Field(..., description="Two or more")
    name: str = Field(..., description="Of the merged file in WebUI's folder of LoRAs, without an ending")
    method: str = Field("default", description="See docs/merging.md")
    overwrite: bool = Field(default=False, description="Even if the file is there already")
    rank: int | None = Field(None, ge=1, le=100_000, description="Of every layer; by default as much as it needs")
    conv_rank: int | None = Field(None, ge=1, le=100_000, description="The same of convolutions larger than 1x1")
    full: bool = Field(default=False, description="Whole differences instead of low rank")
    precision: str = Field("fp16", description="fp16, bf16 or fp32")
    prompt: list[str] = Field([], description="What is learnt from, {} standing for the trigger; the first is drawn")
    held_prompt: list[str] = Field([], description="What is judged by; the first is drawn")
    steps: int = Field(20, ge=1, le=1000, description="Of each picture")
    width: int | None = Field(None, ge=64, le=8192, description="Of each picture; the model's own by default")
    height: int | None = Field(None, ge=64, le=8192, description="The same")
    joint_steps: int | None = Field(
        None, ge=0, le=100_000, description="Of all layers together; 100 for each LoRA by default"
    )
    memory: float = Field(1.0, ge=0.001, le=1024, description="GiB that may be kept of layers' inputs")

    class Config:
        """What is not known is refused."""

        extra = "forbid"

    @property
    def form(self) -> OutputForm:
        """How the file is written."""
        return OutputForm("full" if self.full else "low_rank", self.rank, self.conv_rank, dtype=self.precision)


def order_of(fields: Mapping[str, Any]) -> MergeOrder:
    """An order from values by name. Raises ``SettingsError`` with the first that is wrong."""
    try:
        return MergeOrder(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"The field “{field}” is wrong: {first['msg']}.", field=field) from None


def file_name(name: str) -> str:
    """The merged file's, in the folder of LoRAs and nowhere else. Raises ``SettingsError``."""
    kept = name.strip()
    unfit = sorted({sign for sign in kept if sign in _UNFIT or not sign.isprintable()})
    if not kept or len(kept) > LONGEST_NAME:
        raise SettingsError(f"The merged file needs a name of 1 to {LONGEST_NAME} characters.", field="name")
    if unfit or kept.startswith(".") or kept.endswith(".") or kept.split(".")[0].lower() in _RESERVED:
        what = " ".join(map(ascii, unfit)) or "such a beginning or end"
        msg = f"{shown(kept)} can be no file's name: choose one of letters, digits, - and _, without {what}."
        raise SettingsError(msg, field="name")
    if kept.lower().endswith((".safetensors", ".ckpt", ".pt", UNDER_WAY)):
        raise SettingsError(f"{shown(kept)} has an ending already: write the name without it.", field="name")
    return f"{kept}.safetensors"
