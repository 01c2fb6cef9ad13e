"""For tests only: what other extensions do, wrapping methods that we wrap too, before us and after us.

- `POST /probe/wrappers {"wanted": ["older", "younger"]}`: from now on every job is wrapped so.
- `GET /probe/wrappers`: of the last job, how often each wrapper was called, and whether it stands where it was put.

The older ones are on `p.sample` before any script's `process` and on a denoiser as soon as there is one. The younger
ones are on `p.sample` when a batch begins, and on the denoiser during its first call.
"""

from collections.abc import Callable
from typing import Any

from fastapi import Body, FastAPI
from modules import script_callbacks, scripts, sd_samplers

create_sampler = sd_samplers.create_sampler
which: list[str] = []
placed: dict[str, tuple[Any, str, Callable[..., Any]]] = {}
"""What was wrapped in the last job: the owner, its method's name, and the wrapper."""
called: dict[str, int] = {}


def wrap(owner: Any, name: str, label: str) -> None:
    """Put a wrapper on `owner.name` if it is wanted, as an extension does that cares for nobody."""
    if label.split(maxsplit=1)[0] not in which:
        return
    original = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        called[label] = called.get(label, 0) + 1
        return original(*args, **kwargs)

    setattr(owner, name, wrapper)
    placed[label] = owner, name, wrapper


def wrapped_create_sampler(*args: Any, **kwargs: Any) -> Any:
    """The host's, whose samplers have their denoiser wrapped."""
    sampler = create_sampler(*args, **kwargs)
    wrap(sampler.model_wrap_cfg, "forward", "older forward")
    return sampler


sd_samplers.create_sampler = wrapped_create_sampler


def wrap_denoiser_again(params: Any) -> None:
    """While a denoiser is called for the first time."""
    if "younger forward" not in placed:
        wrap(params.denoiser, "forward", "younger forward")


class Wrappers(scripts.Script):
    """Puts the wrappers on `p.sample`."""

    def title(self) -> str:
        return "Probe: wrappers"

    def show(self, is_img2img: bool) -> object:
        return scripts.AlwaysVisible

    def before_process(self, p: Any, *_: Any) -> None:
        """Before any script's `process`."""
        placed.clear()
        called.clear()
        wrap(p, "sample", "older sample")

    def process_batch(self, p: Any, *_: Any, **__: Any) -> None:
        """After any script's `process`."""
        wrap(p, "sample", "younger sample")


def add_routes(_demo: Any, app: FastAPI) -> None:
    """Register the routes."""

    @app.post("/probe/wrappers")
    def switch(wanted: list[str] = Body(embed=True)) -> None:  # noqa: B008
        which[:] = wanted

    @app.get("/probe/wrappers")
    def seen() -> dict[str, Any]:
        stands = {label: vars(owner).get(name) is wrapper for label, (owner, name, wrapper) in placed.items()}
        return {"called": called, "stands": stands}


script_callbacks.on_app_started(add_routes)
script_callbacks.on_cfg_denoiser(wrap_denoiser_again)
