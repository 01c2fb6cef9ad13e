"""Trains the judge on the renderer's own pictures: `python -m tiny_world.judge_train`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from .judge import WEIGHTS, Judge, JudgeNet, Maps
from .judge_data import CHUNK, Example, augment, examples_and_scenes, targets, through_model, to_batch, worsen
from .judge_score import evaluate, table
from .optim import Muon, pick_device, schedule, set_rate, split_params


@dataclass(frozen=True)
class JudgePlan:
    """Pictures and steps: first on the renderer's pictures, then with half of each batch through the world's model."""

    pictures: int
    through: int
    steps: int
    more: int
    batch: int


PLANS: dict[str, JudgePlan] = {
    "cpu": JudgePlan(pictures=8000, through=400, steps=450, more=950, batch=32),
    "cuda": JudgePlan(pictures=40_000, through=8000, steps=4000, more=6000, batch=64),
}


def loss(maps: Maps, wanted: dict[str, Tensor]) -> Tensor:
    """CenterNet's focal loss on the heat maps, cross-entropy of identity and style, L1 of the box."""
    truth = wanted["heat"]
    chance = maps.heat.sigmoid().clamp(1e-5, 1 - 1e-5)
    hit = truth == 1
    positive = -((1 - chance) ** 2 * chance.log())[hit].sum()
    negative = -((1 - truth) ** 4 * chance**2 * (1 - chance).log())[~hit].sum()
    things = hit.sum().clamp(min=1)
    near = wanted["near"][:, None]
    weight = near.sum().clamp(min=1)
    who = functional.binary_cross_entropy_with_logits(maps.identity, wanted["identity"], reduction="none")
    where = (maps.box - wanted["box"]).abs()
    style = functional.binary_cross_entropy_with_logits(maps.style, wanted["style"])
    return (
        (positive + negative) / things
        + 3 * (who * near).sum() / weight
        + 0.5 * (where * near).sum() / weight
        + 0.3 * style
    )


def flipped(wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The targets of the mirrored pictures."""
    turned = {name: value if name == "style" else value.flip(-1) for name, value in wanted.items()}
    turned["box"] = turned["box"][:, [2, 1, 0, 3]]
    return turned


def train(
    examples: list[Example],
    through: list[Example],
    steps: int,
    batch: int,
    seed: int,
    device: torch.device,
    start: JudgeNet | None = None,
    rate: float = 0.02,
) -> JudgeNet:
    """Trains the net with Muon and AdamW in bfloat16.

    Batches are random examples, half of them from `through` if there are any.
    """
    torch.manual_seed(seed)
    generator = torch.Generator(device).manual_seed(seed)
    net = (JudgeNet() if start is None else start).to(device).train()
    matrices, rest = split_params([net], outer=("head.weight", "style.weight"))
    optimisers = [Muon(matrices, lr=rate), torch.optim.AdamW(rest, lr=0.15 * rate, weight_decay=0.0)]
    both = examples + through
    halves = torch.cat([functional.avg_pool2d(to_batch([item]), 2).mul(255).round().byte() for item in both])
    halves = halves.to(device)
    parts = [targets(both[first : first + CHUNK]) for first in range(0, len(both), CHUNK)]
    wanted = {name: torch.cat([part[name].half() for part in parts]).to(device) for name in parts[0]}
    plain = batch - batch // 2 if through else batch
    bar = tqdm(range(steps), desc="judge", mininterval=5)
    for step in bar:
        set_rate(optimisers, schedule(step, steps, warmup=20, decay_from=0.3))
        first = torch.randint(0, len(examples), (plain,), generator=generator, device=device)
        last = max(len(both), len(examples) + 1)
        second = torch.randint(len(examples), last, (batch - plain,), generator=generator, device=device)
        chosen = torch.cat([first, second])
        pixels, truth = halves[chosen].float() / 255, {name: value[chosen].float() for name, value in wanted.items()}
        if step % 2:
            pixels, truth = pixels.flip(-1), flipped(truth)
        with torch.autocast(device.type, torch.bfloat16):
            maps = net.from_half(augment(pixels, generator))
        value = loss(maps, truth)
        for optimiser in optimisers:
            optimiser.zero_grad()
        value.backward()
        for optimiser in optimisers:
            optimiser.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{value.item():.3f}")
    return net.eval()


def worsened(examples: list[Example], seed: int) -> list[Example]:
    """The examples with pictures as imperfect as in training."""
    generator = torch.Generator().manual_seed(seed)
    worse = []
    for first in range(0, len(examples), CHUNK):
        part = examples[first : first + CHUNK]
        pixels = (255 * worsen(part, generator)).round().byte().permute(0, 2, 3, 1).numpy()
        worse += [replace(item, pixels=picture) for item, picture in zip(part, pixels, strict=True)]
    return worse


def train_judge(out: Path, plan: JudgePlan, device: torch.device, seed: int = 1, held_out: int = 1000) -> None:
    """Trains the judge, measures it on fresh pictures, and writes its weights and figures (out and out.json).

    Raises FileNotFoundError if the world's model is not beside it.
    """
    began = time.time()
    through = through_model(out.parent, plan.through, seed + 1, device)
    pictures = [item for item, _ in examples_and_scenes(plan.pictures, seed, device, "pictures")]
    net = train(pictures, [], plan.steps, plan.batch, seed, device)
    net = train(pictures, through, plan.more, plan.batch, seed + 9, device, net, 0.01)
    Judge(net.cpu()).save(out)
    net = Judge.load(out).net
    held = [item for item, _ in examples_and_scenes(held_out, seed + 100_000, device, "held out")]
    report: dict[str, object] = {
        "steps": plan.steps,
        "steps_through_model": plan.more,
        "batch": plan.batch,
        "seed": seed,
        "pictures": plan.pictures,
        "through_model": plan.through,
        "parameters": sum(p.numel() for p in net.parameters()),
        "held_out": evaluate(net, held),
        "held_out_augmented": evaluate(net, worsened(held, seed + 7)),
        "held_out_through_vae": evaluate(net, through_model(out.parent, held_out // 4, seed + 500, device, latest=0)),
    }
    report["seconds"] = round(time.time() - began)
    for title in ("held_out", "held_out_augmented", "held_out_through_vae"):
        print(table(title, report[title]))  # type: ignore[arg-type]
    out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: trains and measures the judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args(arguments)
    device = pick_device(options.device)
    train_judge(options.out, PLANS[device.type], device, options.seed)


if __name__ == "__main__":
    main()
