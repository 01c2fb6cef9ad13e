"""Text to image with several LoRAs: the loop that WebUI's DDIM runs, around the engine's two halves."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from PIL import Image
from torch import Tensor

from clora_ext.core.concepts import Plan
from clora_ext.core.rows import Half, Passage, Row, by_length
from clora_ext.core.schedule import Moment
from clora_ext.engine.job import Job, Wear, composes, job, plan
from clora_ext.engine.report import JobReport
from clora_ext.engine.session import installed
from clora_ext.engine.step import Composition
from clora_ext.errors import LoraError, SettingsError
from clora_ext.hosts.diffusers import texts
from clora_ext.hosts.diffusers.checkpoint import Model
from clora_ext.lora import files
from clora_ext.lora.routing import counted, placed, routed
from clora_ext.prompt import Binding, LoraFacts, bind, find_tags, remove_tags
from clora_ext.settings import Settings, settings

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What to draw: the positive prompt with its LoRA tags, and the sampler's numbers (WebUI's names)."""

    prompt: str
    negative: str = ""
    seeds: tuple[int, ...] = (1,)
    steps: int = 20
    cfg_scale: float = 7.0
    width: int = 128
    height: int = 128

    def __post_init__(self) -> None:
        """Refuse what the model can not do."""
        for name in ("width", "height"):
            if getattr(self, name) % 8 or not 64 <= getattr(self, name) <= 2048:
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


class Library:
    """LoRA files of some folders, by name; read once."""

    def __init__(self, *folders: Path) -> None:
        self.paths = {path.stem: path for folder in folders for path in sorted(folder.glob("*.safetensors"))}
        self._files: dict[str, files.LoraFile] = {}

    def file(self, name: str) -> files.LoraFile:
        """The LoRA called ``name``. Raises ``LoraError`` with the names there are."""
        if name not in self.paths:
            there = ", ".join(sorted(self.paths)) or "none in the folder"
            raise LoraError(f"There is no LoRA “{name}”; there is {there}.", field="lora")
        if name not in self._files:
            self._files[name] = files.read(self.paths[name])
        return self._files[name]

    def facts(self, names: Sequence[str]) -> dict[str, LoraFacts]:
        """What binding wants to know of the named LoRAs."""
        found = {name: self.file(name) for name in names}
        return {name: LoraFacts(name, triggers=(file.trigger,) if file.trigger else ()) for name, file in found.items()}


def generate(
    model: Model,
    library: Library,
    picture: Picture,
    wanted: Settings | None = None,
    bindings: Sequence[Binding] = (),
    progress: Progress | None = None,
) -> Result:
    """Draw ``picture`` once per seed, all seeds in one batch. Raises ``CLoRAError`` for what can not be done."""
    started = time.perf_counter()
    wanted = wanted or settings()
    names = dict.fromkeys([tag.name for tag in find_tags(picture.prompt)] + [binding.lora for binding in bindings])
    bound = bind(picture.prompt, library.facts(list(names)), bindings)
    if not composes(bound, wanted):  # the host's own image: every LoRA on everything
        wanted = settings(wanted.profile, "merge", **wanted.changed)
    work = job(bound, remove_tags(picture.prompt), wanted)
    tokens = {branch: texts.tokenize(model, text) for branch, text in work.texts.items()}
    composing = wanted.masked and len(work.texts) > 1
    plans = [plan(bound, lambda branch, spans: tokens[branch].columns(spans))] if composing else [_no_plan()]
    worn = {branch: [wear.key for wear in (*work.everywhere, *wears)] for branch, wears in work.worn.items()}
    composition = Composition(plans * len(picture.seeds), worn, wanted, picture.cfg_scale)
    composition.report.subjects = tuple(subject.words for subject in bound.subjects)
    conditions = _conditions(model, library, work, tokens, picture.negative, composition)
    everyone = dict.fromkeys([*work.everywhere, *(wear for wears in work.worn.values() for wear in wears)])
    deltas = {w.key: files.deltas(library.file(w.name), "unet", model.unet, w.unet) for w in everyone}
    with installed(composition, model.unet, deltas, model.device), torch.no_grad():
        latent = _sample(model, composition, conditions, picture, progress or (lambda done, total: None))
    return Result(_decode(model, latent), composition.report, time.perf_counter() - started)


