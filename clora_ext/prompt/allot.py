"""One subject for every LoRA, and no subject twice."""

from collections.abc import Mapping, Sequence

from clora_ext.prompt.asks import Ask
from clora_ext.prompt.rules import choices
from clora_ext.prompt.triggers import Candidate
from clora_ext.prompt.words import Lexed, Run, find

HOW = "say which with bind= in its tag or with a line “{name}: word” in the bindings"


def allot(lexed: Lexed, asks: Sequence[Ask], wanted: Sequence[tuple[Candidate, ...]]) -> tuple[Candidate, ...]:
    """Choose one of ``wanted[k]`` for ``asks[k]``.

    LoRAs that want the same word get its places in their own order if there is one for each. Raises ``BindingError``
    for a LoRA with no candidate or with different words, and for LoRAs that want the same place.
    """
    for ask, found in zip(asks, wanted, strict=True):
        _require_one_word(lexed, ask, found)
    chosen: dict[int, Candidate] = {index: found[0] for index, found in enumerate(wanted) if len(found) == 1}
    _require_disjoint(lexed, asks, chosen)
    while len(chosen) < len(asks):
        open_places = {index: _open(wanted[index], chosen) for index in range(len(asks)) if index not in chosen}
        settled = _settle(open_places)
        if not settled:
            _refuse(lexed, asks, wanted, open_places)
        chosen.update(settled)
        _require_disjoint(lexed, asks, chosen)
    return tuple(chosen[index] for index in range(len(asks)))


def _settle(open_places: Mapping[int, tuple[Candidate, ...]]) -> dict[int, Candidate]:
    """The first group of LoRAs that want the same places and have one for each."""
    for places in open_places.values():
        runs = _runs(places)
        group = [index for index, others in open_places.items() if _runs(others) == runs]
        if len(group) == len(places):
            return {index: open_places[index][order] for order, index in enumerate(group)}
    return {}


def _open(found: tuple[Candidate, ...], chosen: Mapping[int, Candidate]) -> tuple[Candidate, ...]:
    taken = {index for candidate in chosen.values() for index in candidate.subject}
    return tuple(candidate for candidate in found if not taken & set(candidate.subject))


def _runs(found: tuple[Candidate, ...]) -> tuple[Run, ...]:
    return tuple(candidate.subject for candidate in found)


def _require_one_word(lexed: Lexed, ask: Ask, found: tuple[Candidate, ...]) -> None:
    how = HOW.format(name=ask.name)
    if not found:
        msg = f"Nothing in the prompt tells the subject of LoRA “{ask.name}”; {how}; {choices(lexed)}."
        raise ask.error(msg, "subject")
    words = {lexed.joined(candidate.subject).casefold(): lexed.joined(candidate.subject) for candidate in found}
    if len(words) > 1:
        either = " or ".join(f"“{word}”" for word in words.values())
        msg = f"The subject of LoRA “{ask.name}” may be {either}; {how}."
        raise ask.error(msg, "subject")


def _require_disjoint(lexed: Lexed, asks: Sequence[Ask], chosen: Mapping[int, Candidate]) -> None:
    owner: dict[int, int] = {}
    for index in sorted(chosen):
        for word in chosen[index].subject:
            if word in owner:
                _refuse_shared(lexed, asks, (owner[word], index), chosen[index])
            owner[word] = index


def _refuse_shared(lexed: Lexed, asks: Sequence[Ask], sharing: Sequence[int], place: Candidate) -> None:
    names = " and ".join(f"“{asks[index].name}”" for index in sharing)
    word = lexed.joined(place.subject)
    msg = (
        f"The LoRAs {names} are all bound to the same “{word}”; give each a word of its own with bind= in its tag, "
        f"or occurrence= if the word stands there several times; {choices(lexed)}."
    )
    raise asks[sharing[-1]].error(msg, "subject")


def _refuse(
    lexed: Lexed,
    asks: Sequence[Ask],
    wanted: Sequence[tuple[Candidate, ...]],
    open_places: Mapping[int, tuple[Candidate, ...]],
) -> None:
    """Raise for the first LoRA that is left over: its word is taken, or stands in more places than are wanted."""
    index, places = next(iter(open_places.items()))
    runs = set(_runs(wanted[index]))
    rivals = [other for other in range(len(asks)) if runs & set(_runs(wanted[other]))]
    if len(rivals) > len(runs) or not places:
        _refuse_shared(lexed, asks, sorted({*rivals, index}), wanted[index][0])
    word = lexed.joined(places[0].subject)
    everywhere = find(lexed, tuple(lexed.words[place].text for place in places[0].subject))
    numbers = " or ".join(f"occurrence={everywhere.index(place.subject) + 1}" for place in places)
    stands = f"stands in {len(places)} places; choose one with {numbers}"
    msg = f"“{word}”, the subject of LoRA “{asks[index].name}”, {stands}."
    raise asks[index].error(msg, "occurrence")
