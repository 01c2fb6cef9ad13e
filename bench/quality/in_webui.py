"""`python -m bench.quality.in_webui`: the same cases through the real WebUI; `make bench-webui`.

Twenty reported prompts, all splits in turn, one seed each, are drawn by the embedded host and by the API of a booted
WebUI, and judged by the same detector. At least nineteen verdicts must agree. ``--world xl`` asks the other tiny world.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from bench.quality import folder, prompts, regions, runner
from bench.quality.detection import judged
from bench.quality.draw import bound, draw, weighed
from bench.quality.extractors import Extractors
from bench.quality.jobs import Job, interleaved, seeds_of
from bench.quality.methods import table, tuned_of
from bench.quality.worker import find
from clora_ext.hosts.diffusers.checkpoint import load
from clora_ext.hosts.diffusers.library import Library
from clora_ext.prompt import Binding
from clora_ext.settings.profiles import plain_changes
from tests.webui.server import Model, Setup, WebUI, find_python, find_webui
from tiny_world.worlds import WORLDS, World

CHECKOUT = Path(__file__).resolve().parents[2]
CASES = 20
AGREEING = 19


def asked(binding: Binding) -> dict[str, Any]:
    """A binding as the API takes it: the fields that were said."""
    return {field.name: value for field in fields(binding) if (value := getattr(binding, field.name)) is not None}


def payload(job: Job, bindings: Sequence[Binding]) -> dict[str, Any]:
    """The txt2img request of a job's first seed."""
    numbers, wanted = job.sampling, job.method.settings
    named = {"profile": wanted.profile, "method": wanted.method, **plain_changes(wanted)}
    return {
        "prompt": job.prompt.prompt,
        "negative_prompt": numbers.negative,
        "seed": job.seeds[0],
        "steps": numbers.steps,
        "cfg_scale": numbers.cfg_scale,
        "width": numbers.width,
        "height": numbers.height,
        "sampler_name": "DDIM",
        "scheduler": "Automatic",
        "alwayson_scripts": {"CLoRA": {"args": [{**named, "bindings": [asked(binding) for binding in bindings]}]}},
    }


class Verdicts:
    """Judges a picture of a job as the benchmark does."""

    def __init__(self, subject: folder.Subject) -> None:
        self.judge = subject.load_judge()
        self.eye = Extractors.load(subject, "cpu").eye

    def __call__(self, job: Job, image: Image.Image) -> Mapping[str, Any]:
        """``found``, ``subjects`` and ``all`` as in a line of the benchmark."""
        things = find(self.judge, [image])[0]
        shapes = regions.silhouettes(self.eye, np.asarray(image)[None], [things], regions.ink_of(job.prompt))[0]
        style = regions.style(job.prompt, shapes, things, job.prompt.wanted)
        return judged(things, job.prompt, job.prompt.wanted, style)


def model_of(subject: folder.Subject) -> Model:
    """The world's checkpoint with all its LoRAs, for a WebUI."""
    loras = tuple(path for one in subject.loras for path in sorted(one.glob("*.safetensors")))
    return Model(subject.checkpoint, subject.config, subject.tokenizer, loras)


def chosen_jobs(world: World, row: str, cases: int) -> list[Job]:
    """The first prompts of all reported splits in turn, drawn by a row of the table, one seed each."""
    reported = prompts.read(world.beside(prompts.REPORTED))
    method = table(*tuned_of(world))[row]
    chosen = list(interleaved(reported.prompts))[:cases]
    return [Job(prompt, method, seeds_of(prompt, 1), reported.sampling) for prompt in chosen]


def compare(host: WebUI, subject: folder.Subject, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """One entry a case: both verdicts and how far apart the pictures are, of 255."""
    model, library = load(subject.checkpoint, subject.config, subject.tokenizer), Library(*subject.loras)
    verdict, cases = Verdicts(subject), []
    for job in tqdm(jobs, unit="case"):
        (ours,) = draw(model, library, job)[0].images
        bindings = weighed(job, bound(library, job))
        theirs = host.txt2img(**payload(job, bindings)).images[0].convert("RGB")
        apart = np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int))
        said = [verdict(job, image) for image in (ours, theirs)]
        cases.append(
            {
                "prompt": job.prompt.id,
                "seed": job.seeds[0],
                "embedded": {name: said[0][name] for name in ("all", "found")},
                "webui": {name: said[1][name] for name in ("all", "found")},
                "agree": said[0]["all"] == said[1]["all"] and sorted(said[0]["found"]) == sorted(said[1]["found"]),
                "largest": int(apart.max()),
                "mean": round(float(apart.mean()), 4),
            }
        )
    return cases


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 if at least ``AGREEING`` of ``CASES`` agree, 1 if not, 2 without a WebUI."""
    parser = argparse.ArgumentParser(description="Do both hosts get the same verdicts?")
    parser.add_argument("--row", default="balanced", help="row of the table")
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--out", type=Path, help="out/bench/webui.json by default")
    options = runner.world_options(parser).parse_args(arguments)
    webui = find_webui()
    if webui is None or find_python(webui) is None:
        print("A WebUI with its Python is needed: set WEBUI_DIR.", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    world = WORLDS[options.world]
    subject, jobs = folder.tiny_world(world, options.weights), chosen_jobs(world, options.row, options.cases)
    with WebUI(Setup(webui=webui, model=model_of(subject), extensions=(CHECKOUT,), ui=False)) as host:
        cases = compare(host, subject, jobs)
    agreeing = sum(case["agree"] for case in cases)
    row = jobs[0].method
    report = {"row": asdict(row) | {"knobs": dict(row.knobs)}, "agree": agreeing, "of": len(cases), "cases": cases}
    out = options.out or world.beside(runner.OUT) / "webui.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for case in cases:
        print(f"{case['prompt']}: {'agree' if case['agree'] else 'DIFFER'}, at most {case['largest']} of 255 apart")
    print(f"{agreeing} of {len(cases)} verdicts agree")
    return 0 if agreeing * CASES >= AGREEING * len(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
