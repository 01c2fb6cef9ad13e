"""Whose clothes a LoRA draws."""

from collections.abc import Sequence

from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.rules.effects import is_worn
from clora_ext.prompt.rules.evidence import LoraEvidence
from clora_ext.prompt.rules.subjects import BoundWords


def dress(
    text: PromptText, clothes: LoraEvidence, evidence: Sequence[LoraEvidence], bound: Sequence[BoundWords]
) -> LoraEvidence:
    """``clothes`` as a style: on the subject that wears them, or on everything where there is one subject only.

    Raises ``BindingError`` where the prompt does not tell who wears them.
    """
    if len(bound) == 1:
        return clothes.as_style("clothes")
    spans = [match.words for match in clothes.triggers.matches] or clothes.nouns_by_name
    found = [_find_wearer(text, span[0], bound) for span in spans if is_worn(text, span[0])]
    wearers = {wearer for wearer in found if wearer is not None}
    if len(wearers) != 1:
        name = clothes.intent.name
        how = (
            "The prompt does not tell: write on= with that subject's words into its tag, role=style for everybody's, "
            "or bind= with a word where it is a subject of its own."
        )
        raise clothes.intent.ask([f"Whose clothes does “{name}” draw?"], how, "on")
    (wearer,) = wearers
    intent, words = evidence[wearer].intent, bound[wearer].subject
    if not intent.several:
        return clothes.as_style("clothes", intent.name)
    place = text.find(text.keys_of(words)).index(words) + 1
    return clothes.as_style("clothes", text.join(words), place)


def _find_wearer(text: PromptText, garment: int, bound: Sequence[BoundWords]) -> int | None:
    """The last subject before word ``garment`` in the same clause."""
    owners: dict[int, int] = {}
    for number, words in enumerate(bound):
        owners |= dict.fromkeys(words.subject, number)
    for index in range(garment - 1, -1, -1):
        if text.words[index].after != "soft":
            return None
        if index in owners:
            return owners[index]
    return None
