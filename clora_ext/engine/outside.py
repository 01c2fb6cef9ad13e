"""Subjects that a picture has outside of the part of it that is drawn (inpainting only what is masked).

The part alone does not say whether a subject is in it: the map of one that is absent has a peak as high as another's.
So the whole picture is looked at once. A subject whose mask lies outside of what is painted claims no pixel of it; one
that is nowhere yet has a mask anywhere, and may be added. What is only shown around it, in the part that is drawn,
stays as it was, so it does not count.
"""

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from clora_ext.attention.capture import OnLastMap
from clora_ext.batch.context import Forward
from clora_ext.batch.plan import BranchMaps, TokenPlan
from clora_ext.batch.rows import Half, Row
from clora_ext.core.schedule import SamplingPoint
from clora_ext.core.shapes import Latent
from clora_ext.engine.gradient import GradientPass, maps_by_image
from clora_ext.engine.masks import ImageMasks
from clora_ext.engine.memory import split_evenly
from clora_ext.engine.port import Denoiser
from clora_ext.engine.step import Composition
from clora_ext.settings.knobs import Settings

INSIDE = 0.1
"""Share of a subject's mask that has to be painted for it to be there."""


def look_around(
    composition: Composition, point: SamplingPoint, whole: Latent, denoiser: Denoiser, painted: Tensor
) -> frozenset[int]:
    """Tell the masks which concepts each picture has outside of what is painted; gives those of any picture.

    ``whole`` [image, channel, y, x] are the whole pictures at ``point``, as z, and ``denoiser`` predicts from them.
    ``painted`` [height, width], of any size, says from 0 to 1 how far each part of them is drawn anew.
    """
    tools, branches = composition.tools, composition.loras.branches
    facts = composition.facts(point, (whole.shape[-2], whole.shape[-1]), denoiser)
    rows = tuple(Row(image, branch, Half.COND) for image in range(len(whole)) for branch in branches)
    forward = Forward(rows, composition.columns(rows, facts), None, facts.conditions)
    looking = GradientPass(tools, facts, forward, OnLastMap.STOP)
    groups = split_evenly(rows, tools.memory.plain_rows)
    maps = tools.memory.guarded(lambda: looking.look(whole, groups), len(rows), graph=False)
    for image, found in maps_by_image(maps).items():
        masks = composition.masks[image]
        outside = concepts_outside(tools.settings, facts.plans[image], found, painted)
        masks.outside = outside - masks.own.concepts  # of those somebody says where they are
    return frozenset().union(*(image.outside for image in composition.masks))


def concepts_outside(settings: Settings, plan: TokenPlan, maps: BranchMaps, painted: Tensor) -> frozenset[int]:
    """The concepts whose masks, by the whole picture's ``maps``, lie outside of ``painted``; none where all do."""
    read = ImageMasks(settings)
    read.read(plan, maps)
    if read.regions is None:
        return frozenset()
    masks = read.regions[1:]
    height, width = masks.shape[-2:]
    cells = adaptive_avg_pool2d(painted[None].to(masks), (height, width))
    areas, inside = masks.sum(dim=(1, 2)), (masks * cells).sum(dim=(1, 2))
    outside = frozenset(int(place) for place in (inside < INSIDE * areas).nonzero().flatten())
    return outside if len(outside) < len(plan.concepts) else frozenset()
