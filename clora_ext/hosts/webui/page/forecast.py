"""What a job will do, told before it is drawn: for the panel's line, rows and words, and for the REST routes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from clora_ext.engine.prepare import Prepared, assemble
from clora_ext.errors import CLoRAError
from clora_ext.hosts.webui.page.chosen import SAMPLING, Sampling
from clora_ext.hosts.webui.page.cost import Cost, cost_of
from clora_ext.hosts.webui.page.in_the_way import known_facts, refusals, second_pass, settings_for, unusual_weights
from clora_ext.hosts.webui.page.overlays import STYLE, colour_of
from clora_ext.hosts.webui.page.source import PageSource
from clora_ext.prompt import Inspection, LoraFacts, LoraRow, Question, inspect, remove_tags
from clora_ext.settings.profiles import build_settings
from clora_ext.settings.request import JobRequest

_Read = Callable[[], JobRequest]


def forecast(
    source: PageSource, prompt: str, read: _Read, sampling: Sampling = SAMPLING, styles: Sequence[str] = ()
) -> dict[str, Any]:
    """Plain data: ``line`` in words, and in ``parts`` that can be translated, ``problems``, one of ``rows`` per LoRA,
    ``words`` of the prompt, ``estimate``.

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
    facts, missing = known_facts(source, text, bindings)
    seen = inspect(text, facts, bindings)
    if later is None:
        problems += missing
        problems += [seen.problem] if seen.problem is not None and not missing else []
    notes = [*_notes(source.hidden_loras(prompt, text), later), *unusual_weights(seen.rows)]
    settings, changed = settings_for(source, request.settings, sampling)
    prepared = None if seen.bound is None or missing else assemble([text], (seen.bound,), settings)
    if prepared is not None and prepared.composes:
        notes += changed
        second = second_pass(source, sampling, styles, bindings)
        problems += refusals(source, prepared, [text], second)
    cost = None if prepared is None or problems else cost_of(source, prepared, sampling)
    messages = [problem.message for problem in problems]
    said = [] if prepared is None or cost is None else _line(seen, request, prepared, cost)
    return {
        "prompt": prompt,
        "text": text,
        "line": "".join([*_spaced(notes), *_spaced(messages), *said]).strip(),
        "parts": [*_spaced(notes), *_asked(problems), *said],
        "notes": notes,
        "problems": [{"message": problem.message, "field": problem.field} for problem in problems],
        "rows": _rows(seen, facts, problems, missing),
        "words": _words(seen),
        "estimate": None if cost is None else cost.as_dict(),
        "cost": "" if cost is None else cost.as_terms(),
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


# -- in words ----------------------------------------------------------------------------------------------------------


def _line(seen: Inspection, request: JobRequest, prepared: Prepared, cost: Cost) -> list[str]:
    """Who draws what and what that costs, one sentence in its parts."""
    if not seen.rows:
        return ["No LoRA yet: add two from the Lora tab."]
    who = _joined([_who(row) for row in seen.rows])
    if request.settings.method == "merge":
        return [*who, ": ", "all mixed: WebUI's own picture", "."]
    if not prepared.composes:
        return [*who, ": ", "nothing to keep apart, so WebUI draws it as always", "."]
    return [*who, ": ", *_joined(cost.in_words()), "."]


def _asked(problems: Sequence[CLoRAError]) -> list[str]:
    """What is wrong; of a question no more than what is asked, for it has a button for each answer."""
    told = [problem.asked if isinstance(problem, Question) else (problem.message,) for problem in problems]
    return [part for parts in told for part in (*parts, " ")]


def _joined(parts: Sequence[str]) -> list[str]:
    """The parts with commas between them."""
    return [text for part in parts for text in (", ", part)][1:]


def _spaced(sentences: Sequence[str]) -> list[str]:
    return [text for sentence in sentences for text in (sentence, " ")]


def _who(row: LoraRow) -> str:
    why = "" if row.why is None else f" ({row.why})"
    if row.role == "style":
        return f"{row.lora} everywhere{why}"
    if row.role == "style_on":
        number = "" if row.occurrence is None else f" {row.occurrence}"
        return f"{row.lora} on what {row.on}{number} draws{why}"
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
        "key": row.key,
        "shared": None if row.shared is None else asdict(row.shared),
        "colour": hue,
        "weight": row.unet,
        "role": row.role,
        "subject": row.subject,
        "occurrence": row.occurrence,
        "trigger": row.trigger,
        "found": bool(row.words),
        "tagged": row.tagged,
        "in_tag": row.in_tag,
        "known_triggers": list(known.triggers),
        "on": row.on,
        "why": row.why,
        "names": [known.name, *known.aliases],
        "said": row.said,
        "unwritten": None if row.unwritten is None else asdict(row.unwritten),
        "problem": problem,
        "asks": row.asks,
        "choices": row.choices,
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
