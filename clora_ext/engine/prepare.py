"""A job, assembled once for every host: names, facts, binding, what each branch has, and token columns."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clora_ext.batch.plan import NO_CONCEPTS, Columns, TokenPlan
from clora_ext.engine.branches import ActiveLora, Branches, branches_of, composes, token_plan
from clora_ext.engine.port import Host, TextForms
from clora_ext.errors import BindingError
from clora_ext.prompt import (
    Binding,
    BoundPrompt,
    LoraFacts,
    MaskWay,
    Span,
    Style,
    Subject,
    bind_or_merge,
    find_tags,
    remove_tags,
)
from clora_ext.settings.knobs import Settings


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job of one batch of images, bound."""

    settings: Settings
    """With the method ``merge`` where there is nothing to compose."""
    composes: bool
    bound: tuple[BoundPrompt, ...]
    """Of every image."""
    branches: tuple[Branches, ...]
    """Of every image; they differ in texts only."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """The words of every subject."""
        return tuple(subject.words for subject in self.bound[0].subjects)

    @property
    def subject_loras(self) -> tuple[str, ...]:
        """The LoRA of every subject, by name."""
        return self.bound[0].loras

    @property
    def own_masks(self) -> tuple[tuple[MaskWay, str] | None, ...]:
        """Of every subject the way and the picture of somebody's own mask; None where there is none."""
        subjects = self.bound[0].subjects
        return tuple(None if subject.mask is None else (subject.mask_way, subject.mask) for subject in subjects)

    @property
    def has_own_masks(self) -> bool:
        """Whether somebody gave a subject a mask."""
        return any(self.own_masks)

    @property
    def all_fixed(self) -> bool:
        """Whether somebody's own masks leave nothing to attention."""
        ways = {None if mask is None else mask[0] for mask in self.own_masks}
        return self.settings.masked and ways == {"fixed"}

    @property
    def unet_loras(self) -> tuple[ActiveLora, ...]:
        """Every LoRA that is active in the UNet of some branch, once."""
        return self.branches[0].all_unet_loras

    @property
    def reads_maps(self) -> bool:
        """Whether concepts are looked for in cross-attention maps."""
        return self.settings.masked and len(self.branches[0].texts) > 1


def lora_names(prompts: Iterable[str], bindings: Sequence[Binding]) -> tuple[str, ...]:
    """The LoRAs that tags or bindings name, once. Raises ``PromptError`` for a tag that can not be read."""
    names: dict[str, None] = {}
    for prompt in prompts:
        names |= dict.fromkeys(tag.name for tag in find_tags(prompt))
    names |= dict.fromkeys(binding.lora for binding in bindings)
    return tuple(names)


def bind_prompts(
    prompts: Sequence[str], bindings: Sequence[Binding], facts: Callable[[str], LoraFacts]
) -> tuple[BoundPrompt, ...]:
    """Every image's prompt, bound. Raises ``CLoRAError`` where one can not be, or where they want different LoRAs."""
    known = {name: facts(name) for name in lora_names(prompts, bindings)}
    bound = tuple(bind_or_merge(prompt, known, bindings) for prompt in prompts)
    kinds = {_loras_of(each) for each in bound}
    if len(kinds) > 1:
        msg = "The prompts of one batch name different LoRAs or weights; use batch count instead of batch size."
        raise BindingError(msg, field="prompt")
    return bound


def _loras_of(bound: BoundPrompt) -> tuple[tuple[str, float, float], ...]:
    parts: tuple[Subject | Style, ...] = (*bound.subjects, *bound.styles)
    return tuple((part.lora, part.te, part.unet) for part in parts)


def assemble(prompts: Sequence[str], bound: tuple[BoundPrompt, ...], settings: Settings) -> Prepared:
    """The job of bound prompts."""
    composed = composes(bound[0], settings)
    effective = settings if composed else replace(settings, method="merge")
    branches = [branches_of(each, remove_tags(text), effective) for each, text in zip(bound, prompts, strict=True)]
    return Prepared(effective, composed, bound, tuple(branches))


def require_same_subjects(first: Prepared, last: Prepared) -> None:
    """Raise ``BindingError`` where the prompt of the second pass puts other LoRAs on subjects than the first's."""
    if first.subject_loras != last.subject_loras:
        msg = "The hires. fix prompt puts other LoRAs on subjects than the prompt; name the same ones in both."
        raise BindingError(msg, field="hr_prompt")


def prepare(prompts: Sequence[str], bindings: Sequence[Binding], settings: Settings, host: Host[Any]) -> Prepared:
    """Bind ``prompts``, one per image, and assemble their job for ``host``. Raises ``CLoRAError``."""
    found = assemble(prompts, bind_prompts(prompts, bindings, host.facts), settings)
    if host.adds_everywhere:
        return found
    branches = tuple(each.with_everywhere() for each in found.branches)
    return replace(found, branches=branches)


class TokenPlans:
    """Where every image's concepts stand in the encoded texts, at every call of the model.

    Raises ``PromptError`` at once for a subject that a prompt's editing takes out at some step.
    """

    def __init__(self, prepared: Prepared, host: Host[Any]) -> None:
        self._host = host
        self._bound = prepared.bound
        self._reads_maps = prepared.reads_maps
        texts = [branches.texts for branches in prepared.branches] if prepared.reads_maps else []
        self._forms = [[host.text_forms(text) for _, text in sorted(each.items())] for each in texts]
        self._found: dict[tuple[int, tuple[int, ...]], TokenPlan] = {}
        for call in self._last_calls():
            self.at(call)

    @property
    def images(self) -> int:
        """How many there are."""
        return len(self._bound)

    def at(self, call: int) -> tuple[TokenPlan, ...]:
        """The plan of every image at a call of the model."""
        if not self._reads_maps:
            return (NO_CONCEPTS,) * self.images
        return tuple(self._plan(image, call) for image in range(self.images))

    def _plan(self, image: int, call: int) -> TokenPlan:
        stages = tuple(_stage(forms, call) for forms in self._forms[image])
        key = image, stages
        if key not in self._found:
            self._found[key] = token_plan(self._bound[image], self._locate(image, stages))
        return self._found[key]

    def _locate(self, image: int, stages: Sequence[int]) -> Callable[[int, tuple[Span, ...]], Columns]:
        texts, forms = self._bound[image].texts, self._forms[image]

        def locate(branch: int, spans: tuple[Span, ...]) -> Columns:
            _, form = forms[branch][stages[branch]]
            return self._host.columns(texts[branch], form, spans)

        return locate

    def _last_calls(self) -> set[int]:
        """The last call of every form of every text."""
        calls: set[int] = set()
        for image in self._forms:
            for forms in image:
                calls.update(last for last, _ in forms)
        return calls


def _stage(forms: TextForms, call: int) -> int:
    """Which form stands at a call; WebUI's own rule (prompt_parser.reconstruct_cond_batch)."""
    return next((number for number, (last, _) in enumerate(forms) if call <= last), 0)
