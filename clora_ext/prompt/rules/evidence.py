"""What a prompt tells about each LoRA, found once and looked at by all rules."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from clora_ext.prompt.bindings.binding import Role
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import Span, WordSpan
from clora_ext.prompt.grammar.tags import Tag, map_position
from clora_ext.prompt.rules.by_name import find_nouns_by_name
from clora_ext.prompt.rules.by_place import NounAfterTag, find_nouns_after_tags
from clora_ext.prompt.rules.intents import LoraIntent
from clora_ext.prompt.rules.trigger_matches import TriggerMatch, TriggerMatches, match_triggers


@dataclass(frozen=True, slots=True)
class LoraEvidence:
    """One LoRA: what is wanted of it, and what the prompt tells about it."""

    intent: LoraIntent
    triggers: TriggerMatches
    """Where its activation texts stand."""
    nouns_by_name: tuple[WordSpan, ...]
    """The nouns that its file name or its class words name."""
    noun_after_tag: NounAfterTag | None = None
    """The noun of the phrase after its tag."""
    other_tags: tuple[int, ...] = ()
    """Characters of the prompt without tags where the tags of other LoRAs with a subject stand."""

    @property
    def sure_nouns(self) -> tuple[WordSpan, ...]:
        """The noun after its tag if the tag's place means something, else nothing."""
        after = self.noun_after_tag
        return ((after.noun,),) if after is not None and after.is_sure else ()

    def as_style(self, why: str, on: str | None = None, occurrence: int | None = None) -> "LoraEvidence":
        """The same as a style: on what the LoRA ``on`` draws, or on these words in that place, else on everything."""
        role: Role = "style" if on is None else "style_on"
        return replace(self, intent=replace(self.intent, role=role, on=on, occurrence=occurrence, why=why))

    def require_matches(self) -> tuple[TriggerMatch, ...]:
        """Where its activation texts stand. Raises ``BindingError`` if that is in schedules only."""
        if self.triggers.scheduled is not None:
            msg = (
                f"“{self.triggers.scheduled}”, the trigger of LoRA “{self.intent.name}”, stands in a schedule such as "
                f"[a:b:0.5] or [a|b]; move it out."
            )
            raise self.intent.make_error(msg, "trigger")
        return self.triggers.matches


def gather_evidence(text: PromptText, intents: Iterable[LoraIntent]) -> tuple[LoraEvidence, ...]:
    """What the words of the prompt tell of each intent."""
    return tuple(
        LoraEvidence(
            intent=intent,
            triggers=match_triggers(text, intent.triggers),
            nouns_by_name=find_nouns_by_name(text, intent.facts),
        )
        for intent in intents
    )


def add_places(
    prompt: str, text: PromptText, evidence: Sequence[LoraEvidence], tags: Sequence[Tag]
) -> tuple[LoraEvidence, ...]:
    """``evidence`` with what the places of the tags tell. ``text`` is ``prompt`` without its ``tags``."""
    subjects = [lora.intent for lora in evidence if lora.intent.role == "subject"]
    after_tags = _find_nouns(prompt, text, subjects, tags)
    positions = _map_tags(prompt, subjects)
    placed: list[LoraEvidence] = []
    for lora in evidence:
        tag = lora.intent.tag
        others = tuple(position for name, position in positions.items() if name != lora.intent.name)
        noun = None if tag is None else after_tags.get(tag.span)
        placed.append(replace(lora, noun_after_tag=noun, other_tags=others))
    return tuple(placed)


def _find_nouns(
    prompt: str, text: PromptText, subjects: Sequence[LoraIntent], tags: Sequence[Tag]
) -> Mapping[Span, NounAfterTag]:
    """The nouns after the tags of subjects. LoRAs whose subject is said compete with each other only."""
    found: dict[Span, NounAfterTag] = {}
    for seeks in (True, False):
        competing = [intent.tag for intent in subjects if intent.seeks_subject == seeks]
        seeking = [tag for tag in competing if tag is not None]
        found.update(find_nouns_after_tags(prompt, text, seeking, tags))
    return found


def _map_tags(prompt: str, subjects: Sequence[LoraIntent]) -> Mapping[str, int]:
    """Where each LoRA's tag stands in the prompt without tags."""
    positions: dict[str, int] = {}
    for intent in subjects:
        if intent.tag is not None:
            positions[intent.name] = map_position(prompt, intent.tag.span[0])
    return positions
