"""LoRAs that are no subject: details, light, quality, sliders, speed, styles and clothes, and what tells so."""

import re
from collections.abc import Iterable

from clora_ext.prompt.grammar import vocabulary
from clora_ext.prompt.grammar.lexer import split_words
from clora_ext.prompt.grammar.nouns import GARMENTS, PARTS, is_class
from clora_ext.prompt.grammar.prompt_text import PromptText
from clora_ext.prompt.grammar.spans import WordSpan
from clora_ext.prompt.rules.by_name import list_name_parts
from clora_ext.prompt.rules.evidence import LoraEvidence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_EFFECTS = _words(
    "detail details detailed detailer detailing tweaker enhancer enhance slider sliders style styles artstyle "
    "aesthetic lcm tcd pcm dmd lighting contrast grain quality anatomy upscaler noise sharpness exposure saturation"
)
"""Parts of file names that tell of an effect on all of the picture."""

_STYLE_NAMES = _words("style styles artstyle aesthetic slider sliders")
"""Those that count even where the prompt has the activation text."""

_SPEED = _words("turbo lightning hyper flash light shadow shadows glow bokeh film")
"""The same where the name has no noun of the prompt: a “lightning dragon” is a dragon."""

_MENDS = _words("better good perfect fix fixer improved beautiful nice realistic hd")
_NAMES = ("lowra", "noiseoffset", "addmoredetail")
_STYLE_WORDS = _words("style styles styled artstyle aesthetic art")
_ART = _words("art artwork illustration illustrated drawing drawn painting painted designed sketch manga comic")
_WEARING = _words("wearing wears wear wore in with dressed sporting")
_STYLE_LABELS = _words("style styles artstyle aesthetic slider sliders tool tools quality enhancer effect lighting lcm")
_CLOTHES_LABELS = _words("clothing clothes outfit outfits costume garment fashion")
_SUBJECT_LABELS = _words("character celebrity person woman man girl boy animal creature object vehicle")


def settle_roles(text: PromptText, evidence: Iterable[LoraEvidence]) -> tuple[LoraEvidence, ...]:
    """``evidence`` where a LoRA of which nobody said anything is a style if something tells so."""
    settled: list[LoraEvidence] = []
    for lora in evidence:
        why = why_style(text, lora) if lora.intent.open else None
        settled.append(lora if why is None else lora.as_style(why))
    return tuple(settled)


def why_style(text: PromptText, evidence: LoraEvidence) -> str | None:
    """What tells that a LoRA of which nobody said anything draws no subject; ``None`` where nothing does."""
    intent = evidence.intent
    if intent.unet <= 0 and intent.te <= 0:
        return f"at weight {intent.unet:g}"
    labels = _read_labels(intent.facts.labels)
    if labels & _STYLE_LABELS and not labels & _SUBJECT_LABELS:
        return "by its metadata"
    spans = [match.core for match in evidence.triggers.matches]
    if any(_says_style(text, span) for span in spans or _find_name(text, evidence)):
        return "by the prompt"
    if not spans and any(_ends_as_style(trigger) for trigger in intent.facts.triggers):
        return "by its activation text"
    if any(is_class(text.keys[span[-1]]) for span in spans):
        return None
    is_effect = bool(_list_parts(evidence) & _STYLE_NAMES) if spans else _is_effect(text, evidence)
    return "by its name" if is_effect else None


def _ends_as_style(trigger: str) -> bool:
    """Whether the first part of an activation text ends in “style”."""
    words = split_words(trigger.split(",", maxsplit=1)[0])
    return bool(words) and words[-1].casefold() in _STYLE_WORDS


def is_clothes(text: PromptText, evidence: LoraEvidence) -> bool:
    """Whether a LoRA draws what somebody wears: by its metadata, its activation text, or its name and the prompt."""
    if _read_labels(evidence.intent.facts.labels) & _CLOTHES_LABELS:
        return True
    matches = evidence.triggers.matches
    if matches:
        return any(text.keys[match.core[-1]] in GARMENTS for match in matches)
    return any(text.keys[span[-1]] in GARMENTS and is_worn(text, span[0]) for span in evidence.nouns_by_name)


def is_worn(text: PromptText, garment: int) -> bool:
    """Whether a word of wearing begins or leads to the phrase of word ``garment``: “wearing a red dress”."""
    first = text.phrase_at(garment).first
    leads = first > 0 and text.words[first - 1].after == "soft"
    before = text.keys[first - 1 if leads else first : garment]
    return not _WEARING.isdisjoint(before)


def _read_labels(labels: Iterable[str]) -> frozenset[str]:
    joined = " ".join(labels).casefold()
    return frozenset(re.findall(r"[^\W\d_]+", joined))


def _find_name(text: PromptText, evidence: LoraEvidence) -> list[WordSpan]:
    """Where the LoRA's own name stands in the prompt."""
    facts = evidence.intent.facts
    found: list[WordSpan] = []
    for name in (facts.name, *facts.aliases):
        words = split_words(name)
        found += text.find(words) if words else ()
    return found


def _says_style(text: PromptText, span: WordSpan) -> bool:
    """Whether the prompt uses the words as those of a style: “zorv style”, “in the style of zorv”, “art by zorv”."""
    keys = text.keys
    last = keys[span[-1]]
    if last in _STYLE_WORDS or last in vocabulary.FRAMING or last in vocabulary.QUALITY or keys[span[0]] == "by":
        return True
    if is_class(last):
        return False
    following = span[-1] + 1
    if following < len(keys) and text.words[span[-1]].after == "soft" and keys[following] in _STYLE_WORDS:
        return True
    before = keys[max(span[0] - 2, 0) : span[0]]
    if before[-1:] == ("by",):
        return before[0] in _ART or before == ("by",) or text.words[span[0] - 2].after != "soft"
    return before in (("style", "of"), ("art", "of"))


def _list_parts(evidence: LoraEvidence) -> frozenset[str]:
    """The words in the LoRA's names."""
    facts = evidence.intent.facts
    parts: set[str] = set()
    for name in (facts.name, *facts.aliases):
        parts.update(list_name_parts(name))
    return frozenset(parts)


def _is_effect(text: PromptText, evidence: LoraEvidence) -> bool:
    """Whether the file's name tells of an effect."""
    parts = _list_parts(evidence)
    letters = "".join(re.findall(r"[^\W\d_]+", evidence.intent.name.casefold()))
    if parts & _EFFECTS or any(name in letters for name in _NAMES):
        return True
    if parts & PARTS and parts & _MENDS:
        return True
    named = [span for span in evidence.nouns_by_name if text.keys[span[-1]] not in _SPEED]
    return bool(parts & _SPEED) and not named
