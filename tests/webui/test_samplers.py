"""Every sampler that the extension accepts: it composes, and the latent update reaches the picture."""

import pytest

from tests.webui.jobs import compose, difference, draw, require_alike, steps
from tests.webui.server import WebUI

SAMPLERS = (
    ("Euler", "Automatic", 3),
    ("Euler a", "Automatic", 3),
    ("DPM++ 2M", "Karras", 3),
    ("DPM++ 2M", "Automatic", 3),
    ("DDIM", "Automatic", 4),
)
"""Sampler, scheduler, and the number of steps with which the host calls its model three times."""
CALLS = 3
NAMES = [f"{sampler}-{scheduler}".replace(" ", "-") for sampler, scheduler, _ in SAMPLERS]
UPDATES = {"profile": "authors", "update_until": CALLS}


@pytest.mark.parametrize(("sampler", "scheduler", "number"), SAMPLERS, ids=NAMES)
def test_sampler_composes(webui: WebUI, sampler: str, scheduler: str, number: int):
    chosen = {"sampler_name": sampler, "scheduler": scheduler, "steps": number}
    plain = draw(webui, **chosen)
    masked, still, moved = (
        compose(webui, {**UPDATES, **wanted}, **chosen) for wanted in ({"method": "masks"}, {"step_size": 0}, {})
    )
    done = steps(webui)
    assert len({plain.sha1, masked.sha1, moved.sha1}) == 3
    require_alike(still.images[0], masked.images[0])  # an update of no size; its predictions come in another batch
    assert difference(moved.images[0], masked.images[0])[1] > 0.5, "the update is not in the picture"
    assert [step["index"] for step in done] == list(range(CALLS))
    assert [len(step["losses"]) for step in done] == [1] * CALLS
    assert [step["rows"] + step["gradient_rows"] for step in done] == [6] * CALLS
    assert compose(webui, UPDATES, **chosen).sha1 == moved.sha1


@pytest.mark.parametrize(("sampler", "scheduler", "number"), SAMPLERS, ids=NAMES)
def test_every_update_moves_the_picture_further(webui: WebUI, sampler: str, scheduler: str, number: int):
    """An update at the first step only, or at all: were a later one lost, both would be alike."""
    chosen = {"sampler_name": sampler, "scheduler": scheduler, "steps": number}
    first = compose(webui, {**UPDATES, "update_until": 1}, **chosen)
    assert sum(len(step["losses"]) for step in steps(webui)) == 1
    every = compose(webui, UPDATES, **chosen)
    assert sum(len(step["losses"]) for step in steps(webui)) == CALLS
    assert first.sha1 != every.sha1


def test_both_families_of_samplers_see_the_same_latent(webui_probed: WebUI):
    """Euler holds the latent scaled by sqrt(sigma^2 + 1), DDIM unscaled: loss and gradient must agree all the same.

    Of 250 steps the first are at t = 999 and 997, nearly the same; both jobs end after it. A wrong scale would be a
    factor of 14.
    """
    first = {}
    for sampler in ("Euler", "DDIM"):
        webui_probed.post("/probe/unet", {"call": 3, "act": "interrupt"}).raise_for_status()
        compose(webui_probed, UPDATES, sampler_name=sampler, scheduler="Automatic", steps=250)
        first[sampler] = steps(webui_probed)[0]
    euler, ddim = first["Euler"], first["DDIM"]
    assert euler["losses"] == pytest.approx(ddim["losses"], rel=0.01)
    assert euler["gradient_rms"] == pytest.approx(ddim["gradient_rms"], rel=0.05)
