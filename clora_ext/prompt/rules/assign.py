"""One subject for every LoRA, and no subject twice."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NoReturn

from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import WordSpan
from clora_ext.prompt.rules.candidates import Candidate, list_choices
from clora_ext.prompt.rules.intents import LoraIntent

_HOW = (
    "click its word, or write it into the tag as bind=word; a style on everything is role=style, a style on one "
    "subject on=word"
)
"""How a LoRA's part in the picture is said."""


def assign(
    text: PromptText, intents: Sequence[LoraIntent], wanted: Sequence[tuple[Candidate, ...]]
) -> tuple[Candidate, ...]:
    """Choose one of ``wanted[k]`` for ``intents[k]``.

    LoRAs that want the same word get its places in their own order if there is one for each. Raises ``BindingError``
    for a LoRA with no candidate or with different words, and for LoRAs that want the same place.
    """
    for intent, found in zip(intents, wanted, strict=True):
        _require_one_word(text, intent, found)
    chosen = {index: found[0] for index, found in enumerate(wanted) if len(found) == 1}
    _require_disjoint(text, intents, chosen)
    while len(chosen) < len(intents):
        free = _find_free(wanted, chosen)
        settled = _settle(free)
        if not settled:
            _refuse(text, intents, wanted, free)
        chosen.update(settled)
        _require_disjoint(text, intents, chosen)
    return tuple(chosen[index] for index in range(len(intents)))


def _find_free(
    wanted: Sequence[tuple[Candidate, ...]], chosen: Mapping[int, Candidate]
) -> dict[int, tuple[Candidate, ...]]:
    """For each LoRA without a subject, the candidates that no other LoRA has."""
    taken: set[int] = set()
    for candidate in chosen.values():
        taken.update(candidate.subject)
    free: dict[int, tuple[Candidate, ...]] = {}
    for index, found in enumerate(wanted):
        if index not in chosen:
            free[index] = tuple(candidate for candidate in found if taken.isdisjoint(candidate.subject))
    return free


def _settle(free: Mapping[int, tuple[Candidate, ...]]) -> dict[int, Candidate]:
    """The first group of LoRAs that want the same places and have one for each."""
    for places in free.values():
        subjects = _list_spans(places)
        group = [index for index, others in free.items() if _list_spans(others) == subjects]
        if len(group) == len(places):
            return {index: free[index][order] for order, index in enumerate(group)}
    return {}


def _list_spans(found: Iterable[Candidate]) -> tuple[WordSpan, ...]:
    return tuple(candidate.subject for candidate in found)


def _require_one_word(text: PromptText, intent: LoraIntent, found: Collection[Candidate]) -> None:
    if not found:
        how = f"Nothing in the prompt tells: {_HOW}; {list_choices(text)}."
        raise intent.ask([f"What does “{intent.name}” draw?"], how, "subject")
    words: dict[str, str] = {}
    for candidate in found:
        written = text.join(candidate.subject)
        words[written.casefold()] = f"“{written}”"
    if len(words) > 1:
        either = [part for word in words.values() for part in (" or the ", word)][1:]
        asked = [f"Is “{intent.name}” the ", *either, "?"]
        raise intent.ask(asked, f"Say so: {_HOW}.", "subject", _list_spans(found))


def _require_disjoint(text: PromptText, intents: Sequence[LoraIntent], chosen: Mapping[int, Candidate]) -> None:
    owners: dict[int, int] = {}
    for index in sorted(chosen):
        for word in chosen[index].subject:
            if word in owners:
                sharing = [intents[owners[word]], intents[index]]
                _refuse_shared(text, sharing, chosen[index])
            owners[word] = index


def _refuse_shared(text: PromptText, sharing: Sequence[LoraIntent], place: Candidate) -> NoReturn:
    """Ask the one of two of which nobody said what it draws, else all that want the place."""
    word = text.join(place.subject)
    open_to = [intent for intent in sharing if intent.seeks_subject]
    if len(sharing) == 2 and len(open_to) == 1:
        (loser,) = open_to
        (winner,) = (intent for intent in sharing if intent is not loser)
        asked = f"What does “{loser.name}” draw? “{winner.name}” has its “{word}”."
        raise loser.ask([asked], f"Say so: {_HOW}; {list_choices(text)}.", "subject")
    if not open_to and len({intent.name for intent in sharing}) == 1:
        msg = f"Two subjects of “{sharing[0].name}” have the same “{word}”; give each words of its own, or drop one."
        last = max(sharing, key=lambda intent: intent.number or 0)
        raise last.make_error(msg, "subject")
    names = " and ".join(f"“{intent.name}”" for intent in sharing)
    asked = f"{names} want to draw the same “{word}”."
    how = (
        f"Click a word for each, or write bind=word into their tags, with occurrence= if the word stands there several "
        f"times; {list_choices(text)}."
    )
    raise sharing[-1].ask([asked], how, "subject")


def _refuse(
    text: PromptText,
    intents: Sequence[LoraIntent],
    wanted: Sequence[tuple[Candidate, ...]],
    free: Mapping[int, tuple[Candidate, ...]],
) -> NoReturn:
    """Raise for the first LoRA that is left over: its word is taken, or stands in more places than are wanted."""
    index, places = next(iter(free.items()))
    subjects = set(_list_spans(wanted[index]))
    rivals = [other for other, found in enumerate(wanted) if subjects.intersection(_list_spans(found))]
    if len(rivals) > len(subjects) or not places:
        sharing = [intents[other] for other in rivals]
        _refuse_shared(text, sharing, wanted[index][0])
    word = text.join(places[0].subject)
    asked = f"“{word}”, which “{intents[index].name}” draws, stands in {len(places)} places."
    how = f"Click one, or write into its tag {_list_occurrences(text, places)}."
    raise intents[index].ask([asked], how, "occurrence", _list_spans(places))


def _list_occurrences(text: PromptText, places: Sequence[Candidate]) -> str:
    """How each of ``places``, which have the same words, is written in a binding."""
    keys = text.keys_of(places[0].subject)
    everywhere = text.find(keys)
    numbers = [everywhere.index(place.subject) + 1 for place in places]
    return " or ".join(f"occurrence={number}" for number in numbers)
