"""Activation texts in a prompt: where they stand, and which noun they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from clora_ext.prompt import vocabulary
from clora_ext.prompt.asks import Ask
from clora_ext.prompt.names import by_name, named
from clora_ext.prompt.words import Lexed, Run, find, read_phrase, split


@dataclass(frozen=True, slots=True)
class Candidate:
    """A subject that a LoRA may be bound to, and the words that are its trigger there."""

    subject: Run
    trigger: Run = ()


@dataclass(frozen=True, slots=True)
class Match:
    """An activation text where it stands; ``pieces`` are its parts between commas."""

    run: Run
    pieces: tuple[Run, ...]


def matches(lexed: Lexed, ask: Ask) -> tuple[Match, ...]:
    """Where the LoRA's trigger texts stand, long ones first and none inside another.

    Of a text with commas, as many leading parts as stand there one after the other. Raises ``BindingError`` for a
    trigger that stands in a schedule only: it would come and go between steps.
    """
    found = [match for text in ask.triggers for match in _text_matches(lexed, text)]
    free = [match for match in found if lexed.free(match.run)]
    if found and not free:
        msg = (
            f"“{lexed.joined(found[0].run)}”, the trigger of LoRA “{ask.name}”, stands in a schedule such as [a:b:0.5] "
            f"or [a|b]; move it out."
        )
        raise ask.error(msg, "trigger")
    kept: list[Match] = []
    for match in sorted(free, key=lambda match: (-len(match.run), match.run)):
        if not any(set(match.run) & set(other.run) for other in kept):
            kept.append(match)
    return tuple(kept)


def triggered(lexed: Lexed, ask: Ask, placed: tuple[Run, ...], anchors: Sequence[int]) -> tuple[Candidate, ...]:
    """The nouns that the LoRA's activation text, where it stands in the prompt, belongs to.

    Where the text leaves several, the one in ``placed`` (the noun after the tag) or those that the file's name tells.
    ``anchors`` are the places of other LoRAs' tags: a phrase ends there.
    """
    found = matches(lexed, ask)
    nouns = [_nouns(lexed, ask, match, anchors) for match in found]
    if any(nouns):  # a trigger repeated between commas goes with the noun that it stands at elsewhere
        repeated = [match for match, subjects in zip(found, nouns, strict=True) if not subjects]
        alone = {index for match in repeated if _bare(lexed, match.run) for index in match.run}
        nouns = [
            subjects or (() if _bare(lexed, match.run) else _instead(lexed, ask, match))
            for match, subjects in zip(found, nouns, strict=True)
        ]
    else:
        alone = set()
        nouns = [_instead(lexed, ask, match) for match in found]
    triggers: dict[Run, set[int]] = {}
    for match, subjects in zip(found, nouns, strict=True):
        for subject in subjects:
            triggers.setdefault(subject, set(alone)).update(set(match.run) - set(subject))
    candidates = tuple(Candidate(subject, tuple(sorted(triggers[subject]))) for subject in sorted(triggers))
    named_runs = [run for run in by_name(lexed, ask.facts) if not any(set(run) <= set(match.run) for match in found)]
    for told in (placed, named_runs):
        kept = tuple(candidate for candidate in candidates if candidate.subject in told)
        candidates = kept or candidates
    return candidates


def attached(lexed: Lexed, ask: Ask, subject: Run) -> Run:
    """The words of the LoRA's trigger that go with a subject found otherwise; empty if there are none."""
    own = [match for match in matches(lexed, ask) if not set(match.run) <= set(subject)]
    phrases = {lexed.phrase_of(index) for index in subject}
    near = [match for match in own if phrases & {lexed.phrase_of(index) for index in match.run}]
    chosen = near or ([match for match in own if _alone(lexed, match.run)])
    if not near and len(chosen) != 1:
        return ()
    return tuple(sorted({index for match in chosen for index in match.run} - set(subject)))


