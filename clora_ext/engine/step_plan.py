"""What a step does, decided before it: a pure function of the settings, the sampling point and the state of the masks.

The step executes the plan (``engine.step``) and the forecast adds plans up (``engine.estimate``).

```
K = 2, one image       before the lock (balanced)                 after it, or from the first masks on (fast)
updates                gradient rows 0 1 2                        none (fast: the routed row)
rows that are fused    cond 0 1 2         uncond 0 routed         cond 0 routed      uncond 0 routed
kept                   cond 0 1 2, by the last gradient pass      none
rows to predict                           uncond 0 routed         cond 0 routed      uncond 0 routed
```

Where the unconditional row is to be ``joined``, the last gradient pass of a step that has masks before it predicts it
too, and it is kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from clora_ext.batch.rows import Half, Row
from clora_ext.core.schedule import SamplingPoint, count_updates, position_of
from clora_ext.settings.knobs import Settings


@dataclass(frozen=True, slots=True)
class MaskState:
    """What is known of one image's masks before a step."""

    found: bool = False
    locked: bool = False
    outside: bool = False
    """Whether a concept is outside of the part of the picture that is drawn: what is in it stays where it is."""


class Lock(Enum):
    """Whether a step may lock masks that are not locked yet."""

    NO = "no"
    IF_STEADY = "if steady"
    IF_AVERAGED = "as soon as there are enough to average"
    NOW = "now"


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """What a step does for one image."""

    updates: int
    """Gradient passes, each of which moves the latent once."""
    gradient_rows: tuple[Row, ...]
    """The rows whose maps a gradient pass compares."""
    cond: tuple[Row, ...]
    """The rows whose predictions become the conditional one, by branch; a routed row stands for all branches."""
    uncond: tuple[Row, ...]
    joined: tuple[Row, ...]
    """Unconditional rows that the last gradient pass takes along: it predicts them and compares no map of theirs."""
    kept: frozenset[Row]
    """Those that the last gradient pass predicts on its way."""
    reads_masks: bool
    """Whether the masks are read from the rows that are predicted."""

    @property
    def routed(self) -> bool:
        """Whether one routed row draws the conditional half."""
        return any(row.routed for row in self.cond)

    def rows(self, half: Half) -> tuple[Row, ...]:
        """The rows that are fused in one half of guidance."""
        return self.cond if half is Half.COND else self.uncond


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What a step does for a batch of images."""

    position: float
    """Of the step, on the scale of the settings."""
    images: tuple[ImagePlan, ...]
    lock: Lock

    @property
    def updates(self) -> int:
        """Gradient passes of the step; images that are not updated take no part in them."""
        return max(image.updates for image in self.images)

    @property
    def gradient_rows(self) -> tuple[Row, ...]:
        """Of all images; conditional ones first, and a LoRA's rows together."""
        rows = _concatenated(image.gradient_rows for image in self.images if image.updates)
        return tuple(sorted(rows, key=lambda row: (row.half, row.branch)))

    @property
    def joined_rows(self) -> tuple[Row, ...]:
        """Of all images, those that the last gradient pass takes along."""
        return tuple(_concatenated(image.joined for image in self.images))

    @property
    def host_branch(self) -> int:
        """The branch that the host's own rows stand for."""
        return self.images[0].cond[0].branch

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows that are fused: the host's own conditional rows, ours, the host's own unconditional rows."""
        return self._rows(Half.COND, own=True) + self.injected_rows + self._rows(Half.UNCOND, own=True)

    @property
    def injected_rows(self) -> tuple[Row, ...]:
        """The rows that the host does not have by itself."""
        return self._rows(Half.COND, own=False) + self._rows(Half.UNCOND, own=False)

    @property
    def predicted_rows(self) -> tuple[Row, ...]:
        """The rows that have to be predicted, in the order of ``rows``: those that no gradient pass has kept."""
        kept = self.kept
        return tuple(row for row in self.rows if row not in kept)

    @property
    def kept(self) -> frozenset[Row]:
        """The rows that the last gradient pass predicts on its way."""
        return frozenset(_concatenated(image.kept for image in self.images))

    @property
    def only_routes(self) -> bool:
        """Whether routed rows draw all, and nothing is looked for: late steps are alike."""
        looks = any(image.updates or image.reads_masks for image in self.images)
        return not looks and all(row.routed for row in self.rows)

    @property
    def needs_regions(self) -> bool:
        """Whether a row is drawn by region."""
        return any(row.routed for row in self.rows)

    def _rows(self, half: Half, *, own: bool) -> tuple[Row, ...]:
        rows = _concatenated(image.rows(half) for image in self.images)
        chosen = [row for row in rows if (row.branch == self.host_branch) is own]
        return tuple(sorted(chosen, key=lambda row: row.branch))


def _concatenated(parts: Iterator[Sequence[Row] | frozenset[Row]]) -> list[Row]:
    rows: list[Row] = []
    for part in parts:
        rows.extend(part)
    return rows


def plan_step(
    settings: Settings,
    branches: Sequence[int],
    point: SamplingPoint,
    before: Sequence[float],
    states: Sequence[MaskState],
) -> StepPlan:
    """The plan of the step at ``point`` for one image per state.

    ``branches`` are those that there are, base (0) first; ``before`` are the first and the highest position of the
    steps so far, none at the first. At a trial call of the model nothing is updated, and masks that there are stay as
    they are.
    """
    position = position_of(point, settings.count_by)
    updates = 0
    if settings.method == "clora" and len(branches) > 2 and not point.trial:
        highest = before[-1] if before else None
        updates = count_updates(position, highest, settings.update_until, settings.rounds_at, settings.rounds)
    images = [_plan_image(settings, branches, image, point, updates, state) for image, state in enumerate(states)]
    lock = Lock.NO if point.trial else _lock(settings, position, before[0] if before else position)
    return StepPlan(position, tuple(images), lock)


def _lock(settings: Settings, position: float, began: float) -> Lock:
    """A run that ``began`` behind the position of the lock (img2img) has masks of its first steps only."""
    if 0.0 < settings.lock_at <= position:
        return Lock.NOW if began < settings.lock_at else Lock.IF_AVERAGED
    return Lock.IF_STEADY if position >= settings.lock_after else Lock.NO


def _plan_image(
    settings: Settings, branches: Sequence[int], image: int, point: SamplingPoint, updates: int, state: MaskState
) -> ImagePlan:
    by_branch_gone = settings.route and settings.compose_by == "branches" and state.locked
    updates = 0 if by_branch_gone or state.outside else updates
    gradient_rows = _gradient_rows(settings, branches, image, routed=_is_routed(settings, state)) if updates else ()
    found = state.found or (settings.masked and updates > 0)
    after = replace(state, found=found)
    cond, uncond = _fused_rows(settings, branches, image, point.index, after)
    compared = frozenset(gradient_rows) & {*cond, *uncond}
    may_join = settings.uncond == "joined" and updates and state.found
    joined = tuple(row for row in uncond if row not in compared) if may_join else ()
    open_masks = settings.masked and not state.locked and not (point.trial and state.found)
    kept, reads_masks = compared.union(joined), open_masks and not compared
    return ImagePlan(updates, gradient_rows, cond, uncond, joined, kept, reads_masks)


def _is_routed(settings: Settings, state: MaskState) -> bool:
    """Whether an image with such masks is drawn by one routed row."""
    when_locked = settings.route and state.locked
    return state.found and (settings.compose_by == "row" or when_locked)


def _gradient_rows(settings: Settings, branches: Sequence[int], image: int, *, routed: bool) -> tuple[Row, ...]:
    halves = [Half.COND] if settings.maps_from == "cond" else [Half.COND, Half.UNCOND]
    if settings.compose_by == "row":
        return tuple(Row(image, 0, half, routed) for half in halves)
    rows = [[Row(image, branch, half) for branch in branches] for half in halves]
    return tuple(_concatenated(iter(rows)))


def _fused_rows(
    settings: Settings, branches: Sequence[int], image: int, index: int, state: MaskState
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """The rows of both halves, for the method of the settings."""
    match settings.method:
        case "clora" | "masks":
            return _masked_rows(settings, branches, image, state)
        case "composite":
            drawing: Sequence[int] = branches[1:]
        case "switch":
            turn = index // settings.switch_every
            drawing = [1 + turn % (len(branches) - 1)]
        case "merge":
            drawing = [0]
    return _branch_rows(image, drawing, Half.COND), _branch_rows(image, drawing, Half.UNCOND)


def _masked_rows(
    settings: Settings, branches: Sequence[int], image: int, state: MaskState
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    routed = _is_routed(settings, state)
    single = routed or settings.compose_by == "row"
    if settings.uncond == "branches" and not single:
        return _branch_rows(image, branches, Half.COND), _branch_rows(image, branches, Half.UNCOND)
    by_region = state.found and settings.uncond != "shared" and (routed or not single)
    cond = (Row(image, 0, Half.COND, routed),) if single else _branch_rows(image, branches, Half.COND)
    return cond, (Row(image, 0, Half.UNCOND, by_region),)


def _branch_rows(image: int, branches: Sequence[int], half: Half) -> tuple[Row, ...]:
    return tuple(Row(image, branch, half) for branch in branches)
