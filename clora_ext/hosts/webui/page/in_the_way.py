"""What a job would be refused for, or would do in another way, told as it is chosen on the page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clora_ext.engine.prepare import Prepared, assemble, lora_names, require_same_subjects
from clora_ext.errors import CLoRAError, LoraError, PromptError
from clora_ext.hosts.webui.page.chosen import Sampling
from clora_ext.hosts.webui.page.source import PageSource
from clora_ext.prompt import Binding, Inspection, LoraFacts, LoraRow, inspect
from clora_ext.settings.knobs import Settings

SAME = ("", "Use same sampler")
"""What WebUI's field for the sampler of hires. fix says where that is the first pass's."""

USUAL = (-2.0, 2.0)
"""The weights that pass without a word: LoRAs are made for 0 to 1, sliders for a little more both ways."""


@dataclass(frozen=True, slots=True)
class SecondPass:
    """The pass of hires. fix, where it has a prompt of its own."""

    text: str
    """As a job reads it."""
    seen: Inspection
    missing: Sequence[CLoRAError]
    """A problem for each LoRA in it that is not there or does not fit."""


def second_pass(
    source: PageSource, sampling: Sampling, styles: Sequence[str], bindings: Sequence[Binding]
) -> SecondPass | None:
    """What is known of it; None where there is none, and where a part of its prompt is drawn when the job starts."""
    if not sampling.hires or not sampling.hires_prompt.strip():
        return None
    text = source.as_job_reads(sampling.hires_prompt, styles)
    if source.drawn_later(text) is not None:
        return None
    facts, missing = known_facts(source, text, bindings)
    return SecondPass(text, inspect(text, facts, bindings), missing)


def settings_for(source: PageSource, settings: Settings, sampling: Sampling) -> tuple[Settings, list[str]]:
    """The settings of the first pass, and a note for everything that the samplers change in those of any pass."""
    if sampling.sampler is None:
        return settings, []
    first, notes = source.adapted(settings, sampling.sampler, hires=False)
    if sampling.hires:
        own = sampling.hires_sampler
        notes += source.adapted(settings, sampling.sampler if own in SAME else own, hires=True)[1]
    return first, [f"{note[:1].upper()}{note[1:]}." for note in dict.fromkeys(notes)]


def refusals(
    source: PageSource, prepared: Prepared, texts: Sequence[str], second: SecondPass | None
) -> Iterator[CLoRAError]:
    """What the host would refuse a job for that composes, as far as its prompts ``texts`` are bound already."""
    yield from source.obstacles(texts if second is None else [*texts, second.text])
    if second is None:
        return
    if second.missing or second.seen.bound is None:
        yield from second.missing or filter(None, [second.seen.problem])
        return
    try:
        require_same_subjects(prepared, assemble([second.text], (second.seen.bound,), prepared.settings))
    except CLoRAError as error:
        yield error


def unusual_weights(rows: Sequence[LoraRow]) -> list[str]:
    """A word for each weight that is hardly meant."""
    lowest, highest = USUAL
    far = {(row.lora, weight): None for row in rows for weight in (row.unet, row.te) if not lowest <= weight <= highest}
    return [f"The weight of {lora} is {weight:g}; most LoRAs are made for 0 to 1." for lora, weight in far]


def known_facts(
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
