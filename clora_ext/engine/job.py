"""From a bound prompt to texts, LoRAs per branch and token plans; both hosts do the same with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clora_ext.core.concepts import Columns, Concept, Plan
from clora_ext.prompt import BoundPrompt, Span, Style, Subject
from clora_ext.settings import Settings


@dataclass(frozen=True, slots=True)
class Wear:
    """One LoRA at one strength: multipliers for text encoder and UNet, and LyCORIS' dynamic rank."""

    name: str
    te: float
    unet: float
    dyn: int | None = None

    @property
    def key(self) -> str:
        """Unique among the LoRAs of a job."""
        return f"{self.name}@{self.unet:g}"


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt's composition.

    ``texts[b]`` is the text of branch b, encoded with the text-encoder parts of ``encoded[b]``; the UNet wears
    ``worn[b]``. Style LoRAs that belong to the whole picture are in ``everywhere`` and not in the branches where both
    halves of guidance wear them alike: a host adds them to all rows in the way that is cheapest for it.
    """

    texts: Mapping[int, str]
    encoded: Mapping[int, tuple[Wear, ...]]
    worn: Mapping[int, tuple[Wear, ...]]
    everywhere: tuple[Wear, ...]


def composes(bound: BoundPrompt, settings: Settings) -> bool:
    """Whether there is anything to compose.

    One LoRA alone is what the host draws by itself, with the mask everywhere; ``authors`` masks it all the same. A
    style on one subject always needs the masks. ``merge`` is the host's own image by definition.
    """
    if settings.method == "merge" or not bound.subjects:
        return False
    restricted = any(style.on is not None for style in bound.styles)
    return len(bound.subjects) > 1 or (settings.masked and (restricted or settings.profile == "authors"))


def job(bound: BoundPrompt, full: str, settings: Settings) -> Job:
    """Texts and LoRAs of every branch for the method of ``settings``; ``full`` is the prompt without its tags."""
    everywhere = tuple(_wear(style) for style in bound.styles if style.on is None)
    own = []
    for index, subject in enumerate(bound.subjects):
        styles = tuple(_wear(style) for style in bound.styles if style.on == index)
        styled = settings.masked and (styles or everywhere)
        own.append((_wear(subject, settings["beside_style"] if styled else 1.0), *styles))
    worn = {0: (), **{index + 1: wears for index, wears in enumerate(own)}}
    every = tuple(wear for wears in own for wear in wears)
    match settings.method:
        case "clora" | "masks":
            texts = {0: bound.base, **{index + 1: text for index, text in enumerate(bound.branches)}}
            if settings["emphasis"] > 1.0:  # no host lets the halves of guidance wear them differently
                worn, everywhere = {branch: (*everywhere, *wears) for branch, wears in worn.items()}, ()
            encoded = worn if settings["text_encoder"] else dict.fromkeys(worn, ())
        case "composite":  # one embedding for all, with every LoRA in the text encoder
            texts, encoded = dict.fromkeys(worn, full), dict.fromkeys(worn, every)
        case "switch":  # encoded once, with the LoRA that comes first
            texts, encoded = dict.fromkeys(worn, full), dict.fromkeys(worn, own[0])
        case _:  # one subject alone has its trigger, put in if it was asked for
            alone = bound.branches[0] if len(bound.subjects) == 1 else full
            texts, encoded, worn = {0: alone}, {0: every}, {0: every}
    return Job(texts, encoded, worn, everywhere)


def _wear(part: Subject | Style, share: float = 1.0) -> Wear:
    return Wear(part.lora, part.te, part.unet * share, part.dyn)


def plan(bound: BoundPrompt, locate: Callable[[int, tuple[Span, ...]], Columns]) -> Plan:
    """Token columns of every concept in every branch; ``locate`` turns a branch's characters into columns."""
    return Plan(
        tuple(
            Concept(
                name=subject.words,
                subject=tuple(locate(branch, places[index].subject) for branch, places in enumerate(bound.places)),
                trigger=locate(index + 1, found) if (found := bound.places[index + 1][index].trigger) else (),
            )
            for index, subject in enumerate(bound.subjects)
        )
    )
