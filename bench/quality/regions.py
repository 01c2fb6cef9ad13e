"""Where things are in a picture: silhouettes by the eye, one per thing by the detector's boxes.

Of a generated picture nobody knows the true silhouettes. Those of the renderer, noised to a middle sigma, would have
the engine estimate masks of a picture that it did not draw, by other steps than those it is judged on. So a head
trained on the renderer's silhouettes outlines the finished picture; its own IoU on held-out renders is in eye.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from bench.quality.detection import of_subject
from bench.quality.eye import KNOWN_INK, Eye
from bench.quality.prompts import Prompt
from tiny_world.concepts import XL_STYLES
from tiny_world.judge import Found
from tiny_world.scene import CLASSES

MARGIN = 0.12
"""A box is widened by this share of its sides before pixels are counted to its thing."""


@dataclass(frozen=True, slots=True)
class Silhouettes:
    """One picture's pixels: ``things[i]`` is bool [h, w] for the i-th thing found; ``lineart`` probability [h, w] of
    the ink that was looked for."""

    things: tuple[np.ndarray, ...]
    lineart: np.ndarray


def ink_of(prompt: Prompt) -> str:
    """The name of the style that the prompt asks for; the eye's own for a prompt without one."""
    asked = prompt.style.lora if prompt.style is not None else KNOWN_INK
    return next((name for name in XL_STYLES if asked.startswith(name)), KNOWN_INK)


def silhouettes(
    eye: Eye | None, pictures: np.ndarray, found: Sequence[Sequence[Found]] | None, ink: str = KNOWN_INK
) -> list[Silhouettes | None]:
    """For each of ``pictures`` [n, h, w, 3]; None for all when there is no eye or nothing was looked for."""
    if eye is None or found is None:
        return [None] * len(pictures)
    classes, lineart = eye.outline(pictures, ink)
    return [Silhouettes(_split(classes[i], things), lineart[i]) for i, things in enumerate(found)]


def _split(classes: np.ndarray, things: Sequence[Found]) -> tuple[np.ndarray, ...]:
    """Pixels of a thing's class in its box; where boxes of one class overlap, those nearer to its centre."""
    ys, xs = np.indices(classes.shape)
    far = np.stack([np.hypot(xs - t.centre[0], ys - t.centre[1]) for t in things]) if things else np.empty(0)
    made = []
    for place, thing in enumerate(things):
        mask = (classes == CLASSES.index(thing.kind) + 1) & box_mask(thing, classes.shape)
        for other, rival in enumerate(things):
            if other != place and rival.kind == thing.kind:
                mask &= far[place] <= far[other]
        made.append(mask)
    return tuple(made)


def box_mask(thing: Found, shape: tuple[int, ...]) -> np.ndarray:
    """The thing's box, a little widened, as bool [h, w]."""
    left, top, right, bottom = thing.box
    dx, dy = MARGIN * (right - left), MARGIN * (bottom - top)
    mask = np.zeros(shape, dtype=bool)
    rows = slice(max(0, round(top - dy)), max(0, round(bottom + dy)))
    mask[rows, max(0, round(left - dx)) : max(0, round(right + dx))] = True
    return mask


def own_region(
    prompt: Prompt, lora: str, things: Sequence[Found], outlined: Silhouettes | None, shape: tuple[int, ...]
) -> np.ndarray:
    """Pixels [h, w] of the LoRA's own subject: its silhouette, without an eye its box; empty when it is not there."""
    thing = of_subject(things, prompt.subjects[lora], prompt.wanted)
    if thing is None:
        return np.zeros(shape, dtype=bool)
    return box_mask(thing, shape) if outlined is None else outlined.things[list(things).index(thing)]


def mask_ious(
    weights: Tensor, loras: Sequence[str], prompt: Prompt, things: Sequence[Found], outlined: Silhouettes
) -> dict[str, float]:
    """Intersection over union of each LoRA's mask with its subject's silhouette, for the subjects that are there.

    weights: [branch, height, width], base first; a pixel is the mask's whose share is largest.
    """
    shape = outlined.lineart.shape
    owner = functional.interpolate(weights[None].float(), shape, mode="nearest")[0].argmax(dim=0).numpy()
    found = {}
    for branch, lora in enumerate(loras, start=1):
        truth = own_region(prompt, lora, things, outlined, shape)
        if lora in prompt.subjects and truth.any():
            mask = owner == branch
            found[lora] = round(float((mask & truth).sum() / (mask | truth).sum()), 4)
    return found


def style(
    prompt: Prompt, outlined: Silhouettes | None, things: Sequence[Found], wanted: Sequence[str]
) -> Mapping[str, Any]:
    """Whether the style that the prompt asks for is where it should be, with its mean probability there.

    ``right``: everywhere on more than half of the picture; on one subject there and on no other. Empty when the prompt
    asks for none or nobody can tell.
    """
    if prompt.style is None or outlined is None:
        return {}
    if prompt.style.on is None:
        share = float(outlined.lineart.mean())
        return {"right": share > 0.5, "shares": {"": round(share, 3)}}
    shares: dict[str, float] = {}
    for lora, name in prompt.subjects.items():
        thing = of_subject(things, name, wanted)
        if thing is not None and (own := outlined.things[list(things).index(thing)]).any():
            shares[lora] = round(float(outlined.lineart[own].mean()), 3)
    placed = all((share > 0.5) == (lora == prompt.style.on) for lora, share in shares.items())
    return {"right": placed and len(shares) == len(prompt.subjects), "shares": shares}
