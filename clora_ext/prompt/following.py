"""The noun phrase after a tag."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clora_ext.prompt import vocabulary
from clora_ext.prompt.tags import Tag, anchor, remove_tags
from clora_ext.prompt.words import Lexed, gap, read_phrase


@dataclass(frozen=True, slots=True)
class Following:
    """The noun after a tag, and what its place is worth."""

    noun: int
    bunched: bool
    """Whether other LoRAs that seek a subject have their tags in the same bunch."""
    front: bool
    """Whether the tag stands before all words of the prompt, where tags of no place are put as well."""


def after_tags(prompt: str, lexed: Lexed, seeking: Mapping[int, Tag], tags: Sequence[Tag]) -> dict[int, Following]:
    """For the keys of ``seeking``, the noun of the phrase that directly follows the tag, where there is one.

    Of a bunch of tags with nothing but spaces and commas between them, only the last that seeks has a phrase; tags of
    styles and those bound explicitly (in ``tags``, not in ``seeking``) do not count.
    """
    found: dict[int, Following] = {}
    bunches = _bunches(prompt, tags)
    starts = [anchor(prompt, bunch[0].span[0]) for bunch in bunches]
    for bunch, limit in zip(bunches, [*starts[1:], None], strict=False):
        keys = [key for key, tag in seeking.items() if tag in bunch]
        if not keys:
            continue
        place = anchor(prompt, bunch[-1].span[1])
        noun = _noun_from(lexed, place, limit)
        if noun is not None:
            front = not remove_tags(prompt[: bunch[0].span[0]]).strip(" \t\r\n,")
            found[keys[-1]] = Following(noun, bunched=len(keys) > 1, front=front)
    return found


def _bunches(prompt: str, tags: Sequence[Tag]) -> list[list[Tag]]:
    bunches: list[list[Tag]] = []
    for tag in tags:
        if bunches and not remove_tags(prompt[bunches[-1][-1].span[1] : tag.span[0]]).strip(" \t\r\n,"):
            bunches[-1].append(tag)
        else:
            bunches.append([tag])
    return bunches


def _noun_from(lexed: Lexed, place: int, limit: int | None) -> int | None:
    """The head of the phrase that starts at character ``place``, if it can be a subject."""
    first = next((index for index, word in enumerate(lexed.words) if word.start >= place), None)
    if first is None or gap(lexed.text[place : lexed.words[first].start]) != "soft":
        return None
    before = _words_before(lexed, first)
    if vocabulary.kind(lexed.words[first].text) == "determiner" and any(map(vocabulary.can_be_subject, before)):
        return None  # “a cat <tag> a dog”: the tag may go with either
    described = any(not vocabulary.is_function(word) for word in before)
    phrase = read_phrase(lexed.words, first, limit=limit, described=described)
    if phrase.head is None or lexed.words[phrase.head].scheduled:
        return None
    return phrase.head if vocabulary.can_be_subject(lexed.words[phrase.head].text) else None


def _words_before(lexed: Lexed, first: int) -> list[str]:
    """The words of the same phrase that stand before word ``first``."""
    if first == 0 or lexed.words[first - 1].after != "soft":
        return []
    start = lexed.phrases[lexed.phrase_of(first - 1)].first
    return [word.text for word in lexed.words[start:first]]