def _text_matches(lexed: Lexed, text: str) -> list[Match]:
    pieces = [words for words in map(split, text.split(",")) if words]
    found: list[Match] = []
    for count in range(len(pieces), 0, -1):
        words = tuple(word for piece in pieces[:count] for word in piece)
        for run in find(lexed, words, across_commas=count > 1):
            cuts = [sum(map(len, pieces[:number])) for number in range(count + 1)]
            parts = tuple(run[start:stop] for start, stop in pairwise(cuts))
            found.append(Match(run, parts))
    return found


def _nouns(lexed: Lexed, ask: Ask, match: Match, anchors: Sequence[int]) -> tuple[Run, ...]:
    """The nouns that a match describes: several where the text does not tell, none where it stands alone."""
    nouns = _described(lexed, match.pieces[-1], anchors)
    told = any(named(ask.facts, lexed.words[noun].text) for noun in nouns)
    for piece in (match.pieces[0], match.pieces[-1]):  # “zorv cat”, with “white paws” after a comma or without
        own_noun = named(ask.facts, lexed.words[piece[-1]].text) and not told
        if len(piece) > 1 and (own_noun or (not nouns and piece == match.pieces[0])):
            return _ends(lexed, piece)
    return tuple((noun,) for noun in nouns)


def _described(lexed: Lexed, piece: Run, anchors: Sequence[int]) -> tuple[int, ...]:
    """The noun that ends the phrase which goes on after ``piece``; several where the text does not tell."""
    following = piece[-1] + 1
    if following == len(lexed.words) or lexed.words[piece[-1]].after != "soft":
        return ()
    limit = min((anchor for anchor in anchors if anchor >= lexed.words[piece[-1]].end), default=None)
    phrase = read_phrase(lexed.words, following, limit=limit)
    nouns = [index for index in range(following, phrase.stop) if vocabulary.can_be_subject(lexed.words[index].text)]
    if phrase.head in nouns and not vocabulary.is_participle(lexed.words[following].text):
        return (phrase.head,)
    return (piece[-1], *nouns) if nouns else ()  # “zorv playing guitar”, “zorv sleeping cat”, “zorv licks a dog”


def _ends(lexed: Lexed, piece: Run) -> tuple[Run, ...]:
    """The last word of a trigger of several words, if it is a noun."""
    return (piece[-1:],) if vocabulary.can_be_subject(lexed.words[piece[-1]].text) else ()


def _instead(lexed: Lexed, ask: Ask, match: Match) -> tuple[Run, ...]:
    """The subject of a trigger that describes no noun of its phrase: “1girl, zorv, red hair”, “a photo of zorv”.

    Between commas it describes a noun elsewhere that the LoRA's name tells, or a later part of its own text. Else the
    trigger is the noun.
    """
    if _bare(lexed, match.run):
        elsewhere = [run for run in by_name(lexed, ask.facts) if not set(run) & set(match.run)]
        if len(elsewhere) == 1:
            return tuple(elsewhere)
    lasts = [(piece[-1],) for piece in match.pieces if vocabulary.can_be_subject(lexed.words[piece[-1]].text)]
    classes = [run for run in lasts[1:] if named(ask.facts, lexed.words[run[0]].text) or _counts(lexed, run)]
    return tuple(classes[:1]) or tuple(lasts)


def _counts(lexed: Lexed, run: Run) -> bool:
    return vocabulary.is_count(lexed.words[run[-1]].text)


def _bare(lexed: Lexed, run: Run) -> bool:
    """Whether the words fill all the room between two commas or other signs."""
    before = "hard" if run[0] == 0 else lexed.words[run[0] - 1].after
    return before != "soft" and (lexed.words[run[-1]].after != "soft" or run[-1] + 1 == len(lexed.words))


def _alone(lexed: Lexed, run: Run) -> bool:
    """Whether the phrase of the words has no other noun."""
    phrases = {lexed.phrase_of(index) for index in run}
    return not any(
        vocabulary.can_be_subject(word.text)
        for index, word in enumerate(lexed.words)
        if index not in run and lexed.phrase_of(index) in phrases
    )
