"""The order that the tab's fields make, and what fills them. It knows no host."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clora_ext.errors import SettingsError, shown
from clora_ext.hosts.webui.merge.form import AUTO
from clora_ext.merge.recipe import Recipe
from clora_ext.prompt import find_tags

Cells = list[Any]
"""A row of the table: name, ratio, trigger."""


def named(rows: Sequence[Cells]) -> list[Cells]:
    """The rows that name a LoRA: an empty table has one that does not."""
    return [row for row in rows if row and str(row[0] or "").strip()]


def rows_of_prompt(prompt: str, trigger_of: Callable[[str], str]) -> list[Cells]:
    """A row for each LoRA that a prompt has tags of, at their weights' sum. Raises ``CLoRAError`` as ``find_tags``."""
    weights: dict[str, float] = {}
    for tag in find_tags(prompt):
        weights[tag.name] = weights.get(tag.name, 0.0) + tag.unet
    if not weights:
        raise SettingsError(
            "The prompt of txt2img has no LoRA: write <lora:name:1> there, or choose LoRAs here.", "loras"
        )
    return [[name, round(weight, 6), trigger_of(name)] for name, weight in weights.items()]


def order_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The order's fields by name, of those of the form and the ``rows``. Raises ``SettingsError``."""
    loras = [{"name": str(row[0]), "ratio": _ratio(row), "trigger": str(row[2] or "")} for row in named(given["rows"])]
    found = {name: given[name] for name in ("name", "overwrite", "method", "precision", "full", "steps", "memory")}
    found |= {name: _number(given[name], name) for name in ("rank", "conv_rank", "joint_steps")}
    found |= {name: _lines(given[name]) for name in ("prompt", "held_prompt")}
    return {"loras": loras, **found}


def values_of_recipe(name: str, recipe: Recipe) -> dict[str, Any]:
    """What stands in the fields for the recipe of the merged file ``name``; what it does not say stays."""
    said, known = recipe.settings, {}
    for field in ("rank", "conv_rank", "joint_steps"):
        known[field] = AUTO if said.get(field) is None else str(said[field])
    known |= {field: "\n".join(said.get(field, ())) for field in ("prompt", "held_prompt")}
    return {
        "rows": [[part.name, part.ratio, part.trigger] for part in recipe.loras],
        "name": name,
        "method": recipe.method,
        "precision": said.get("dtype", "fp16"),
        "full": said.get("kind") == "full",
        "steps": said.get("steps", 20),
        **known,
    }


def _ratio(row: Cells) -> float:
    try:
        return float(str(row[1]).replace(",", "."))
    except ValueError as error:
        raise SettingsError(
            f"The ratio of {row[0]} is {shown(row[1])}: write a number such as 0.8.", "ratio"
        ) from error


def _number(text: Any, field: str) -> int | None:
    words = str("" if text is None else text).strip().lower()
    if words in ("", AUTO):
        return None
    if not words.isdecimal():
        what = "number of steps" if field == "joint_steps" else "rank"
        raise SettingsError(f"“{text}” is no {what}: write {AUTO}, or a number such as 32.", field=field)
    return int(words)


def _lines(text: Any) -> list[str]:
    return [line.strip() for line in str(text or "").splitlines() if line.strip()]
