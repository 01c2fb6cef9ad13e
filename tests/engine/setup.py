"""What the engine's tests share: jobs on the toy host, and LoRAs merged into copies of its UNet."""

import copy
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clora_ext.batch.rows import Row
from clora_ext.core.schedule import SamplingPoint
from clora_ext.engine.open_step import Fused, Move
from clora_ext.engine.own_masks import NO_OWN_MASKS, OwnMasks
from clora_ext.engine.prepare import prepare
from clora_ext.engine.replay import ReplayGuard
from clora_ext.engine.run import composing
from clora_ext.engine.step import Composition
from clora_ext.lora.deltas import LowRank
from clora_ext.prompt import read_bindings
from clora_ext.settings.knobs import Settings
from tests.toy import ToyDenoiser, ToyHost, ToyTexts, ToyUNet, texts

POINT = SamplingPoint(0, 10, 0.9)


def prompt_of(k: int) -> str:
    """K one-word subjects, each with its trigger before it: columns 1, 2 ... of the base's text."""
    return " ".join(f"trigger{c} subject{c}" for c in range(1, k + 1))


def bindings_of(k: int) -> list[dict[str, str]]:
    """LoRA L1 draws subject1, and so on."""
    return [{"lora": f"L{c}", "subject": f"subject{c}", "trigger": f"trigger{c}"} for c in range(1, k + 1)]


def random_loras(unet: ToyUNet, k: int, dtype: torch.dtype = torch.float64) -> dict[str, dict[nn.Module, LowRank]]:
    """K LoRAs of rank 2 on all linear layers."""
    generator = torch.Generator().manual_seed(5)
    found = {}
    for c in range(1, k + 1):
        changes = {}
        for layer in unet.modules():
            if isinstance(layer, nn.Linear):
                down = torch.randn(2, layer.in_features, generator=generator)
                up = torch.randn(layer.out_features, 2, generator=generator)
                changes[layer] = LowRank(down.to(dtype), up.to(dtype), 0.15)
        found[f"L{c}"] = changes
    return found


def merged(unet: ToyUNet, changes: Mapping[nn.Module, LowRank]) -> ToyUNet:
    """A copy of the UNet with the LoRA added to its linear layers' weights."""
    names = {layer: name for name, layer in unet.named_modules()}
    found = copy.deepcopy(unet)
    for layer, delta in changes.items():
        target = found.get_submodule(names[layer])
        with torch.no_grad():
            target.weight += delta.scale * delta.up @ delta.down
    return found


def setup(
    k: int, size: tuple[int, int], dtype: torch.dtype = torch.float64, images: int = 1
) -> tuple[ToyUNet, dict[Row, Tensor], Tensor]:
    """A UNet, a condition for every row of K + 1 branches, and a start latent."""
    unet = ToyUNet().to(dtype)
    conditions = {row: text.to(dtype) for row, text in texts(images, k + 1).items()}
    generator = torch.Generator().manual_seed(7)
    latent = torch.randn(images, 4, *size, generator=generator, dtype=torch.float64)
    return unet, conditions, latent.to(dtype)


@contextmanager
def running(
    host: ToyHost,
    settings: Settings,
    k: int,
    images: int = 1,
    prompt: str | None = None,
    bindings: Sequence[Mapping[str, object]] | None = None,
    cfg_scale: float = 1.0,
    masks: Sequence[Tensor] = (),
    own: OwnMasks = NO_OWN_MASKS,
    guard: ReplayGuard | None = None,
) -> Generator[tuple[Composition, ToyDenoiser], None, None]:
    """A job of K subjects, ready to take steps."""
    prompts = [prompt_of(k) if prompt is None else prompt] * images
    bound = read_bindings(bindings_of(k) if bindings is None else bindings)
    prepared = prepare(prompts, bound, settings, host)
    with composing(prepared, host, cfg_scale, masks, own, guard) as run:
        yield run.composition, ToyDenoiser(host.unet, run.conditions)


@dataclass(frozen=True)
class Stepped:
    """One step that was taken."""

    composition: Composition
    move: Move
    fused: Fused


def take_step(
    host: ToyHost, settings: Settings, latent: Tensor, k: int, splits: Sequence[int] | None = None, **job: object
) -> Stepped:
    """The first step of a job; ``splits`` are the sizes of the calls that its rows are predicted in."""
    with running(host, settings, k, len(latent), **job) as (composition, denoiser):
        move = composition.before(POINT, latent, denoiser)
        rows = composition.open_step().rows
        with torch.no_grad():
            found = predicted(denoiser, rows, move.predict_from, splits)
        return Stepped(composition, move, composition.after(found))


def predicted(
    denoiser: ToyDenoiser, rows: Sequence[Row], latent: Tensor, splits: Sequence[int] | None = None
) -> dict[Row, Tensor]:
    """What a host's own forward predicts for ``rows``, all at once or in calls of some sizes."""
    found: dict[Row, Tensor] = {}
    left = list(rows)
    for count in splits or [len(left)] * bool(left):
        part, left = left[:count], left[count:]
        text = torch.stack([condition.tokens for condition in denoiser.conditions(part)])
        out = denoiser.unet(latent[[row.image for row in part]], text.to(latent.dtype))
        found |= dict(zip(part, out, strict=True))
    return found


def toy_texts(conditions: Mapping[Row, Tensor]) -> ToyTexts:
    """As the toy host encodes them."""
    return ToyTexts(conditions)
