"""Text to image with several LoRAs: the loop that WebUI's DDIM runs, around the engine's two halves."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler
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
from clora_ext.prompt import Binding
from clora_ext.settings.knobs import Settings

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

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            size = getattr(self, name)
            if size % 8 or not 64 <= size <= 2048:
                raise SettingsError(f"“{name}” must be a multiple of 8 between 64 and 2048.", field=name)
        if not 1 <= self.steps <= 500:
            raise SettingsError("“steps” must be between 1 and 500.", field="steps")
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
) -> Result:
    """Draw ``picture`` once per seed, all seeds in one batch. Raises ``CLoRAError`` for what can not be done."""
    began = time.perf_counter()
    calls = timesteps(picture.steps)

    def on_step(step: StepReport) -> None:
        if progress is not None:
            progress(step.index + 1, len(calls))

    host = EmbeddedHost(model, library, picture.negative, on_step)
    prompts = [picture.prompt] * len(picture.seeds)
    prepared = prepare(prompts, bindings, settings or Settings(), host)
    with composing(prepared, host, picture.cfg_scale) as run, torch.no_grad():
        latent = _sample(model, run, picture, calls)
    return Result(_decode(model, latent), run.composition.report, time.perf_counter() - began)


def timesteps(steps: int) -> list[int]:
    """The timesteps at which WebUI's DDIM calls the model, first to last (sd_samplers_timesteps.py).

    One fewer than its grid has points: 10 steps are the 9 calls 901, 801 ... 101.
    """
    grid = [min(step + 1, 999) for step in range(0, 1000, 1000 // steps)]
    return grid[:0:-1]


def noise(seeds: Sequence[int], height: int, width: int) -> Tensor:
    """Start latents [seed, 4, height / 8, width / 8]: WebUI's with its random source on the CPU; sizes in pixels."""
    shape = (4, height // 8, width // 8)
    latents = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(latents)


def _sample(model: Model, run: Run[EncodedTexts], picture: Picture, calls: Sequence[int]) -> Tensor:
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=False, timestep_spacing="leading")
    scheduler.alphas_cumprod = model.alphas_cumprod.to(model.device)
    scheduler.num_inference_steps = picture.steps
    composition = run.composition
    latent = noise(picture.seeds, picture.height, picture.width).to(model.device)
    for index, timestep in enumerate(calls):
        point = SamplingPoint(index, picture.steps, timestep / 999.0, call=index)
        move = composition.before(point, latent, EmbeddedDenoiser(model, run.conditions, timestep))
        fused = composition.after(composition.predict(move.predict_from))
        guided = fused.uncond + (fused.cond - fused.uncond) * picture.cfg_scale
        latent = scheduler.step(guided, timestep, move.latent).prev_sample
    return latent


def _decode(model: Model, latent: Tensor) -> tuple[Image.Image, ...]:
    """Pictures, cut to 8 bits as WebUI does: without rounding."""
    images: list[Image.Image] = []
    with torch.no_grad():
        for one in latent:
            scaled = one[None] / model.vae.config.scaling_factor
            decoded = model.vae.decode(scaled.to(model.dtype)).sample[0]
            shares = ((decoded.float().cpu() + 1.0) / 2.0).clamp(0.0, 1.0)
            pixels = shares.permute(1, 2, 0) * 255.0
            images.append(Image.fromarray(pixels.numpy().astype("uint8")))
    return tuple(images)
