"""What a job will do, told before it is drawn: for the panel's line, rows and chips, and for the REST routes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modules import sd_models

from clora_ext.engine.estimate import Estimate, estimate
from clora_ext.engine.job import composes, job
from clora_ext.engine.memory import GIB, extra_bytes, row_bytes
from clora_ext.errors import CLoRAError, LoraError, PromptError
from clora_ext.hosts.webui import networks, tokens
from clora_ext.hosts.webui.pictures import STYLE, colour
from clora_ext.prompt import Binding, Inspection, LoraFacts, LoraRow, find_tags, inspect, remove_tags
from clora_ext.request import JobRequest
from clora_ext.settings import settings

STEPS = 20
"""Steps that are counted where nobody says how many: WebUI's default."""

SIZE = (512, 512)
"""Width and height in pixels where nobody says them: WebUI's default."""


def look(
    prompt: str, asked: Callable[[], JobRequest], steps: int = STEPS, size: tuple[int, int] = SIZE
) -> dict[str, Any]:
    """Plain data: ``line`` in words, ``problems``, one of ``rows`` per LoRA, ``words`` of the prompt, ``estimate``.

    ``asked`` reads the request, ``size`` is width and height in pixels. Never raises for what somebody typed: that is a
    problem with ``message`` and ``field``.
    """
    problems: list[CLoRAError] = []
    try:
        request = asked()
    except CLoRAError as error:
        problems.append(error)
        request = JobRequest(enabled=True, settings=settings())
    facts, missing = _facts(prompt, request.bindings)
    problems += missing
    seen = inspect(prompt, facts, request.bindings)
    problems += [seen.problem] if seen.problem and not missing else []
    cost = None if seen.bound is None else cost_of(seen, prompt, request, steps)
    extra = None if cost is None else _extra_memory(cost, request, size)
    said = {problem.message for problem in problems}
    rows = [row | {"problem": None} if missing or row["problem"] in said else row for row in _rows(seen, facts)]
    return {
        "prompt": prompt,
        "line": _line(seen, request, problems, cost, extra),
        "problems": [{"message": problem.message, "field": problem.field} for problem in problems],
        "rows": rows,
        "words": _words(seen),
        "estimate": cost and {
            "plain_rows": cost.plain_rows, "rows": cost.rows, "gradient_rows": cost.gradient_rows,
            "ratio": round(cost.ratio, 2), "extra_memory_bytes": extra,
        },
    }  # fmt: skip


def cost_of(seen: Inspection, prompt: str, request: JobRequest, steps: int) -> Estimate:
    """The job's UNet rows; a plain image's where there is nothing to compose."""
    if not composes(seen.bound, request.settings):
        return estimate(settings(method="merge"), {0: ()}, steps)
    work = job(seen.bound, remove_tags(prompt), request.settings)
    worn = {branch: [wear.key for wear in wears] for branch, wears in work.worn.items()}
    return estimate(request.settings, worn, steps)


def _extra_memory(cost: Estimate, request: JobRequest, size: tuple[int, int]) -> int | None:
    """Bytes beyond a plain image's, LoRAs left out; None where no checkpoint is loaded to tell."""
    model = sd_models.model_data.sd_model
    unet = getattr(getattr(model, "model", None), "diffusion_model", None)
    if unet is None:
        return None
    row = row_bytes(unet, (size[1] // 8, size[0] // 8))
    return round(extra_bytes(row, cost.most_rows, cost.most_gradient_rows, request.settings["memory"]))


def with_tokens(seen: dict[str, Any]) -> dict[str, Any]:
    """``look``'s answer with the prompt columns of every word, where a checkpoint is loaded: None for one that is not
    in the prompt at the first step."""
    if sd_models.model_data.sd_model is None:
        return seen
    found = tokens.of_words(remove_tags(seen["prompt"]), [word["text"] for word in seen["words"]])
    return seen | {
        "words": [word | {"columns": places} for word, places in zip(seen["words"], found, strict=True)],
    }


def _facts(prompt: str, bindings: Sequence[Binding]) -> tuple[dict[str, LoraFacts], list[CLoRAError]]:
    """What is known of every LoRA that is named, and a problem for each that is not there or does not fit."""
    try:
        tags = [tag.name for tag in find_tags(prompt)]
    except PromptError:
        tags = []  # the inspection says so
    found: dict[str, LoraFacts] = {}
    problems: list[CLoRAError] = []
    for name in dict.fromkeys([*tags, *(binding.lora for binding in bindings)]):
        try:
            found[name] = networks.facts(name, refresh=False)
            if made_for := networks.misfit(name):
                msg = f"LoRA “{name}” is made for {made_for}; the loaded checkpoint is Stable Diffusion 1.x."
                problems.append(LoraError(msg, field="lora"))
        except CLoRAError as error:
            found[name] = LoraFacts(name)
            problems.append(error)
    return found, problems


def _line(
    seen: Inspection, request: JobRequest, problems: Sequence[CLoRAError], cost: Estimate | None, extra: int | None
) -> str:
    """One sentence: what is wrong, or who draws what and what that costs."""
    if problems:
        return " ".join(problem.message for problem in problems)
    if not seen.rows:
        return "There is no LoRA in the prompt: WebUI draws it by itself."
    who = ", ".join(_told(row) for row in seen.rows)
    if request.settings.method == "merge":
        return f"{who}, all merged: WebUI's own image."
    if not composes(seen.bound, request.settings):
        return f"{who}: nothing to keep apart, WebUI draws it by itself."
    more = "" if extra is None else f", {_amount(extra)} more"
    return f"{who}: about {cost.ratio:.1f} × the work of a plain image{more}."


def _amount(memory: int) -> str:
    return f"{memory / GIB:.1f} GB" if memory >= 0.1 * GIB else f"{memory / 2**20:.0f} MB"


def _told(row: LoraRow) -> str:
    if row.role == "style":
        return f"{row.lora} everywhere"
    if row.role == "style_on":
        return f"{row.lora} on what {row.on} draws"
    return f"{row.lora} on “{row.subject}”" + (f" (number {row.occurrence})" if row.places > 1 else "")


def _rows(seen: Inspection, facts: Mapping[str, LoraFacts]) -> list[dict[str, Any]]:
    """The rows, subjects in the colours of their masks."""
    subjects = [row for row in seen.rows if row.role == "subject"]
    return [_row(row, colour(subjects.index(row)) if row in subjects else STYLE, facts) for row in seen.rows]


def _row(row: LoraRow, hue: str, facts: Mapping[str, LoraFacts]) -> dict[str, Any]:
    known = next((fact for fact in facts.values() if fact.name == row.lora), LoraFacts(row.lora))
    return {
        "lora": row.lora,
        "colour": hue,
        "weight": row.unet,
        "role": row.role,
        "subject": row.subject,
        "occurrence": row.occurrence,
        "trigger": row.trigger,
        "known_triggers": list(known.triggers),
        "on": row.on,
        "problem": row.problem,
    }


def _words(seen: Inspection) -> list[dict[str, Any]]:
    owners = {word: index for index, row in enumerate(seen.rows) for word in row.words}
    return [
        {
            "text": word.text,
            "occurrence": word.occurrence,
            "places": word.places,
            "choosable": word.choosable,
            "joined": word.joined,
            "row": owners.get(index),
        }
        for index, word in enumerate(seen.words)
    ]
