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
GradientUntil = Literal["up", "middle", "down"]
WordMaps = Literal["mean", "each"]
MaskTokens = Literal["subject", "both"]
Overlap = Literal["average", "strongest", "soft"]
Uncond = Literal["routed", "joined", "branches", "shared"]
MORPHOLOGY = ("dilate", "erode", "open", "close")
"""3x3 operations on masks (``core.masks.OPERATIONS``)."""
POSITION = Number(0.0, 1000.0)
"""A place in the run, in the unit of ``count_by``."""


@dataclass(frozen=True, slots=True)
class Knob:
    """One value that a user can set."""

    name: str
    term: str
    """What the field calls it: in tooltips and on the axes of plots, which pictures name."""
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
        words = {"title": self.label, "description": self.help, "$comment": self.term}
        return self.kind.schema() | words | {"default": self.kind.plain(self.default)}


def knob(default: T, kind: Kind, term: str, label: str, words: str) -> T:
    """A field of ``Settings`` that users can set; ``words`` is the help that the panel and the schema show."""
    return field(default=default, metadata={"kind": kind, "term": term, "label": label, "help": words})


@dataclass(frozen=True)
class Settings:
    """A profile, a method and the values of all knobs.

    Build it with ``profiles.build_settings``, which checks every value.
    """

    profile: str = "balanced"
    method: Method = "clora"
    count_by: CountBy = knob(
        "noise", Choice(get_args(CountBy)), "Count steps by", "Count in",
        "What the fields with … % count in. noise: percent of the noise that is gone; step: steps; step50: steps, as "
        "if there were 50.",
    )  # fmt: skip
    compose_by: ComposeBy = knob(
        "branches", Choice(get_args(ComposeBy)), "Compose by", "Draw by",
        "branches: every LoRA draws a picture of its own until the masks are frozen; row: all LoRAs draw one "
        "picture, each inside its own mask. Faster.",
    )  # fmt: skip
    route: bool = knob(
        default=True, kind=Flag(), term="Route when locked", label="One picture once frozen",
        words="Once the masks are frozen, all LoRAs draw one picture, each inside its own mask. Faster.",
    )  # fmt: skip
    update_until: float = knob(
        40.0, POSITION, "Update until", "Push subjects apart during the first … %",
        "Higher: better separation, slower. 0: never. Steps with authors and paper.",
    )  # fmt: skip
    rounds_at: tuple[float, ...] = knob(
        (), NumberList(), "Extra rounds at", "Extra pushes at … %",
        "Places, such as 0, 10, 20, at which subjects are pushed apart several times; empty for none.",
    )  # fmt: skip
    rounds: int = knob(
        20, WholeNumber(0, 100), "Extra rounds", "Extra pushes", "How many more pushes at each of those places.",
    )  # fmt: skip
    step_size: float = knob(
        12.0, Number(0.0, 200.0), "Step size (alpha)", "How hard to push",
        "Higher: better separation. Too high: a torn picture.",
    )  # fmt: skip
    step_decay: Decay = knob(
        "sqrt", Choice(get_args(Decay)), "Step size decay", "Push over time",
        "constant: as hard at every step; sqrt: less and less, down to 71 % at the last step.",
    )  # fmt: skip
    step_clip: float = knob(
        0.15, Number(0.0, 10.0), "Step bound", "Hardest push",
        "No push changes the picture by more than this; 1 is as much as all its noise, 0 no limit.",
    )  # fmt: skip
    temperature: float = knob(
        0.5, Number(0.01, 5.0), "Temperature (tau)", "Contrast of a push",
        "Lower: pushes care most about where subjects mix.",
    )  # fmt: skip
    presence: float = knob(
        0.0, Number(0.0, 10.0), "Presence", "Bring back weak subjects",
        "How hard a push brings back a subject that is weak or swallowed by another; 0: not at all.",
    )  # fmt: skip
    maps_from: Halves = knob(
        "cond", Choice(get_args(Halves)), "Maps from", "Read attention from",
        "cond: the half of guidance with the prompt; both: the mean with the half of the negative prompt.",
    )  # fmt: skip
    map_level: MapLevel = knob(
        "auto", Choice(get_args(MapLevel)), "Map level", "Detail of the masks",
        "auto: at least 12 cells along the picture's short side; quarter: a cell for every 32 pixels.",
    )  # fmt: skip
    word_maps: WordMaps = knob(
        "mean", Choice(get_args(WordMaps)), "Words of several tokens", "Words of several tokens",
        "mean: a word counts once, however many tokens it has; each: every token counts.",
    )  # fmt: skip
    gradient_until: GradientUntil = knob(
        "up", Choice(get_args(GradientUntil)), "Gradient until", "Push through",
        "The part of the model that a push looks through: up is all of it; middle and down are its first part, cheaper "
        "and a little worse, SDXL above all. Masks are read from all of it.",
    )  # fmt: skip
    mask_threshold: float = knob(
        0.35, Number(0.0, 1.0), "Mask threshold (lambda)", "Mask threshold",
        "Higher: smaller masks. Lower it where masks are in pieces.",
    )  # fmt: skip
    mask_tokens: MaskTokens = knob(
        "subject", Choice(get_args(MaskTokens)), "Mask from", "Masks come from",
        "subject: the words that a LoRA draws; both: its trigger words as well.",
    )  # fmt: skip
    lock_at: float = knob(
        40.0, POSITION, "Lock masks at", "Freeze the masks after … %",
        "At the latest; lower: faster. 0: not because of this. Steps with authors and paper.",
    )  # fmt: skip
    lock_steady: float = knob(
        0.02, Number(0.0, 1.0), "Lock steady masks", "Freeze steady masks",
        "Freeze earlier, once less than this share of the picture changes hands in each of two steps: 0.02 is 2 %, 0 "
        "never.",
    )  # fmt: skip
    lock_after: float = knob(
        20.0, POSITION, "Lock not before", "Freeze not before … %", "Steady masks are not frozen before this.",
    )  # fmt: skip
    morphology: tuple[str, ...] = knob(
        (), WordList(MORPHOLOGY), "Mask morphology", "Tidy the masks",
        "In this order, with commas: dilate (grow), erode (shrink), open (drop specks), close (fill holes).",
    )  # fmt: skip
    hires_updates: bool = knob(
        default=False, kind=Flag(), term="Update in hires. fix", label="Push in hires. fix too",
        words="Find masks and push subjects apart anew in the second pass. Slower.",
    )  # fmt: skip
    overlap: Overlap = knob(
        "strongest", Choice(get_args(Overlap)), "Where masks overlap", "Where masks overlap",
        "strongest: the LoRA with most attention draws; average: all share equally; soft: all share by attention.",
    )  # fmt: skip
    uncond: Uncond = knob(
        "routed", Choice(get_args(Uncond)), "Unconditional", "Half of the negative prompt",
        "routed: drawn once, with each LoRA inside its mask; joined: the same, in one call with a push, faster where "
        "a fast GPU waits for Python; branches: once for each LoRA; shared: without any LoRA.",
    )  # fmt: skip
    emphasis: float = knob(
        2.0, Number(1.0, 30.0), "LoRA emphasis", "LoRA emphasis",
        "Higher: subjects come out clearer, and more so than by weight. 1: as WebUI does it.",
    )  # fmt: skip
    beside_style: float = knob(
        0.25, Number(0.0, 1.0), "Subject beside a style", "Subject beside a style",
        "How much of its weight a subject's LoRA keeps where a style draws too: 0.25 is 25 %.",
    )  # fmt: skip
    text_encoder: bool = knob(
        default=True, kind=Flag(), term="LoRAs' text encoders", label="LoRAs' text encoders",
        words="A LoRA also changes how the words of its own subject are read, if it was trained to.",
    )  # fmt: skip
    memory: float = knob(
        1.0, Number(0.0, 1000.0), "Extra memory (GiB)", "Extra memory (GiB)",
        "What CLoRA may take beyond a plain picture's memory. Lower: slower. 0: all that is free.",
    )  # fmt: skip
    memory_share: float = knob(
        0.5, Number(0.0, 1.0), "Share of free memory", "Share of free memory",
        "Where this share of the GPU's free memory is more than Extra memory, CLoRA may take it: 0.5 is half. 0: "
        "never.",
    )  # fmt: skip
    switch_every: int = knob(
        5, WholeNumber(1, 100), "Switch every", "Switch every … steps", "With the method switch: when the next LoRA "
        "has its turn.",
    )  # fmt: skip

    @property
    def masked(self) -> bool:
        """Whether the method reads cross-attention maps."""
        return self.method in MASKED

    @property
    def routes(self) -> bool:
        """Whether there may be rows whose pixels have different LoRAs."""
        routed = self.route or self.compose_by == "row" or self.uncond in ("routed", "joined")
        return self.masked and routed


KNOBS: tuple[Knob, ...] = tuple(
    Knob(known.name, default=known.default, **known.metadata) for known in fields(Settings) if known.metadata
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
