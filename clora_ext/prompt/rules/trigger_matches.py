"""Where a LoRA's activation texts stand in a prompt."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

from clora_ext.prompt.grammar.lexer import split_parts, split_words
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import WordSpan

_IN_BRACKETS = re.compile(r"\\?\(.*")
_Places = dict[int, tuple[WordSpan, WordSpan]]


@dataclass(frozen=True, slots=True)
class TriggerMatch:
    """An activation text where it stands."""

    words: WordSpan
    pieces: tuple[WordSpan, ...]
    """Its parts between commas."""
    core: WordSpan
    """The first of them without what is in brackets: “makima” of “makima (chainsaw man)”."""


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
    pieces = [piece for piece in trigger.split(",") if split_words(piece)]
    places = [_find_piece(text, piece) for piece in pieces]
    found: list[TriggerMatch] = []
    for count in range(len(pieces), 0, -1):
        found += _match_pieces(text, places[:count])
    return found


def _find_piece(text: PromptText, piece: str) -> _Places:
    """Where a part between commas stands, by its first word: its words, and those that are outside of brackets."""
    outside = len(split_parts(split_words(_IN_BRACKETS.sub(" ", piece))))
    found: _Places = {}
    for span in text.find(split_words(piece)):
        parts = accumulate(len(text.parts[index]) for index in span)
        core = tuple(index for index, count in zip(span, parts, strict=True) if count <= outside)
        found[span[0]] = span, core or span
    return found


def _match_pieces(text: PromptText, places: Sequence[_Places]) -> list[TriggerMatch]:
    """Where all pieces stand one after the other, with commas between them or without."""
    found: list[TriggerMatch] = []
    for start in places[0]:
        pieces: list[WordSpan] = []
        for of_piece in places:
            following = pieces[-1][-1] + 1 if pieces else start
            if following not in of_piece or not _goes_on(text, pieces):
                break
            pieces.append(of_piece[following][0])
        else:
            words = tuple(chain.from_iterable(pieces))
            found.append(TriggerMatch(words, tuple(pieces), places[0][start][1]))
    return found


def _goes_on(text: PromptText, pieces: Sequence[WordSpan]) -> bool:
    """Whether nothing but a comma stands after the last of ``pieces``."""
    return not pieces or text.words[pieces[-1][-1]].joint != "hard"


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
