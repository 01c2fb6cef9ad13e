"""The default binding: for one LoRA, the subjects that the first rule which fits allows."""

from collections.abc import Sequence

from clora_ext.prompt import vocabulary
from clora_ext.prompt.asks import Ask
from clora_ext.prompt.following import Following
from clora_ext.prompt.names import by_any_name, by_name
from clora_ext.prompt.triggers import Candidate, attached, triggered
from clora_ext.prompt.words import Lexed, Run, Word, find, split


def candidates(lexed: Lexed, ask: Ask, after: Following | None, anchors: Sequence[int]) -> tuple[Candidate, ...]:
    """Where the LoRA's subject may be; one of them, or several with the same words, or else an error follows.

    In order: the explicit subject, the activation text, the phrase after the tag, the file's name. A later rule
    decides between several candidates of an earlier one.
    """
    if ask.subject is not None:
        return _narrow(_explicit(lexed, ask, ask.subject), _sure(after))
    found = triggered(lexed, ask, _sure(after), anchors)
    if not found:
        found = tuple(Candidate(run) for run in _placed_or_named(lexed, ask, after))
    return found if ask.occurrence is None else _nth(lexed, ask, found, ask.occurrence)


def choices(lexed: Lexed) -> str:
    """The words of the prompt that a subject can be chosen from, for an error's sentence."""
    words = {word.key: word.text for word in reversed(lexed.words) if _choosable(word)}
    listed = list(reversed(words.values()))
    if not listed:
        return "the prompt has no word to choose from"
    return "words to choose from: " + ", ".join(listed[:12]) + (", …" if len(listed) > 12 else "")


def _choosable(word: Word) -> bool:
    return vocabulary.can_be_subject(word.text) and not word.scheduled


def _sure(after: Following | None) -> tuple[Run, ...]:
    """The noun after a tag whose place means something."""
    return () if after is None or after.bunched or after.front else ((after.noun,),)


def _explicit(lexed: Lexed, ask: Ask, subject: str) -> tuple[Candidate, ...]:
    """The places where the named words stand; those beside the LoRA's trigger if that tells."""
    runs = find(lexed, split(subject))
    if not runs:
        msg = f"“{subject}”, the subject of LoRA “{ask.name}”, is not in the prompt; {choices(lexed)}."
        raise ask.error(msg, "subject")
    if ask.occurrence is not None:
        runs = (_pick(lexed, ask, runs, ask.occurrence),)
    free = [run for run in runs if lexed.free(run)]
    if not free:
        msg = (
            f"“{lexed.joined(runs[0])}”, the subject of LoRA “{ask.name}”, stands in a schedule such as [a:b:0.5] or "
            f"[a|b]; move it out, or bind another word."
        )
        raise ask.error(msg, "subject")
    found = tuple(Candidate(run, attached(lexed, ask, run)) for run in free)
    beside = tuple(candidate for candidate in found if _beside(lexed, candidate))
    return beside or found


def _beside(lexed: Lexed, candidate: Candidate) -> bool:
    phrases = {lexed.phrase_of(index) for index in candidate.subject}
    return any(lexed.phrase_of(index) in phrases for index in candidate.trigger)


def _placed_or_named(lexed: Lexed, ask: Ask, after: Following | None) -> tuple[Run, ...]:
    """The phrase after the tag, else the file's name.

    In front of the prompt and in bunches tags are put that mean no place. There a name wins over the place of a bunch,
    and disputes that of a single tag.
    """
    heads = by_name(lexed, ask.facts)
    if after is None:
        return heads or by_any_name(lexed, ask.facts)
    placed: Run = (after.noun,)
    if after.bunched:
        return heads or (placed,)
    return (placed, *heads) if after.front and heads and placed not in heads else (placed,)


def _nth(lexed: Lexed, ask: Ask, found: tuple[Candidate, ...], occurrence: int) -> tuple[Candidate, ...]:
    """The occurrence asked for of the one word that the default binding finds."""
    keys = {tuple(lexed.words[index].key for index in candidate.subject) for candidate in found}
    if len(keys) != 1:
        return found
    run = _pick(lexed, ask, find(lexed, keys.pop()), occurrence)
    if not lexed.free(run):
        msg = (
            f"Place {occurrence} of “{lexed.joined(run)}”, the subject of LoRA “{ask.name}”, is in a schedule such as "
            f"[a:b:0.5]; move it out."
        )
        raise ask.error(msg, "occurrence")
    same = next((candidate for candidate in found if candidate.subject == run), None)
    return (same or Candidate(run, attached(lexed, ask, run)),)


def _pick(lexed: Lexed, ask: Ask, runs: tuple[Run, ...], occurrence: int) -> Run:
    if occurrence > len(runs):
        times = "once" if len(runs) == 1 else f"{len(runs)} times"
        msg = (
            f"“{lexed.joined(runs[0])}”, the subject of LoRA “{ask.name}”, stands {times} in the prompt, so there is "
            f"no occurrence {occurrence}; choose 1 to {len(runs)}."
        )
        raise ask.error(msg, "occurrence")
    return runs[occurrence - 1]


def _narrow(found: tuple[Candidate, ...], hints: tuple[Run, ...]) -> tuple[Candidate, ...]:
    """Those candidates that ``hints`` name as well; all of them if none is."""
    return tuple(candidate for candidate in found if candidate.subject in hints) or found
