"""Held-out figures of the judge."""

from __future__ import annotations

import numpy as np
import torch

from .judge import CONCEPT_NAMES, IDENTITIES, Found, JudgeNet, decode
from .judge_data import Example, to_batch
from .scene import CLASSES


def label_of(kind: int, identity: int) -> str:
    """The name the judge should give: the concept, else the class."""
    return CONCEPT_NAMES[identity] if identity >= 0 else CLASSES[kind]


def match(found: list[Found], centre: np.ndarray) -> Found | None:
    """The subject found nearest to a centre, within 9 pixels."""
    if not found:
        return None
    nearest = min(found, key=lambda f: float(np.hypot(f.centre[0] - centre[0], f.centre[1] - centre[1])))
    return nearest if np.hypot(nearest.centre[0] - centre[0], nearest.centre[1] - centre[1]) <= 9 else None


@torch.no_grad()
def evaluate(net: JudgeNet, examples: list[Example]) -> dict[str, object]:
    """Held-out figures, all as shares.

    Per label the things found with the right name and the precision; the same over all things, and over those that are
    no hard negatives; mixed things flagged and plain ones not flagged; pictures with exactly the right subjects;
    pictures whose style is told rightly.
    """
    right = dict.fromkeys(IDENTITIES, 0)
    usual_right, usual = 0, 0
    asked = dict.fromkeys(IDENTITIES, 0)
    named = dict.fromkeys(IDENTITIES, 0)
    flagged, mixed, plain_flagged, plain, exact, style = 0, 0, 0, 0, 0, 0
    for first in range(0, len(examples), 32):
        part = examples[first : first + 32]
        maps = net(to_batch(part))
        for b, item in enumerate(part):
            found = decode(maps.heat[b], maps.identity[b], maps.box[b])
            style += int((float(maps.style[b]) > 0) == item.lineart)
            for f in found:
                named[f.name] += 1
            names = sorted(label_of(k, i) for k, i in zip(item.kinds, item.identities, strict=True))
            exact += int(names == sorted(f.name for f in found))
            for kind, who, centre in zip(item.kinds, item.identities, item.centres, strict=True):
                label = label_of(kind, who)
                asked[label] += 1
                f = match(found, centre)
                hit = f is not None and f.name == label
                right[label] += int(hit)
                usual, usual_right = usual + int(who != -2), usual_right + int(hit and who != -2)
                if who == -2:
                    mixed += 1
                    flagged += int(f is not None and f.mixed)
                elif who == -1:
                    plain += 1
                    plain_flagged += int(f is not None and f.mixed)
    return {
        "pictures": len(examples),
        "things": sum(asked.values()),
        "found_with_right_name": {n: round(right[n] / max(asked[n], 1), 4) for n in IDENTITIES},
        "precision": {n: round(right[n] / max(named[n], 1), 4) for n in IDENTITIES},
        "all": round(sum(right.values()) / max(sum(asked.values()), 1), 4),
        "plain_and_personal": round(usual_right / max(usual, 1), 4),
        "mixed_flagged": round(flagged / max(mixed, 1), 4),
        "plain_not_flagged": round(1 - plain_flagged / max(plain, 1), 4),
        "pictures_exactly_right": round(exact / max(len(examples), 1), 4),
        "style": round(style / max(len(examples), 1), 4),
    }


def table(title: str, figures: dict[str, object]) -> str:
    """The figures as a short table."""
    recall, precision = figures["found_with_right_name"], figures["precision"]
    lines = [f"{title}: {figures['things']} things in {figures['pictures']} pictures"]
    lines += [f"  {name:12s} {recall[name]:7.2%}  precision {precision[name]:7.2%}" for name in IDENTITIES]  # type: ignore[index]
    rest = ("all", "plain_and_personal", "mixed_flagged", "plain_not_flagged", "pictures_exactly_right", "style")
    lines += [f"  {name:24s} {figures[name]:7.2%}" for name in rest]
    return "\n".join(lines)
