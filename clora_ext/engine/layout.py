"""Which rows a step's forward has, and which LoRAs each of them wears."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clora_ext.core.rows import Half, Row
from clora_ext.settings import Settings


@dataclass(frozen=True, slots=True)
class Drawing:
    """How one image is drawn in a step: by which branches, with which unconditional ones; ``routed`` halves are one
    row that stands for all branches, and that is branch 0's.
    """

    branches: tuple[int, ...]
    uncond: tuple[int, ...]
    routed: bool = False
    uncond_routed: bool = False

    def rows(self, image: int, half: Half) -> tuple[Row, ...]:
        """The rows of ``image`` in one half of guidance, by branch."""
        branches, routed = (self.branches, self.routed) if half is Half.COND else (self.uncond, self.uncond_routed)
        return tuple(Row(image, branch, half, routed) for branch in branches)


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows of a prediction: the host's own conditional rows first, its own unconditional rows last, ours between.

    ``first`` is the branch that the host's own rows stand for. ``worn[b]`` names the LoRAs of branch b, of which
    unconditional rows wear the share ``uncond``.
    """

    drawings: tuple[Drawing, ...]
    first: int
    worn: Mapping[int, Sequence[str]]
    uncond: float = 1.0

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows in the order in which the UNet sees them."""
        return self._of(Half.COND, own=True) + self.injected + self._of(Half.UNCOND, own=True)

    @property
    def injected(self) -> tuple[Row, ...]:
        """The rows that the host does not have by itself."""
        return self._of(Half.COND, own=False) + self._of(Half.UNCOND, own=False)

    def of(self, image: int, half: Half) -> tuple[Row, ...]:
        """The rows of one image in one half, by branch."""
        return self.drawings[image].rows(image, half)

    def _of(self, half: Half, *, own: bool) -> tuple[Row, ...]:
        rows = [row for image in range(len(self.drawings)) for row in self.of(image, half)]
        return tuple(sorted((row for row in rows if (row.branch == self.first) is own), key=lambda row: row.branch))

    def wears(self, row: Row) -> Mapping[str, float]:
        """The LoRAs of ``row`` as a whole, its branch's, with how much of each it wears."""
        return dict.fromkeys(self.worn[row.branch], self.uncond if row.half is Half.UNCOND else 1.0)


def routes(settings: Settings, *, locked: bool) -> bool:
    """Whether an image that has masks is drawn by a routed row."""
    return settings["compose_by"] == "row" or (locked and settings["route"])


def differentiated(settings: Settings, branches: Sequence[int], image: int, *, routed: bool) -> tuple[Row, ...]:
    """The rows of one image whose maps an update compares; ``routed`` says whether it is drawn by a routed row."""
    halves = [Half.COND] if settings["maps_from"] == "cond" else [Half.COND, Half.UNCOND]
    if settings["compose_by"] == "row":
        own = routed and settings["gradient_row"] == "routed"
        return tuple(Row(image, 0, half, own) for half in halves)
    return tuple(Row(image, branch, half) for half in halves for branch in sorted(branches))


def drawing(settings: Settings, branches: Sequence[int], step: int, *, routed: bool, divided: bool) -> Drawing:
    """How an image with branches 0 (base) to K is drawn at step number ``step``.

    ``divided`` says that there are masks to route by, ``routed`` that the conditional half is to be one row.
    """
    every = tuple(sorted(branches))
    match settings.method:
        case "clora" | "masks":
            one = routed or settings["compose_by"] == "row"
            bare = settings["uncond"] == "shared"
            if one or settings["uncond"] != "branches":
                return Drawing((0,) if one else every, (0,), routed, divided and not bare and (routed or not one))
            return Drawing(every, every)
        case "composite":
            return Drawing(every[1:], every[1:])
        case "switch":
            active = 1 + step // settings["switch_every"] % (len(every) - 1)
            return Drawing((active,), (active,))
        case _:  # merge
            return Drawing((0,), (0,))
