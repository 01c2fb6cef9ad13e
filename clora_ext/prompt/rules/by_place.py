"""The noun phrase after a tag."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from clora_ext.prompt.grammar import vocabulary
from clora_ext.prompt.grammar.lexer import classify_gap
from clora_ext.prompt.grammar.phrases import read_phrase
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import Span
from clora_ext.prompt.grammar.tags import Tag, map_position, remove_tags

_BETWEEN = " \t\r\n,"
"""What may stand between the tags of a bunch."""

_Bunch = list[Tag]
"""Tags with nothing but spaces and commas between them."""


@dataclass(frozen=True, slots=True)
class NounAfterTag:
    """The noun of the phrase after a tag, and what the tag's place is worth."""

    noun: int
    in_bunch: bool
    """Whether other LoRAs that seek a subject have their tags in the same bunch."""
    in_front: bool
    """Whether the tag stands before all words of the prompt. People put tags there whose place means nothing."""

    @property
    def is_sure(self) -> bool:
        """Whether the tag's place means that this noun is its subject."""
        return not self.in_bunch and not self.in_front


def find_nouns_after_tags(
    prompt: str, text: PromptText, seeking: Collection[Tag], tags: Sequence[Tag]
) -> dict[Span, NounAfterTag]:
    """For the ``span`` of tags in ``seeking``, the noun of the phrase that directly follows, where there is one.

    Of a bunch of tags only the last that seeks has a phrase. The other ``tags``, those of styles and of LoRAs that are
    bound explicitly, do not count.
    """
    found: dict[Span, NounAfterTag] = {}
    bunches = _find_bunches(prompt, tags)
    for number, bunch in enumerate(bunches):
        competing = [tag for tag in bunch if tag in seeking]
        if not competing:
            continue
        start, end = bunch[0].span[0], bunch[-1].span[1]
        limit = _find_limit(prompt, bunches, number)
        noun = _find_noun(text, map_position(prompt, end), limit)
        if noun is not None:
            in_front = _is_empty(prompt[:start])
            found[competing[-1].span] = NounAfterTag(noun, len(competing) > 1, in_front)
    return found


def _find_bunches(prompt: str, tags: Sequence[Tag]) -> list[_Bunch]:
    bunches: list[_Bunch] = []
    for tag in tags:
        end = bunches[-1][-1].span[1] if bunches else None
        if end is not None and _is_empty(prompt[end : tag.span[0]]):
            bunches[-1].append(tag)
        else:
            bunches.append([tag])
    return bunches


def _find_limit(prompt: str, bunches: Sequence[_Bunch], number: int) -> int | None:
    """Where the bunch after bunch ``number`` stands in the prompt without tags."""
    if number + 1 == len(bunches):
        return None
    start, _ = bunches[number + 1][0].span
    return map_position(prompt, start)


def _is_empty(part: str) -> bool:
    """Whether a part of the prompt holds tags, spaces and commas only."""
    return not remove_tags(part).strip(_BETWEEN)


def _find_noun(text: PromptText, place: int, limit: int | None) -> int | None:
    """The head of the phrase from character ``place`` to ``limit``, if it can be a subject."""
    first = _find_first_word(text, place)
    if first is None:
        return None
    before = _list_words_before(text, first)
    opens_phrase = vocabulary.classify(text.words[first].text) == "determiner"
    if opens_phrase and any(vocabulary.can_be_subject(word) for word in before):
        return None  # “a cat <tag> a dog”: the tag may go with either
    noun_before = not all(vocabulary.is_function(word) for word in before)
    head = read_phrase(text.words, first, limit=limit, noun_before=noun_before).head
    if head is None or text.words[head].scheduled:
        return None
    return head if vocabulary.can_be_subject(text.words[head].text) else None


def _find_first_word(text: PromptText, place: int) -> int | None:
    """The word that directly follows character ``place``."""
    for index, word in enumerate(text.words):
        if word.start >= place:
            gap = classify_gap(text.string[place : word.start])
            return index if gap == "soft" else None
    return None


def _list_words_before(text: PromptText, first: int) -> list[str]:
    """The words of the same phrase that stand before word ``first``."""
    if first == 0 or text.words[first - 1].after != "soft":
        return []
    start = text.phrase_at(first - 1).first
    return [word.text for word in text.words[start:first]]
