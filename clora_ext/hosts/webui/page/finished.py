"""Finished pictures: who drew what in each of them, and what to draw one subject again with."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clora_ext.errors import SettingsError
from clora_ext.hosts.webui.page.overlays import STYLE, Named, as_png, colour_of, grey_picture, layer, outline
from clora_ext.hosts.webui.page.pass_record import PassRecord, style_titles, subject_titles
from clora_ext.prompt import Binding, BoundPrompt, drop_tags, format_bindings

Floats = NDArray[np.float32]
MOST_PICTURES = 64
"""Pictures of the latest jobs."""

LARGEST_SIDE = 4096
"""Pixels of a mask that is made for inpainting."""


@dataclass(frozen=True)
class Finished:
    """One picture of a composed job. Its masks are no tensors, which would stay on the card."""

    bound: BoundPrompt
    names: Mapping[str, str]
    """The LoRA that is meant by each name in prompt and bindings."""
    prompt: str
    """With tags."""
    region_array: Floats
    map_array: Floats | None
    negative: str
    steps: int
    bindings: tuple[Binding, ...]
    fields: Mapping[str, Any]
    """What the panel's fields had for its settings."""

    @classmethod
    def of(cls, shown: PassRecord, number: int, *asked: Any) -> "Finished":
        """The picture with this ``number`` in the batch of a pass; ``asked`` are ``negative`` and what follows."""
        regions, maps = _array(shown.regions(number)), shown.maps(number)
        prompt = shown.prompts[number % len(shown.prompts)]
        return cls(shown.bound, shown.names, prompt, regions, None if maps is None else _array(maps), *asked)

    @property
    def regions(self) -> Tensor:
        """Region masks [branch, height, width] over the whole picture, base first."""
        return torch.from_numpy(self.region_array)

    @property
    def maps(self) -> Tensor | None:
        """Attention [subject, height, width] over the whole picture; None where masks were not made of it."""
        return None if self.map_array is None else torch.from_numpy(self.map_array)

    @property
    def loras(self) -> tuple[str, ...]:
        """That of every subject."""
        return self.bound.loras

    @property
    def titles(self) -> list[str]:
        """What to call each subject."""
        return subject_titles(self.bound)

    @property
    def legend(self) -> list[Named]:
        """Every LoRA and what it is on: subjects in their colours, then styles."""
        pairs = zip(self.loras, self.titles, strict=True)
        subjects = [Named(f"{lora}: {title}", colour_of(place)) for place, (lora, title) in enumerate(pairs)]
        return [*subjects, *(Named(title, STYLE) for title in style_titles(self.bound))]

    def others(self, subject: int) -> set[str]:
        """The names of the LoRAs that draw nothing of ``subject``: other subjects', and styles on these."""
        bound, lora = self.bound, self.loras[subject]
        on_it = {style.lora for style in bound.styles if style.on is None or self.loras[style.on] == lora}
        kept = {lora, *on_it}
        found = {*(each.lora for each in bound.subjects), *(each.lora for each in bound.styles)} - kept
        return found | {name for name, meant in self.names.items() if meant in found}

    def prompt_of(self, subject: int) -> str:
        """The prompt that draws ``subject`` again: all its words, without the tags of ``others``."""
        return drop_tags(self.prompt, self.others(subject))

    def bindings_of(self, subject: int) -> str:
        """What was said of the LoRAs that are left then, as the panel's text; the masks are left out."""
        others = self.others(subject)
        left = [replace(each, mask=None, mask_way=None) for each in self.bindings if each.lora not in others]
        return format_bindings([each for each in left if each != Binding(each.lora)])


def _array(tensor: Tensor) -> Floats:
    """A copy: ``Tensor.numpy`` alone would hold the tensor."""
    return np.array(tensor.float().numpy(force=True), dtype=np.float32)


class FinishedPictures:
    """The latest pictures by their infotext, which is that of their sheet of masks too."""

    def __init__(self) -> None:
        self._pictures: dict[str, Finished] = {}

    def keep(self, infotext: str, picture: Finished) -> None:
        """Remember ``picture``; the oldest is forgotten where there are too many."""
        self._pictures.pop(infotext, None)
        self._pictures[infotext] = picture
        while len(self._pictures) > MOST_PICTURES:
            del self._pictures[next(iter(self._pictures))]

    def tell(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Who drew what in the first picture that is known of the infotexts ``finished``.

        Of every subject its LoRA, title, a sheet of colour to lay over the picture and its mask, as data URLs, with the
        ``key`` that a mask is kept by. There is no mask to use again of a subject without a part or without a key.
        """
        known = [text for text in wanted["finished"] if text in self._pictures]
        if not known:
            return {"subjects": [], "legend": []}
        picture = self._pictures[known[0]]
        subjects = [_told(picture, subject) for subject in range(len(picture.titles))]
        return {"of": known[0], "subjects": subjects, "legend": [each._asdict() for each in picture.legend]}

    def inpaint(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """What draws a ``subject`` of the picture ``inpaint``, an infotext, again: prompts, mask, the panel's fields.

        The mask is white on black and has ``size``, width and height. Raises ``SettingsError`` for a picture that is
        not known any more, and for a subject that has no part of it.
        """
        picture = self._pictures.get(wanted["inpaint"])
        if picture is None:
            raise SettingsError("Its masks are not known any more; draw the picture again.", field="masks")
        subject = wanted["subject"]
        width, height = (min(int(side), LARGEST_SIDE) for side in wanted["size"])
        mask = outline(picture.regions[subject + 1], (width, height))
        title = f"{picture.loras[subject]}: {picture.titles[subject]}"
        if mask.getbbox() is None:
            raise SettingsError(f"“{title}” has no part of this picture, so there is nothing to inpaint.", "masks")
        return {
            "title": title,
            "mask": _url(as_png(mask)),
            "prompt": picture.prompt_of(subject),
            "negative": picture.negative,
            "steps": picture.steps,
            "bindings": picture.bindings_of(subject),
            "fields": dict(picture.fields),
        }


def _told(picture: Finished, subject: int) -> dict[str, Any]:
    lora, key, share = picture.loras[subject], picture.bound.subjects[subject].key, picture.regions[subject + 1]
    mask = grey_picture(share)
    useful = mask.getbbox() is not None and key is not None
    return {
        "lora": lora,
        "key": key,
        "title": f"{lora}: {picture.titles[subject]}",
        "colour": colour_of(subject),
        "layer": _url(as_png(layer(share, colour_of(subject)))),
        "mask": _url(as_png(mask)) if useful else None,
    }


def _url(png: str) -> str:
    return f"data:image/png;base64,{png}"


FINISHED = FinishedPictures()
"""Those of this server."""
