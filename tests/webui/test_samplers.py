"""Samplers: they compose, and the latent update reaches the picture, by the sampler's own arithmetic."""

import math
from itertools import accumulate

import pytest

from tests.webui.jobs import SILENT, SMALL, compose, difference, draw, fields, last, require_alike, steps
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


UPDATING = (
    "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a", "Euler",
    "LMS", "Heun", "DPM2", "DPM2 a", "DPM fast", "Restart", "DDIM", "DDIM CFG++", "PLMS", "UniPC",
)  # fmt: skip
"""All of WebUI's but DPM adaptive, which is composed by masks, and LCM, which replaces the latent at every step."""
FAR = 0.1
NUMBER = 2
"""Which of a run's updates moves the latent: there are earlier predictions by then."""


def final_latent(host: WebUI, sampler: str, far: float) -> tuple[float, float]:
    """Mean of the latent that a job with a constant model ends with, and the noise level of the one known move."""
    host.post("/probe/constant", {"move_at": NUMBER, "far": far}).raise_for_status()
    wanted = {"profile": "authors", "count_by": "noise", "update_until": 1000, "step_size": 1}
    compose(host, wanted, sampler_name=sampler, scheduler="Automatic", steps=9, width=64, height=64, seed=3)
    moved = [step for step in steps(host) if step["losses"]][NUMBER]
    return host.get("/probe/latent").json()["mean"], 1.0 - moved["position"] / 100.0


@pytest.mark.parametrize("sampler", UPDATING)
def test_a_move_goes_through_the_samplers_own_arithmetic(webui_probed: WebUI, sampler: str):
    """With noise that is the same whatever the latent is, a move of z at alpha moves the picture by 1 / alpha of it.

    All solvers agree on that, and one that was told a wrong prediction, now or in its history, does not.
    """
    (still, _), (moved, noise) = (final_latent(webui_probed, sampler, far) for far in (0.0, FAR))
    assert (moved - still) * alpha_at(noise) == pytest.approx(FAR, rel=2e-3)


def alpha_at(noise: float) -> float:
    """How much of the picture is in z, by Stable Diffusion's schedule of noise."""
    betas = [(0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * step / 999) ** 2 for step in range(1000)]
    logarithms = list(accumulate(math.log(1 - beta) for beta in betas))
    low = int(noise * 999)
    high = min(low + 1, 999)
    share = noise * 999 - low
    return math.exp((logarithms[low] * (1 - share) + logarithms[high] * share) / 2)


@pytest.mark.row("Passes and settings", "masks only, with a note", name="a sampler of another extension")
def test_a_sampler_of_another_extension_composes_by_masks(webui_probed: WebUI):
    other, own = {**SMALL, "sampler_name": "Probe Euler"}, {**SMALL, "sampler_name": "Euler"}
    found = compose(webui_probed, **other)
    (batch,) = last(webui_probed)["batches"]
    assert batch["settings"]["method"] == "masks"
    assert "the sampler Probe Euler is none of WebUI's own" in " ".join(batch["notes"])
    require_alike(found.images[0], compose(webui_probed, {"method": "masks"}, **own).images[0])
    silent = draw(webui_probed, **other, **fields(bindings=list(SILENT), method="masks"))
    require_alike(silent.images[0], draw(webui_probed, **own).images[0])
