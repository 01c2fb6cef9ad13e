"""What several tests of prompts check with, and how their examples are drawn."""

from collections.abc import Mapping, Sequence

from hypothesis import settings

from clora_ext.errors import CLoRAError
from clora_ext.prompt import Binding, BoundPrompt, LoraFacts, bind_or_merge
from clora_ext.prompt.grammar.lexer import split_words

steady = settings(deadline=None, derandomize=True)


def bind_or_say(
    prompt: str, facts: Mapping[str, LoraFacts], bindings: Sequence[Binding] = ()
) -> tuple[BoundPrompt | None, str | None]:
    """What a job binds, or what it says instead."""
    try:
        return bind_or_merge(prompt, facts, bindings), None
    except CLoRAError as error:
        return None, error.message


def check_places(bound: BoundPrompt) -> None:
    """Every span holds the word that it stands for, and triggers stand in their own branch only."""
    assert len(bound.places) == len(bound.texts) == len(bound.subjects) + 1
    for number, (text, places) in enumerate(zip(bound.texts, bound.places, strict=True)):
        assert len(places) == len(bound.subjects)
        for index, (subject, place) in enumerate(zip(bound.subjects, places, strict=True)):
            assert " ".join(text[start:end] for start, end in place.subject) == subject.words
            trigger = subject.trigger if number == index + 1 else None
            assert bool(place.trigger) == bool(trigger)
            assert list(split_words(trigger or "")) == [text[start:end] for start, end in place.trigger]
