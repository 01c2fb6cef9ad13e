"""From a bound prompt to the texts and LoRAs of every branch, and to the token columns of every concept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clora_ext.batch.plan import Columns, Concept, TokenPlan
from clora_ext.prompt import BoundPrompt, Span, Style, Subject
from clora_ext.settings.knobs import Settings


@dataclass(frozen=True, slots=True)
class ActiveLora:
    """One LoRA at one strength: multipliers for text encoders and UNet, and LyCORIS' dynamic rank."""

    name: str
    te: float
    unet: float
    dyn: int | None = None

    @property
    def key(self) -> str:
        """The same for all that change the UNet alike: branches that share one need its factors once."""
        rank = "" if self.dyn is None else f":{self.dyn}"
        return f"{self.name}@{self.unet:g}{rank}"


LorasByBranch = Mapping[int, tuple[ActiveLora, ...]]


@dataclass(frozen=True, slots=True)
class Branches:
    """One prompt's branches, base (0) first.

    ``texts[b]`` is the text of branch b, encoded with the text-encoder parts of ``text_loras[b]``; ``unet_loras[b]``
    are active in the UNet. Style LoRAs of the whole picture are in ``everywhere``, and not in the branches, where both
    halves of guidance have them alike: a host adds them to all rows in the way that is cheapest for it.
    """

    texts: Mapping[int, str]
    text_loras: LorasByBranch
    unet_loras: LorasByBranch
    everywhere: tuple[ActiveLora, ...]

    def with_everywhere(self) -> "Branches":
        """The same with the LoRAs of the whole picture in every branch."""
        text_loras = {branch: (*self.everywhere, *loras) for branch, loras in self.text_loras.items()}
        unet_loras = {branch: (*self.everywhere, *loras) for branch, loras in self.unet_loras.items()}
        return Branches(self.texts, text_loras, unet_loras, ())

    @property
    def all_unet_loras(self) -> tuple[ActiveLora, ...]:
        """Every LoRA that is active in the UNet of some branch, once."""
        found: dict[ActiveLora, None] = {}
        for loras in self.unet_loras.values():
            found |= dict.fromkeys(loras)
        return tuple(found)


def composes(bound: BoundPrompt, settings: Settings) -> bool:
    """Whether there is anything to compose.

    A single LoRA is what the host draws by itself, with the mask everywhere; ``authors`` masks it all the same. A style
    on one subject always needs the masks, and so does a subject with a mask of somebody's own. ``merge`` is the host's
    own image by definition.
    """
    if settings.method == "merge" or not bound.subjects:
        return False
    restricted = any(style.on is not None for style in bound.styles)
    masked = any(subject.mask is not None for subject in bound.subjects)
    masks_one = settings.masked and (restricted or masked or settings.profile == "authors")
    return len(bound.subjects) > 1 or masks_one


def why_plain(bound: BoundPrompt) -> str:
    """Why there is nothing to compose in a prompt that was to be composed: the end of a sentence."""
    if bound.subjects:
        return "one LoRA alone needs no masks"
    if bound.styles:
        return "no LoRA has a subject of its own"
    return "there is no LoRA in the prompt"


def branches_of(bound: BoundPrompt, whole: str, settings: Settings) -> Branches:
    """Texts and LoRAs of every branch for the method of ``settings``; ``whole`` is the prompt without its tags."""
    everywhere = tuple(_active(style) for style in bound.styles if style.on is None)
    own = _own_loras(bound, settings, styled=bool(everywhere))
    every = _union(bound, own)
    match settings.method:
        case "clora" | "masks":
            return _by_branch(bound, settings, own, everywhere)
        case "composite":  # one embedding for all, with every LoRA in the text encoder
            return _alike(whole, own, every, everywhere)
        case "switch":  # encoded once, with the LoRA that comes first
            return _alike(whole, own, own[1], everywhere)
        case "merge":  # a single subject has its trigger, put in if it was asked for
            text = bound.branches[0] if len(bound.subjects) == 1 else whole
            return Branches({0: text}, {0: every}, {0: every}, everywhere)


def _own_loras(bound: BoundPrompt, settings: Settings, *, styled: bool) -> dict[int, tuple[ActiveLora, ...]]:
    """The LoRAs of every branch: the base's none, a subject's its own and those of the styles on it."""
    own: dict[int, tuple[ActiveLora, ...]] = {0: ()}
    for index, subject in enumerate(bound.subjects):
        styles = tuple(_active(style) for style in bound.styles if style.on == index)
        beside_style = settings.masked and (styled or bool(styles))
        share = settings.beside_style if beside_style else 1.0
        own[index + 1] = (_active(subject, share), *styles)
    return own


def _by_branch(
    bound: BoundPrompt, settings: Settings, own: LorasByBranch, everywhere: tuple[ActiveLora, ...]
) -> Branches:
    """A text of its own for every branch."""
    texts = dict(enumerate(bound.texts))
    if settings.emphasis > 1.0:  # no host lets the halves of guidance have styles differently
        own, everywhere = {branch: (*everywhere, *loras) for branch, loras in own.items()}, ()
    text_loras = own if settings.text_encoder else dict.fromkeys(own, ())
    return Branches(texts, text_loras, own, everywhere)


def _alike(
    text: str, own: LorasByBranch, text_loras: tuple[ActiveLora, ...], everywhere: tuple[ActiveLora, ...]
) -> Branches:
    """The same text, encoded with the same LoRAs, for every branch."""
    return Branches(dict.fromkeys(own, text), dict.fromkeys(own, text_loras), own, everywhere)


def _union(bound: BoundPrompt, own: LorasByBranch) -> tuple[ActiveLora, ...]:
    """The LoRAs of all branches; one that several subjects share by one tag is there once."""
    found: list[ActiveLora] = []
    for index, subject in enumerate(bound.subjects):
        loras = own[index + 1]
        found.extend(loras if subject.leads else loras[1:])
    return tuple(found)


def _active(part: Subject | Style, share: float = 1.0) -> ActiveLora:
    return ActiveLora(part.lora, part.te, part.unet * share, part.dyn)


def token_plan(bound: BoundPrompt, locate: Callable[[int, tuple[Span, ...]], Columns]) -> TokenPlan:
    """Token columns of every concept in every branch; ``locate`` turns characters of a branch's text into columns."""
    concepts: list[Concept] = []
    for index, subject in enumerate(bound.subjects):
        columns = [locate(branch, places[index].subject) for branch, places in enumerate(bound.places)]
        trigger = bound.places[index + 1][index].trigger
        own = locate(index + 1, trigger) if trigger else ()
        concepts.append(Concept(subject.words, tuple(columns), own))
    return TokenPlan(tuple(concepts))
