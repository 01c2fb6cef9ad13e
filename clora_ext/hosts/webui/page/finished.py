"""Finished pictures: who drew what in each of them, and what to draw one subject again with."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from clora_ext.errors import SettingsError
from clora_ext.hosts.webui.page.overlays import STYLE, Named, as_png, colour_of, grey_picture, layer, outline
from clora_ext.hosts.webui.page.pass_record import PassRecord, style_titles, subject_titles
from clora_ext.prompt import Binding, drop_tags, format_bindings

MOST_PICTURES = 64
"""Pictures of the latest jobs."""

LARGEST_SIDE = 4096
"""Pixels of a mask that is made for inpainting."""


@dataclass(frozen=True)
class Finished:
    """One picture of a composed job."""

    shown: PassRecord
    number: int
    """In its batch."""
    negative: str
    steps: int
    bindings: tuple[Binding, ...]
    fields: Mapping[str, Any]
    """What the panel's fields had for its settings."""

    @property
    def regions(self) -> Tensor:
        """Region masks [branch, height, width] over the whole picture, base first."""
        return self.shown.regions(self.number)

    @property
    def maps(self) -> Tensor | None:
        """Attention [subject, height, width] over the whole picture; None where masks were not made of it."""
        return self.shown.maps(self.number)

    @property
    def titles(self) -> list[str]:
        """What to call each subject."""
        return subject_titles(self.shown.bound)

    @property
    def legend(self) -> list[Named]:
        """Every LoRA and what it is on: subjects in their colours, then styles."""
        pairs = zip(self.shown.loras, self.titles, strict=True)
        subjects = [Named(f"{lora}: {title}", colour_of(place)) for place, (lora, title) in enumerate(pairs)]
        return [*subjects, *(Named(title, STYLE) for title in style_titles(self.shown.bound))]

    def others(self, subject: int) -> set[str]:
        """The names of the LoRAs that draw nothing of ``subject``: other subjects', and styles on these."""
        bound, lora = self.shown.bound, self.shown.loras[subject]
        on_it = {style.lora for style in bound.styles if style.on is None or self.shown.loras[style.on] == lora}
        kept = {lora, *on_it}
        found = {*(each.lora for each in bound.subjects), *(each.lora for each in bound.styles)} - kept
        return found | {name for name, meant in self.shown.names.items() if meant in found}

    def prompt_of(self, subject: int) -> str:
        """The prompt that draws ``subject`` again: all its words, without the tags of ``others``."""
        prompts = self.shown.prompts
        return drop_tags(prompts[self.number % len(prompts)], self.others(subject))

    def bindings_of(self, subject: int) -> str:
        """What was said of the LoRAs that are left then, as the panel's text; the masks are left out."""
        others = self.others(subject)
        left = [replace(each, mask=None, mask_way=None) for each in self.bindings if each.lora not in others]
        return format_bindings([each for each in left if each != Binding(each.lora)])


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

        Of every subject its LoRA, title, a sheet of colour to lay over the picture and its mask, as data URLs. There is
        no mask to use again of a subject without a part, and of a LoRA of several subjects, which could have but one.
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
        title = f"{picture.shown.loras[subject]}: {picture.titles[subject]}"
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
    lora, share = picture.shown.loras[subject], picture.regions[subject + 1]
    mask = grey_picture(share)
    useful = mask.getbbox() is not None and picture.shown.loras.count(lora) == 1
    return {
        "lora": lora,
        "title": f"{lora}: {picture.titles[subject]}",
        "colour": colour_of(subject),
        "layer": _url(as_png(layer(share, colour_of(subject)))),
        "mask": _url(as_png(mask)) if useful else None,
    }


def _url(png: str) -> str:
    return f"data:image/png;base64,{png}"


FINISHED = FinishedPictures()
"""Those of this server."""
