"""Text to image with several LoRAs: the loop that WebUI's DDIM runs, around the engine's two halves."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from clora_ext.core.schedule import SamplingPoint
from clora_ext.engine.prepare import prepare
from clora_ext.engine.report import JobReport, StepReport
from clora_ext.engine.run import Run, composing
from clora_ext.errors import SettingsError
from clora_ext.hosts.diffusers.checkpoint import Model
from clora_ext.hosts.diffusers.host import EmbeddedDenoiser, EmbeddedHost, EncodedTexts
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.replaying import EmbeddedGuard
from clora_ext.hosts.diffusers.samplers import SAMPLERS, Sampler
from clora_ext.prompt import Binding
from clora_ext.settings.knobs import Settings
from clora_ext.settings.profiles import build_settings

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What to draw: the positive prompt with its LoRA tags, and the sampler's numbers (WebUI's names).

    Raises ``SettingsError`` for what the model can not do. Width and height are in pixels.
    """

    prompt: str
    negative: str = ""
    seeds: tuple[int, ...] = (1,)
    steps: int = 20
    cfg_scale: float = 7.0
    width: int = 128
    height: int = 128
    sampler: str = "DDIM"

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            size = getattr(self, name)
            if size % 8 or not 64 <= size <= 2048:
                raise SettingsError(f"“{name}” must be a multiple of 8 between 64 and 2048.", field=name)
        if not 1 <= self.steps <= 500:
            raise SettingsError("“steps” must be between 1 and 500.", field="steps")
        if self.sampler not in SAMPLERS:
            there = ", ".join(SAMPLERS)
            raise SettingsError(f"There is no sampler “{self.sampler}”; choose one of {there}.", field="sampler")
        if not self.seeds:
            raise SettingsError("“seeds” is empty; name at least one.", field="seeds")


@dataclass(frozen=True, slots=True)
class Result:
    """Pictures in the order of the seeds, and what happened."""

    images: tuple[Image.Image, ...]
    report: JobReport
    seconds: float


def generate(
    model: Model,
    library: Library,
    picture: Picture,
    settings: Settings | None = None,
    bindings: Sequence[Binding] = (),
    progress: Progress | None = None,
    *,
    replay: bool = False,
) -> Result:
    """Draw ``picture`` once per seed, all seeds in one batch. Raises ``CLoRAError`` for what can not be done.

    ``replay``: late steps are replayed without Python, where that can be done (``engine.replay``).
    """
    began = time.perf_counter()
    generators = [torch.Generator().manual_seed(seed) for seed in picture.seeds]
    sampler = Sampler(SAMPLERS[picture.sampler](model, picture.steps), generators)
    calls = len(sampler.calls)

    def on_step(step: StepReport) -> None:
        if progress is not None:
            progress(step.index + 1, calls)

    host = EmbeddedHost(model, library, picture.negative, (picture.height, picture.width), on_step)
    prompts = [picture.prompt] * len(picture.seeds)
    prepared = prepare(prompts, bindings, settings or build_settings(), host)
    guard = EmbeddedGuard() if replay else None
    with composing(prepared, host, picture.cfg_scale, guard=guard) as run, torch.no_grad():
        latent = _sample(model, run, picture, sampler)
    return Result(_decode(model, latent), run.composition.report, time.perf_counter() - began)


def noise(generators: Sequence[torch.Generator], height: int, width: int) -> Tensor:
    """Start latents [picture, 4, height / 8, width / 8]: WebUI's with its random source on the CPU; sizes in pixels."""
    shape = (4, height // 8, width // 8)
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def _sample(model: Model, run: Run[EncodedTexts], picture: Picture, sampler: Sampler) -> Tensor:
    composition = run.composition
    latent = sampler.begin(noise(sampler.generators, picture.height, picture.width).to(model.device))
    for call, timestep in enumerate(sampler.calls):
        point = SamplingPoint(call, picture.steps, timestep / 999.0, call=call)
        z = sampler.z_of(latent, call)
        move = composition.before(point, z, EmbeddedDenoiser(model, run.conditions, timestep))
        fused = composition.after(composition.predict(move.predict_from))
        guided = fused.uncond + (fused.cond - fused.uncond) * picture.cfg_scale
        if move.latent is not z:
            latent = sampler.latent_of(move.latent, call)
            sampler.tell_move(move.latent - z, call)
        latent = sampler.step(guided, latent, call)
    return latent


def _decode(model: Model, latent: Tensor) -> tuple[Image.Image, ...]:
    """Pictures, cut to 8 bits as WebUI does: without rounding."""
    images: list[Image.Image] = []
    with torch.no_grad():
        for one in latent:
            scaled = one[None] / model.vae.config.scaling_factor
            decoded = model.vae.decode(scaled.to(model.vae.dtype)).sample[0]
            shares = ((decoded.float().cpu() + 1.0) / 2.0).clamp(0.0, 1.0)
            pixels = shares.permute(1, 2, 0) * 255.0
            images.append(Image.fromarray(pixels.numpy().astype("uint8")))
    return tuple(images)
