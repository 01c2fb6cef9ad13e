"""Pictures of the masks beside a finished job's images."""

from collections.abc import Iterable
from typing import Any

from modules import images, shared
from modules.images import get_font
from PIL import Image

from clora_ext.hosts.webui.options import option
from clora_ext.hosts.webui.page.finished import Finished
from clora_ext.hosts.webui.page.overlays import sheet, with_legend


def add_sheets(p: Any, processed: Any, pictures: Iterable[tuple[int, Finished]]) -> None:
    """Append a sheet for each of ``pictures``, by its index in ``processed``, with the image's own infotext."""
    made: list[tuple[Any, str]] = []
    for at, picture in pictures:
        image = _sheet(processed.images[at], picture)
        made.append((image, processed.infotexts[at]))
        if option("save_masks") and p.save_samples():
            _save(p, image, processed, at)
    for image, text in made:
        processed.images.append(image)
        processed.infotexts.append(text)


def _sheet(image: Image.Image, picture: Finished) -> Image.Image:
    maps = picture.maps
    whole = sheet(image, picture.regions, () if maps is None else maps, picture.titles, get_font)
    return with_legend(whole, picture.legend, get_font)


def _save(p: Any, image: Any, processed: Any, at: int) -> None:
    number = at - processed.index_of_first_image
    images.save_image(
        image,
        p.outpath_samples,
        "",
        processed.all_seeds[number],
        processed.all_prompts[number],
        shared.opts.samples_format,
        info=processed.infotexts[at],
        p=p,
        suffix="-masks",
    )
