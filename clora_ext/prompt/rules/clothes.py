"""Whose clothes a LoRA draws."""

from collections.abc import Sequence

from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.rules.evidence import LoraEvidence
from clora_ext.prompt.rules.subjects import BoundWords

_WEARING = frozenset(["wearing", "wears", "wear", "wore", "in", "with", "dressed", "sporting"])


def dress(
    text: PromptText, clothes: LoraEvidence, evidence: Sequence[LoraEvidence], bound: Sequence[BoundWords]
) -> LoraEvidence:
    """``clothes`` as a style: on the subject that wears them, or on everything where there is one subject only.

    Raises ``BindingError`` where the prompt does not tell who wears them.
    """
    if len(bound) == 1:
        return clothes.as_style("clothes")
    found = [_find_wearer(text, match.words[0], bound) for match in clothes.triggers.matches]
    wearers = {wearer for wearer in found if wearer is not None}
    if len(wearers) != 1:
        name = clothes.intent.name
        msg = (
            f"The LoRA “{name}” draws clothes, and the prompt does not tell whose; say on= with that subject's words "
            f"in its tag, role=style for everybody's, or bind= with a word where it is a subject of its own."
        )
        raise clothes.intent.make_error(msg, "on")
    (wearer,) = wearers
    return clothes.as_style("clothes", evidence[wearer].intent.name)


def _find_wearer(text: PromptText, garment: int, bound: Sequence[BoundWords]) -> int | None:
    """The last subject before word ``garment`` in the same clause, where a word of wearing stands between."""
    owners = {word: index for index, words in enumerate(bound) for word in words.subject}
    wears = False
    for index in range(garment - 1, -1, -1):
        if text.words[index].after != "soft":
            return None
        if index in owners:
            return owners[index] if wears else None
        wears = wears or text.keys[index] in _WEARING
    return None
