"""Which rows a step's forward has, and which LoRAs each of them wears."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clora_ext.core.rows import Half, Row
from clora_ext.settings import Settings


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows of a prediction: the host's own conditional rows first, its own unconditional rows last, ours between.

    ``first`` is the branch that the host's own rows stand for. ``worn[b]`` names the LoRAs of branch b.
    """

    images: int
    branches: tuple[int, ...]
    first: int
    uncond_branches: tuple[int, ...]
    worn: Mapping[int, Sequence[str]]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows in the order in which the UNet sees them."""
        cond = self._rows([self.first], Half.COND)
        uncond = self._rows([self.first], Half.UNCOND)
        return cond + self.injected + uncond

    @property
    def injected(self) -> tuple[Row, ...]:
        """The rows that the host does not have by itself."""
        ours = self._rows([b for b in self.branches if b != self.first], Half.COND)
        return ours + self._rows([b for b in self.uncond_branches if b != self.first], Half.UNCOND)

    def _rows(self, branches: Sequence[int], half: Half) -> tuple[Row, ...]:
        return tuple(Row(image, branch, half) for branch in branches for image in range(self.images))

    def wears(self, row: Row) -> Sequence[str]:
        """The LoRAs of ``row``: its branch's, in both halves of guidance."""
        return self.worn[row.branch]


def layout(settings: Settings, images: int, worn: Mapping[int, Sequence[str]], step: int) -> Layout:
    """The rows of step number ``step``. ``worn`` has the LoRAs of branches 0 (base) to K."""
    every = tuple(sorted(worn))
    match settings.method:
        case "clora" | "masks":
            return Layout(images, every, 0, every if settings["uncond"] == "branches" else (0,), worn)
        case "composite":
            return Layout(images, every[1:], 1, every[1:], worn)
        case "switch":
            active = 1 + step // settings["switch_every"] % (len(every) - 1)
            return Layout(images, (active,), active, (active,), worn)
        case _:  # merge
            return Layout(images, (0,), 0, (0,), worn)
