"""What a job will do, told before it is drawn: for the panel's line, rows and words, and for the REST routes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clora_ext.engine.estimate import Estimate, estimate
from clora_ext.engine.memory import GIB, extra_bytes, row_bytes
from clora_ext.engine.prepare import Prepared, assemble, lora_names
from clora_ext.errors import CLoRAError, LoraError, PromptError
from clora_ext.hosts.webui.page.overlays import STYLE, colour_of
from clora_ext.hosts.webui.page.source import PageSource
from clora_ext.prompt import Binding, Inspection, LoraFacts, LoraRow, inspect, remove_tags
from clora_ext.settings.profiles import build_settings
from clora_ext.settings.request import JobRequest

STEPS = 20
"""Steps that are counted where nobody says how many: WebUI's default."""

SIZE = (512, 512)
"""Width and height in pixels where nobody says them: WebUI's default."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The numbers of the host that a forecast counts with; sizes in pixels."""

    steps: int = STEPS
    width: int = SIZE[0]
    height: int = SIZE[1]
    strength: float = 1.0
    """Denoising strength: the share of the steps that is made, from another image; 1 from pure noise."""


SAMPLING = Sampling()
_Read = Callable[[], JobRequest]


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate, and the memory in bytes beyond a plain image's, LoRAs left out; None where nobody can tell."""

    estimate: Estimate
    extra_memory: int | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        counted = self.estimate
        return {
            "plain_rows": counted.plain_rows,
            "rows": counted.rows,
            "gradient_rows": counted.gradient_rows,
            "ratio": round(counted.ratio, 2),
            "extra_memory_bytes": self.extra_memory,
        }


def forecast(
    source: PageSource, prompt: str, read: _Read, sampling: Sampling = SAMPLING, styles: Sequence[str] = ()
) -> dict[str, Any]:
    """Plain data: ``line`` in words, ``problems``, one of ``rows`` per LoRA, ``words`` of the prompt, ``estimate``.

    ``read`` gives the request, ``styles`` are names of WebUI's styles. ``text`` is the prompt as the job reads it.
    Never raises for what somebody typed: that is a problem with ``message`` and ``field``.
    """
    problems: list[CLoRAError] = []
    try:
        request = read()
    except CLoRAError as error:
        problems.append(error)
        request = JobRequest(enabled=True, settings=build_settings())
    text = source.as_job_reads(prompt, styles)
    bindings = [*request.bindings, *source.added_by_host(text, request.bindings)]
    later = source.drawn_later(text)
    facts, missing = _facts(source, text, bindings)
    seen = inspect(text, facts, bindings)
    if later is None:
        problems += missing
        problems += [seen.problem] if seen.problem is not None and not missing else []
    prepared = None if seen.bound is None or missing else assemble([text], (seen.bound,), request.settings)
    cost = None if prepared is None else _cost(source, prepared, sampling)
    notes = _notes(source.hidden_loras(prompt, text), later)
    line = _line(seen, request, problems, prepared, cost)
    return {
        "prompt": prompt,
        "text": text,
        "line": " ".join(filter(None, [*notes, line])),
        "notes": notes,
        "problems": [{"message": problem.message, "field": problem.field} for problem in problems],
        "rows": _rows(seen, facts, problems, missing),
        "words": _words(seen),
        "estimate": None if cost is None else cost.as_dict(),
    }


def _notes(hidden: Sequence[str], later: str | None) -> list[str]:
    """What stands in the prompt and is not what the job will have."""
    notes: list[str] = []
    if hidden:
        names = ", ".join(hidden)
        notes.append(f"A # makes a comment of the rest of its line, and {names} with it; take the # out to use them.")
    if later is not None:
        notes.append(f"{later} draws parts of the prompt when the job starts: what they will be is not known yet.")
    return notes


