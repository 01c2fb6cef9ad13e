"""The masks that jobs were drawn with, so that the infotext of a picture, which only names them, brings them back."""

from collections.abc import Mapping, Sequence

from clora_ext.prompt import Binding, mask_digest
from clora_ext.settings.infotext import named_masks

ROOM = 4 * 2**20
"""Characters of all pictures that are kept."""


class KeptMasks:
    """Pictures by digest; the oldest are forgotten where there is no room."""

    def __init__(self) -> None:
        self._pictures: dict[str, str] = {}

    def keep(self, bindings: Sequence[Binding]) -> None:
        """Remember the masks of ``bindings``."""
        for picture in (each.mask for each in bindings if each.mask is not None):
            digest = mask_digest(picture)
            self._pictures.pop(digest, None)
            self._pictures[digest] = picture
        while sum(map(len, self._pictures.values())) > ROOM:
            del self._pictures[next(iter(self._pictures))]

    def of(self, words: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """The request's field ``masks`` for an infotext: a picture that is not known any more is empty."""
        return {
            key: {"mask": self._pictures.get(digest, ""), "mask_way": way} for key, way, digest in named_masks(words)
        }


KEPT = KeptMasks()
"""Those of this server: the host asks for the parts of an infotext by functions that know nothing else."""
