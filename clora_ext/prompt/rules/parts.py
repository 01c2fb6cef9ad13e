"""The LoRAs that a merged file was made of, its parts: each may draw a subject of its own.

Which of them a prompt calls is told by their triggers. A part of which somebody speaks already is left to that.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from clora_ext.prompt.grammar.lexer import split_words
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.rules.by_name import find_nouns_by_name
from clora_ext.prompt.rules.by_trigger import SubjectTriggers, find_by_trigger
from clora_ext.prompt.rules.effects import is_clothes, why_style
from clora_ext.prompt.rules.evidence import LoraEvidence
from clora_ext.prompt.rules.intents import LoraIntent
from clora_ext.prompt.rules.trigger_matches import TriggerMatches, collect_words, match_triggers


@dataclass(frozen=True, slots=True)
class _Part:
    """A part whose trigger stands in the prompt, and the subjects that it may belong to there."""

    trigger: str
    subjects: SubjectTriggers

    @property
    def words(self) -> set[int]:
        """Those of the subjects and of the trigger."""
        found: set[int] = set()
        for subject, trigger in self.subjects.items():
            found.update(subject, trigger)
        return found

    def is_taken(self, words: set[int]) -> bool:
        """Whether ``words``, which are other LoRAs', leave it no subject."""
        return all(words.intersection(subject) for subject in self.subjects)

    def narrow(self, intent: LoraIntent) -> LoraIntent:
        """``intent`` as that of this part alone."""
        own = replace(intent.facts, triggers=(self.trigger,), words=(self.trigger,), parts=())
        return replace(intent, facts=own, part=self.trigger)


def find_parts(text: PromptText, intents: Sequence[LoraIntent]) -> tuple[LoraIntent, ...]:
    """``intents`` with one for every part of a merged file that the prompt calls, in the order of the prompt.

    A file that is a style, and one that was not merged, stays as it is. Raises ``BindingError`` for a mask that may be
    that of several parts.
    """
    found: list[LoraIntent] = []
    by_name: dict[str, list[LoraIntent]] = {}
    for intent in intents:
        by_name.setdefault(intent.name, []).append(intent)
    for intent in intents:
        own = by_name[intent.name]
        if not intent.facts.parts:
            found.append(intent)
        elif intent is own[0]:
            others = [each for each in intents if each.name != intent.name]
            found += _with_parts(text, own, others)
    return _mark_several(found)


def _mark_several(intents: Sequence[LoraIntent]) -> tuple[LoraIntent, ...]:
    times = Counter(intent.name for intent in intents if intent.role == "subject")
    several = [times[intent.name] > 1 or intent.part is not None or bool(intent.facts.parts) for intent in intents]
    pairs = zip(intents, several, strict=True)
    return tuple(replace(intent, several=True) if is_several else intent for intent, is_several in pairs)


def _with_parts(text: PromptText, own: Sequence[LoraIntent], others: Iterable[LoraIntent]) -> list[LoraIntent]:
    """The intents of one merged file."""
    if any(intent.role != "subject" for intent in own):
        return list(own)
    called = _find_called(text, own[0])
    said = [_find_said(text, intent) for intent in own]
    spoken_of = set().union(*said)
    of_others = set().union(*(_find_subject(text, intent) for intent in others))
    left = [part for part in called if spoken_of.isdisjoint(part.words) and not part.is_taken(of_others)]
    places = [min(words, default=len(text.words)) for words in said]
    pairs = zip(own, said, strict=True)
    placed = [*zip(places, [_with_its_triggers(intent, words, called) for intent, words in pairs], strict=True)]
    seeking = next((intent for intent in own if intent.subject is None and intent.trigger is None), None)
    if left and seeking is None:
        placed += [(min(part.words), part.narrow(_unsaid(own[0]))) for part in left]
    elif left and seeking is not None:
        placed = [each for each in placed if each[1] is not seeking]
        placed += _share_out(seeking, left)
    return [intent for _, intent in sorted(placed, key=lambda each: each[0])]


def _with_its_triggers(intent: LoraIntent, words: set[int], called: Iterable[_Part]) -> LoraIntent:
    """A said intent without the triggers of other parts that the prompt calls."""
    gone = {part.trigger for part in called if words.isdisjoint(part.words)}
    if not words or not gone:
        return intent
    left = tuple(trigger for trigger in intent.facts.triggers if trigger not in gone)
    return replace(intent, facts=replace(intent.facts, triggers=left))


def _share_out(seeking: LoraIntent, left: Sequence[_Part]) -> Iterator[tuple[int, LoraIntent]]:
    """``seeking``, of which nobody said what it draws, as each of the parts that are ``left``, with their places."""
    if len(left) > 1 and not seeking.open:
        triggers = ", ".join(f"“{part.trigger}”" for part in left)
        msg = f"The LoRA “{seeking.name}” draws several subjects here, {triggers}; say which one with “subject”."
        raise seeking.make_error(msg, "subject")
    for part in left:
        intent = seeking if len(left) == 1 else replace(seeking, number=None)
        yield min(part.words), part.narrow(intent)


def _unsaid(intent: LoraIntent) -> LoraIntent:
    """The intent of the same tag if nobody had said anything."""
    te, unet = (1.0, 1.0) if intent.tag is None else (intent.tag.te, intent.tag.unet)
    nothing = replace(intent, te=te, unet=unet, subject=None, occurrence=None, trigger=None)
    return replace(nothing, open=True, number=None, mask=None, mask_way="fixed")


def _find_called(text: PromptText, intent: LoraIntent) -> list[_Part]:
    """The parts whose triggers stand in the prompt, without those that are styles or clothes."""
    free = {match.words for match in match_triggers(text, intent.facts.parts).matches}
    found: list[_Part] = []
    for trigger in intent.facts.parts:
        matches = tuple(match for match in match_triggers(text, [trigger]).matches if match.words in free)
        free -= {match.words for match in matches}
        own = _Part(trigger, {}).narrow(intent)
        evidence = LoraEvidence(own, TriggerMatches(matches), find_nouns_by_name(text, own.facts))
        if matches and why_style(text, evidence) is None and not is_clothes(text, evidence):
            found.append(_Part(trigger, find_by_trigger(text, evidence)))
    return found


def _find_said(text: PromptText, intent: LoraIntent) -> set[int]:
    """The words of the prompt of which somebody speaks."""
    trigger = match_triggers(text, [intent.trigger] if intent.trigger else []).matches
    return _find_subject(text, intent) | collect_words(trigger)


def _find_subject(text: PromptText, intent: LoraIntent) -> set[int]:
    """The words that somebody said are its subject, in all places that are meant."""
    if intent.role != "subject" or intent.subject is None:
        return set()
    spans = text.find(split_words(intent.subject))
    if intent.occurrence is not None:
        spans = spans[intent.occurrence - 1 : intent.occurrence]
    return {word for span in spans for word in span}