def timesteps(steps: int) -> list[int]:
    """The timesteps at which WebUI's DDIM calls the model, first to last (sd_samplers_timesteps.py).

    One fewer than its grid has points: 10 steps are the 9 calls 901, 801 ... 101.
    """
    grid = [min(step + 1, 999) for step in range(0, 1000, 1000 // steps)]
    return grid[:0:-1]


def noise(seeds: Sequence[int], height: int, width: int) -> Tensor:
    """Start latents [seed, 4, height / 8, width / 8]: WebUI's with its random source on the CPU."""
    shape = (4, height // 8, width // 8)
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def _no_plan() -> Plan:
    """For methods that read no maps."""
    return Plan(())


def _conditions(
    model: Model,
    library: Library,
    work: Job,
    tokens: Mapping[int, texts.Tokens],
    negative: str,
    composition: Composition,
) -> dict[tuple[int, Half], Tensor]:
    """Conditions [1, token, width] of every branch and half, in one call of the text encoder."""
    refused = texts.tokenize(model, negative)
    keys = [(branch, half) for branch in work.texts for half in Half]
    chosen = [tokens[branch] if half is Half.COND else refused for branch, half in keys]
    rows = [Row(0, *key) for key, text in zip(keys, chosen, strict=True) for _ in text.ids]
    wears = {branch: (*work.everywhere, *work.encoded[branch]) for branch in work.texts}
    everyone: dict[Wear, None] = dict.fromkeys(wear for several in wears.values() for wear in several)
    deltas = {w.key: files.deltas(library.file(w.name), "text_encoder", model.text_encoder, w.te) for w in everyone}
    passage = Passage()
    worn = {branch: dict.fromkeys((wear.key for wear in several), 1.0) for branch, several in wears.items()}
    encoder, changed = model.text_encoder, placed(deltas, model.device, model.dtype)
    with counted(encoder, passage), routed(changed, passage, lambda row: worn[row.branch]), passage.over(rows):
        encoded = texts.encode(model, chosen)
    return dict(zip(keys, encoded, strict=True))


class _Denoiser:
    """Meets the engine's port at one timestep."""

    def __init__(self, model: Model, conditions: Mapping[tuple[int, Half], Tensor], timestep: int) -> None:
        self.model = model
        self.conditions = conditions
        self.timestep = timestep

    def forward(self, latent: Tensor, rows: Sequence[Row]) -> Tensor:
        """The predicted noise of every row, conditional ones first: by one call of the UNet, or one for each half."""
        found = []
        for places, text in by_length(rows, self.texts):
            sample = latent[[rows[place].image for place in places]].to(self.model.dtype)
            found.append(self.model.unet(sample, self.timestep, encoder_hidden_states=text).sample.to(latent.dtype))
        return torch.cat(found)

    def texts(self, rows: Sequence[Row]) -> Tensor:
        """The conditions of the rows."""
        return texts.stacked([self.conditions[row.branch, row.half] for row in rows])


def _sample(
    model: Model,
    composition: Composition,
    conditions: Mapping[tuple[int, Half], Tensor],
    picture: Picture,
    progress: Progress,
) -> Tensor:
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=False, timestep_spacing="leading")
    scheduler.alphas_cumprod = model.alphas_cumprod.to(model.device)
    scheduler.num_inference_steps = picture.steps
    latent = noise(picture.seeds, picture.height, picture.width).to(model.device)
    calls = timesteps(picture.steps)
    for index, timestep in enumerate(calls):
        denoiser = _Denoiser(model, conditions, timestep)
        move = composition.before(Moment(index, picture.steps, timestep / 999.0), latent, denoiser)
        fused = composition.after(composition.predict(move.at))
        guided = fused.uncond + (fused.cond - fused.uncond) * picture.cfg_scale
        latent = scheduler.step(guided, timestep, move.latent).prev_sample
        progress(index + 1, len(calls))
    return latent


def _decode(model: Model, latent: Tensor) -> tuple[Image.Image, ...]:
    """Pictures, cut to 8 bits as WebUI does: without rounding."""
    images: list[Image.Image] = []
    with torch.no_grad():
        for one in latent:
            decoded = model.vae.decode((one[None] / model.vae.config.scaling_factor).to(model.dtype)).sample[0]
            pixels = ((decoded.float().cpu() + 1.0) / 2.0).clamp(0.0, 1.0).permute(1, 2, 0) * 255.0
            images.append(Image.fromarray(pixels.numpy().astype("uint8")))
    return tuple(images)
