"""Every knob once: name, type, default, kind, words for people. UI, API, infotext and plot are loops over ``KNOBS``.

``Settings`` is the table and what a job reads; add a field to it and every surface has the knob.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

from clora_ext.errors import SettingsError, shown
from clora_ext.settings.kinds import Choice, Flag, Kind, Number, NumberList, UnfitValueError, WholeNumber, WordList

T = TypeVar("T")
Method = Literal["clora", "masks", "merge", "composite", "switch"]
MASKED: tuple[Method, ...] = ("clora", "masks")
"""The methods that read cross-attention maps."""
CountBy = Literal["noise", "step", "step50"]
ComposeBy = Literal["branches", "row"]
Decay = Literal["constant", "sqrt"]
Halves = Literal["cond", "both"]
MapLevel = Literal["auto", "quarter"]
WordMaps = Literal["mean", "each"]
MaskTokens = Literal["subject", "both"]
Overlap = Literal["average", "strongest", "soft"]
Uncond = Literal["routed", "branches", "shared"]
MORPHOLOGY = ("dilate", "erode", "open", "close")
"""3x3 operations on masks (``core.masks.OPERATIONS``)."""
POSITION = Number(0.0, 1000.0)
"""A place in the run, in the unit of ``count_by``."""


@dataclass(frozen=True, slots=True)
class Knob:
    """One value that a user can set."""

    name: str
    label: str
    help: str
    default: Any
    kind: Kind

    def parse(self, value: Any) -> Any:
        """``value`` as this knob's type. Raises ``SettingsError`` naming the knob and what it takes."""
        try:
            return self.kind.parse(value)
        except UnfitValueError as unfit:
            msg = f"“{self.name}” is {shown(value)}; it must be {unfit}."
            raise SettingsError(msg, field=self.name) from None

    def schema(self) -> dict[str, Any]:
        """JSON schema of the value."""
        words = {"title": self.label, "description": self.help, "default": self.kind.plain(self.default)}
        return self.kind.schema() | words


def knob(default: T, kind: Kind, label: str, words: str) -> T:
    """A field of ``Settings`` that users can set; ``words`` is the help that the panel and the schema show."""
    return field(default=default, metadata={"kind": kind, "label": label, "help": words})