def _cost(source: PageSource, prepared: Prepared, sampling: Sampling) -> Cost:
    """What the prepared job costs; a plain image where there is nothing to compose."""
    settings = prepared.settings
    branches = sorted(prepared.branches[0].texts)
    counted = estimate(settings, branches, sampling.steps, sampling.strength, fixed=prepared.all_fixed)
    unet = source.unet()
    if unet is None:
        return Cost(counted, None)
    row = row_bytes(unet, (sampling.height // 8, sampling.width // 8))
    extra = extra_bytes(row, counted.most_rows, counted.most_gradient_rows, settings.memory)
    return Cost(counted, round(extra))


def with_tokens(source: PageSource, told: dict[str, Any]) -> dict[str, Any]:
    """``forecast``'s answer with the prompt columns of every word, where a checkpoint is loaded: None for a word that
    is not in the prompt at the first step.
    """
    words = told["words"]
    columns = source.word_columns(remove_tags(told["text"]), [word["text"] for word in words])
    if columns is None:
        return told
    placed = [word | {"columns": places} for word, places in zip(words, columns, strict=True)]
    return told | {"words": placed}


def _facts(
    source: PageSource, prompt: str, bindings: Sequence[Binding]
) -> tuple[dict[str, LoraFacts], list[CLoRAError]]:
    """What is known of every LoRA that is named, and a problem for each that is not there or does not fit."""
    found: dict[str, LoraFacts] = {}
    problems: list[CLoRAError] = []
    for name in _names(prompt, bindings):
        try:
            found[name] = source.facts(name)
            wrong = source.misfit(name)
        except CLoRAError as error:
            found.setdefault(name, LoraFacts(name))
            problems.append(error)
            continue
        if wrong is not None:
            problems.append(LoraError(wrong, field="lora"))
    return found, problems


def _names(prompt: str, bindings: Sequence[Binding]) -> tuple[str, ...]:
    try:
        return lora_names([prompt], bindings)
    except PromptError:  # told by what reads the whole prompt
        return lora_names([], bindings)


# -- in words ----------------------------------------------------------------------------------------------------------


def _line(
    seen: Inspection, request: JobRequest, problems: Sequence[CLoRAError], prepared: Prepared | None, cost: Cost | None
) -> str:
    """One sentence: what is wrong, or who draws what and what that costs."""
    if problems or prepared is None or cost is None:
        return " ".join(problem.message for problem in problems)
    if not seen.rows:
        return "No LoRA yet: add two from the Lora tab."
    who = ", ".join(_who(row) for row in seen.rows)
    if request.settings.method == "merge":
        return f"{who}, all mixed: WebUI's own picture."
    if not prepared.composes:
        return f"{who}: nothing to keep apart, so WebUI draws it as always."
    more = "" if cost.extra_memory is None else f", {_amount(cost.extra_memory)} more"
    return f"{who}: about {cost.estimate.ratio:.1f} × the work of a plain image{more}."


def _amount(memory: int) -> str:
    return f"{memory / GIB:.1f} GB" if memory >= 0.1 * GIB else f"{memory / 2**20:.0f} MB"


def _who(row: LoraRow) -> str:
    why = "" if row.why is None else f" ({row.why})"
    if row.role == "style":
        return f"{row.lora} everywhere{why}"
    if row.role == "style_on":
        return f"{row.lora} on what {row.on} draws{why}"
    number = f" (number {row.occurrence})" if row.places > 1 else ""
    return f"{row.lora} on “{row.subject}”{number}"


# -- as data -----------------------------------------------------------------------------------------------------------


def _rows(
    seen: Inspection, facts: Mapping[str, LoraFacts], problems: Sequence[CLoRAError], missing: Sequence[CLoRAError]
) -> list[dict[str, Any]]:
    """The rows, subjects in the colours of their masks; a problem that the line tells already is not told twice."""
    said = {problem.message for problem in problems}
    known = {fact.name: fact for fact in facts.values()}
    subjects = [row for row in seen.rows if row.role == "subject"]
    rows: list[dict[str, Any]] = []
    for row in seen.rows:
        hue = colour_of(subjects.index(row)) if row in subjects else STYLE
        told = None if missing or row.problem in said else row.problem
        rows.append(_row(row, hue, known.get(row.lora, LoraFacts(row.lora)), told))
    return rows


def _row(row: LoraRow, hue: str, known: LoraFacts, problem: str | None) -> dict[str, Any]:
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
        "why": row.why,
        "names": [known.name, *known.aliases],
        "problem": problem,
    }


def _words(seen: Inspection) -> list[dict[str, Any]]:
    owners: dict[int, int] = {}
    for number, row in enumerate(seen.rows):
        owners |= dict.fromkeys(row.words, number)
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
