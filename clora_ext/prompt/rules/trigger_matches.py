"""Where a LoRA's activation texts stand in a prompt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

from clora_ext.prompt.grammar.lexer import split_words
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import WordSpan


@dataclass(frozen=True, slots=True)
class TriggerMatch:
    """An activation text where it stands."""

    words: WordSpan
    pieces: tuple[WordSpan, ...]
    """Its parts between commas."""


@dataclass(frozen=True, slots=True)
class TriggerMatches:
    """All places of one LoRA's activation texts, matched once."""

    matches: tuple[TriggerMatch, ...]
    """Long ones first, and none that shares a word with another."""
    scheduled: str | None = None
    """The words of a match, where all of them are in schedules: it would come and go between steps."""


def match_triggers(text: PromptText, triggers: Iterable[str]) -> TriggerMatches:
    """Where the activation texts stand. Of a text with commas, as many leading parts as stand there in a row."""
    found: list[TriggerMatch] = []
    for trigger in triggers:
        found += _match_text(text, trigger)
    free = [match for match in found if text.in_every_step(match.words)]
    if found and not free:
        return TriggerMatches((), text.join(found[0].words))
    return TriggerMatches(_drop_overlaps(free))


def collect_words(matches: Iterable[TriggerMatch]) -> set[int]:
    """The words of all ``matches``."""
    spans = (match.words for match in matches)
    return set(chain.from_iterable(spans))


def _match_text(text: PromptText, trigger: str) -> list[TriggerMatch]:
    pieces = [split_words(piece) for piece in trigger.split(",")]
    pieces = [piece for piece in pieces if piece]
    found: list[TriggerMatch] = []
    for count in range(len(pieces), 0, -1):
        found += _match_pieces(text, pieces[:count])
    return found


def _match_pieces(text: PromptText, pieces: Sequence[tuple[str, ...]]) -> list[TriggerMatch]:
    """Where all ``pieces`` stand one after the other, with commas between them or without."""
    words = list(chain.from_iterable(pieces))
    cuts = list(accumulate(map(len, pieces), initial=0))
    found: list[TriggerMatch] = []
    for span in text.find(words, across_commas=len(pieces) > 1):
        parts = tuple(span[start:stop] for start, stop in pairwise(cuts))
        found.append(TriggerMatch(span, parts))
    return found


def _drop_overlaps(found: Iterable[TriggerMatch]) -> tuple[TriggerMatch, ...]:
    kept: list[TriggerMatch] = []
    taken: set[int] = set()
    for match in sorted(found, key=_rank):
        if taken.isdisjoint(match.words):
            kept.append(match)
            taken.update(match.words)
    return tuple(kept)


def _rank(match: TriggerMatch) -> tuple[int, WordSpan]:
    return -len(match.words), match.words