@dataclass(frozen=True)
class Settings:
    """A profile, a method and the values of all knobs.

    Build it with ``profiles.build_settings``, which checks every value.
    """

    profile: str = "balanced"
    method: Method = "clora"
    count_by: CountBy = knob(
        "noise", Choice(get_args(CountBy)), "Count steps by",
        "The unit of the positions below. noise: percent of the noise schedule that is behind; step: steps done; "
        "step50: steps done, as if there were 50.",
    )  # fmt: skip
    compose_by: ComposeBy = knob(
        "branches", Choice(get_args(ComposeBy)), "Compose by",
        "branches: one row per LoRA until the masks are locked; row: a single row, which finds the masks and applies "
        "each LoRA inside its own mask.",
    )  # fmt: skip
    route: bool = knob(
        default=True, kind=Flag(), label="Route when locked",
        words="Once the masks are locked, draw by a single row that applies each LoRA inside its own mask.",
    )  # fmt: skip
    update_until: float = knob(
        40.0, POSITION, "Update until",
        "The latent is updated before this position (percent of the noise schedule).",
    )  # fmt: skip
    rounds_at: tuple[float, ...] = knob(
        (), NumberList(), "Extra rounds at",
        "Positions (percent of the noise schedule) at which the latent is updated several times.",
    )  # fmt: skip
    rounds: int = knob(
        20, WholeNumber(0, 100), "Extra rounds", "How many more updates at each of those positions.",
    )  # fmt: skip
    step_size: float = knob(
        12.0, Number(0.0, 200.0), "Step size (alpha)", "How far an update moves the latent along its gradient.",
    )  # fmt: skip
    step_decay: Decay = knob(
        "sqrt", Choice(get_args(Decay)), "Step size decay",
        "constant, or sqrt: falling to 0.71 of the step size at the last step.",
    )  # fmt: skip
    step_clip: float = knob(
        0.15, Number(0.0, 10.0), "Step bound",
        "Largest root mean square of one update, in latent units; 0 for no bound.",
    )  # fmt: skip
    temperature: float = knob(
        0.5, Number(0.01, 5.0), "Temperature (tau)", "InfoNCE temperature: lower contrasts harder.",
    )  # fmt: skip
    presence: float = knob(
        0.0, Number(0.0, 10.0), "Presence",
        "How hard an update brings back a subject that is weak or swallowed by another; 0 for contrast only.",
    )  # fmt: skip
    maps_from: Halves = knob(
        "cond", Choice(get_args(Halves)), "Maps from",
        "Read cross-attention in the conditional half, or average both halves of guidance.",
    )  # fmt: skip
    map_level: MapLevel = knob(
        "auto", Choice(get_args(MapLevel)), "Map level",
        "auto: the coarsest level with a short side of at least 12 cells; quarter: a quarter of the latent's size.",
    )  # fmt: skip
    word_maps: WordMaps = knob(
        "mean", Choice(get_args(WordMaps)), "Words of several tokens",
        "In the loss, average a word's tokens (mean) or count each as a map of its own (each).",
    )  # fmt: skip
    mask_threshold: float = knob(
        0.35, Number(0.0, 1.0), "Mask threshold (lambda)",
        "A pixel belongs to a subject where a token's map is above this share of its peak. Higher: smaller masks.",
    )  # fmt: skip
    mask_tokens: MaskTokens = knob(
        "subject", Choice(get_args(MaskTokens)), "Mask from",
        "The subject's words, or the trigger's as well (both).",
    )  # fmt: skip
    lock_at: float = knob(
        40.0, POSITION, "Lock masks at",
        "The masks are locked, as the mean of their last three, at this position (percent of the noise schedule) at "
        "the latest; 0 for never by position.",
    )  # fmt: skip
    lock_steady: float = knob(
        0.02, Number(0.0, 1.0), "Lock steady masks",
        "Lock the masks as soon as less than this share of the picture changed hands in each of the last two steps; "
        "0 for never.",
    )  # fmt: skip
    lock_after: float = knob(
        20.0, POSITION, "Lock not before",
        "Steady masks are not locked before this position (percent of the noise schedule).",
    )  # fmt: skip
    morphology: tuple[str, ...] = knob(
        (), WordList(MORPHOLOGY), "Mask morphology",
        "3x3 operations on the masks, in this order: dilate, erode, open, close.",
    )  # fmt: skip
    hires_updates: bool = knob(
        default=False, kind=Flag(), label="Update in hires. fix",
        words="Find masks and update the latent anew in the second pass, instead of keeping the first pass's masks.",
    )  # fmt: skip
    overlap: Overlap = knob(
        "strongest", Choice(get_args(Overlap)), "Where masks overlap",
        "average: share equally; strongest: give the pixel to the strongest map; soft: share by strength.",
    )  # fmt: skip
    uncond: Uncond = knob(
        "routed", Choice(get_args(Uncond)), "Unconditional",
        "branches: one row per LoRA, fused by the masks; routed: one that applies each LoRA inside its mask; shared: "
        "one without any LoRA.",
    )  # fmt: skip
    emphasis: float = knob(
        2.0, Number(1.0, 30.0), "LoRA emphasis",
        "How many times guidance counts a LoRA. 1: as WebUI does, whose unconditional half has it in full; more: that "
        "half has less of it, which makes a subject clearer than more weight does.",
    )  # fmt: skip
    beside_style: float = knob(
        0.25, Number(0.0, 1.0), "Subject beside a style",
        "How much of its weight a subject's LoRA keeps where a style is active on the same pixels: two LoRAs in full "
        "break each other there.",
    )  # fmt: skip
    text_encoder: bool = knob(
        default=True, kind=Flag(), label="LoRAs' text encoders",
        words="Apply the text-encoder part of a LoRA to its own branch's texts, where it has one.",
    )  # fmt: skip
    memory: float = knob(
        1.0, Number(0.0, 1000.0), "Extra memory (GiB)",
        "What composing may take beyond a plain picture's peak: rows are then predicted, and differentiated, a few at "
        "a time; 0 for as much as is free.",
    )  # fmt: skip
    switch_every: int = knob(
        5, WholeNumber(1, 100), "Switch every", "Steps that each LoRA is active for in the method switch.",
    )  # fmt: skip

    @property
    def masked(self) -> bool:
        """Whether the method reads cross-attention maps."""
        return self.method in MASKED

    @property
    def routes(self) -> bool:
        """Whether there may be rows whose pixels have different LoRAs."""
        routed = self.route or self.compose_by == "row" or self.uncond == "routed"
        return self.masked and routed


KNOBS: tuple[Knob, ...] = tuple(
    Knob(known.name, known.metadata["label"], known.metadata["help"], known.default, known.metadata["kind"])
    for known in fields(Settings)
    if "kind" in known.metadata
)
KNOB: Mapping[str, Knob] = {known.name: known for known in KNOBS}


def find_knob(name: str) -> Knob:
    """The knob of a name. Raises ``SettingsError`` naming those that there are."""
    if name not in KNOB:
        raise SettingsError(f"There is no setting “{name}”; known are {', '.join(KNOB)}.", field=name)
    return KNOB[name]


def values_of(settings: Settings) -> dict[str, Any]:
    """The value of every knob, by name."""
    return {name: getattr(settings, name) for name in KNOB}


def plain_values(settings: Settings) -> dict[str, Any]:
    """The value of every knob as JSON has it, by name."""
    return {name: known.kind.plain(getattr(settings, name)) for name, known in KNOB.items()}
