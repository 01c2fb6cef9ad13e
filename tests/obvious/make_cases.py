"""Write further reference outputs with the obvious pipeline: `python -m tests.obvious.make_cases [NAME ...]`.

For every case a picture a seed (`<case>-s<seed>.png`) and one `<case>.json` with the job and, for every picture and
step, masks, losses, gradient norms and how near a mask came to flipping. They are of the same kind as the outputs of
the authors' own code (same checkpoint and LoRAs, DDIM, eta 0) and cover what those two do not, at a smaller size.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from torch import Tensor
from transformers import CLIPTokenizer

from . import loras, parity, pipeline
from .step import StepResult

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Subject:
    """A word of the base prompt with its LoRA."""

    lora: str
    subject: str
    weight: float = 1.0
    occurrence: int = 0
    trigger: str = "sks"


@dataclass(frozen=True)
class Case:
    """A scene and the values in which its job differs from the default."""

    name: str
    subjects: tuple[Subject, ...] = (Subject("tinyA", "cat"), Subject("tinyB", "dog"))
    prompt: str = "a cat and a dog"
    negative: str = ""
    style: tuple[pipeline.LoraUse, ...] = ()
    """LoRAs on every branch, the base too."""
    values: dict[str, object] = field(default_factory=dict)


SMALLEST_MARGIN = 1e-5
"""No value of a map (of maximum 1) may lie nearer to its threshold, or rounding could flip a pixel of a mask."""

SMALL = {"width": 256, "height": 256}
THREE = (Subject("tinyA", "cat"), Subject("tinyB", "dog"), Subject("tinyC", "bunny"))

CASES = (
    Case("seed", values={**SMALL, "seeds": (21,), "threshold": 0.6}),
    Case("update", values={"width": 256, "height": 320, "seeds": (3,), "threshold": 0.5, "update_until": 5}),
    Case(
        "three",
        subjects=THREE,
        prompt="a cat and a dog and a bunny",
        values={**SMALL, "seeds": (4,), "threshold": 0.6, "update_until": 5},
    ),
    Case(
        "weights",
        subjects=(Subject("tinyA", "cat", weight=0.7), Subject("tinyB", "dog", weight=1.2)),
        values={**SMALL, "seeds": (5,), "threshold": 0.6, "update_until": 5},
    ),
    Case("lambda", values={**SMALL, "seeds": (6,), "threshold": 0.4, "update_until": 9}),
    Case(
        "rounds",
        values={
            **SMALL,
            "seeds": (7,),
            "threshold": 0.5,
            "update_until": 5,
            "extra_steps": (0, 2),
            "extra_rounds": 2,
        },
    ),
    Case(
        "style",
        style=(pipeline.LoraUse("tinyStyle", 0.8),),
        values={**SMALL, "seeds": (8,), "threshold": 0.6, "update_until": 5},
    ),
    Case("batch", values={**SMALL, "seeds": (9, 10), "threshold": 0.5, "update_until": 5}),
    Case(
        "negative",
        negative="blurry photo",
        values={**SMALL, "seeds": (11,), "guidance": 5.0, "threshold": 0.6, "update_until": 5},
    ),
    Case(
        "twins",
        subjects=(Subject("tinyA", "cat"), Subject("tinyB", "cat", occurrence=1)),
        prompt="a cat and a cat",
        values={**SMALL, "seeds": (12,), "threshold": 0.6, "update_until": 5},
    ),
    Case(
        "one",
        subjects=(Subject("tinyA", "cat"),),
        values={**SMALL, "seeds": (13,), "threshold": 0.6, "update_until": 5},
    ),
    Case(
        "conv",
        subjects=(Subject("tinyA", "cat"), Subject("tinyConv", "dog")),
        values={"width": 320, "height": 256, "seeds": (14,), "threshold": 0.6, "update_until": 5},
    ),
)
"""All at 10 steps (9 UNet calls), guidance 7.5 unless said, alpha 20, tau 0.5."""


# --- from a scene to a job --------------------------------------------------------------------------------------------


def insert_trigger(prompt: str, subject: Subject) -> str:
    """The prompt with the trigger before the subject, which is one of the prompt's blank-separated words."""
    words = prompt.split(" ")
    place = [i for i, word in enumerate(words) if word == subject.subject][subject.occurrence]
    return " ".join([*words[:place], subject.trigger, *words[place:]])


def branch_tokens(tokenizer: CLIPTokenizer, text: str, subject: Subject, *, own: bool) -> list[int]:
    """Positions of a subject's tokens in a branch's text; in its own branch those of its trigger before them."""
    if own:
        count = len(pipeline.find_tokens(tokenizer, f"{subject.trigger} {subject.subject}", subject.subject))
        place = pipeline.find_tokens(tokenizer, text, subject.subject, subject.occurrence)
        trigger = pipeline.find_tokens(tokenizer, text, subject.trigger)
        if len(place) != count or trigger[-1] + 1 != place[0]:
            raise ValueError(f"The trigger does not stand right before {subject.subject!r} in {text!r}.")
        return [*trigger, *place]
    return pipeline.find_tokens(tokenizer, text, subject.subject, subject.occurrence)


def case_job(case: Case, tokenizer: CLIPTokenizer) -> pipeline.Job:
    """The job of a case: one branch a subject, whose trigger stands in its own branch only."""
    texts = [case.prompt, *(insert_trigger(case.prompt, subject) for subject in case.subjects)]
    own_loras = [(), *((pipeline.LoraUse(subject.lora, subject.weight),) for subject in case.subjects)]
    groups = [
        tuple(tuple(branch_tokens(tokenizer, text, subject, own=branch == k)) for branch, text in enumerate(texts))
        for k, subject in enumerate(case.subjects, start=1)
    ]
    return pipeline.Job(
        branches=tuple(
            pipeline.BranchSpec(text, case.negative, own + case.style)
            for text, own in zip(texts, own_loras, strict=True)
        ),
        groups=tuple(groups),
        mask_tokens=((), *(group[k] for k, group in enumerate(groups, start=1))),
        **case.values,
    )


# --- what is written --------------------------------------------------------------------------------------------------


def mask_text(mask: Tensor) -> str:
    """A mask [h, w] as rows of 0 and 1 with a blank between rows."""
    return " ".join("".join(str(int(value)) for value in row) for row in mask)


def relative_margin(step: StepResult, job: pipeline.Job) -> float:
    """Smallest |A / max A - threshold| of the tokens that masks are made of."""
    values = [
        float((step.maps[branch][token] / step.maps[branch][token].max() - job.threshold).abs().min())
        for branch, tokens in enumerate(job.mask_tokens)
        for token in tokens
    ]
    return min(values)


def step_report(step: StepResult, job: pipeline.Job) -> dict[str, object]:
    """What a step did, for the JSON."""
    return {
        "losses": list(step.losses),
        "gradient_norms": [float(gradient.norm()) for gradient in step.gradients],
        "cover": [round(float(mask.mean()), 4) for mask in step.masks],
        "margin": relative_margin(step, job),
        "masks": [mask_text(mask) for mask in step.masks],
    }


def write_case(case: Case, model: pipeline.Model, files: dict[str, Path], folder: Path) -> None:
    """Run one case and write its pictures and its JSON; raises ValueError if a mask depends on rounding."""
    job = case_job(case, model.tokenizer)
    begin = time.time()

    def refuse_thin(index: int, step: StepResult) -> None:
        if relative_margin(step, job) <= SMALLEST_MARGIN:
            raise ValueError(f"{case.name}: a mask nearly flips at step {index}; choose another seed.")

    pictures = pipeline.run(model, job, files, refuse_thin)
    names = sorted({use.name for branch in job.branches for use in branch.loras})
    for picture in pictures:
        Image.fromarray(picture.pixels).save(folder / f"{case.name}-s{picture.seed}.png", optimize=True)
    report = {
        "case": case.name,
        "prompt": case.prompt,
        "negative": case.negative,
        "subjects": [dataclasses.asdict(subject) for subject in case.subjects],
        "style": [dataclasses.asdict(use) for use in case.style],
        "job": dataclasses.asdict(job),
        "loras": {name: loras.fingerprint(files[name]) for name in names},
        "pictures": [
            {"seed": picture.seed, "steps": [step_report(step, job) for step in picture.steps]} for picture in pictures
        ],
    }
    (folder / f"{case.name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    margins = [relative_margin(step, job) for picture in pictures for step in picture.steps]
    cover = report["pictures"][0]["steps"][0]["cover"]
    print(f"{case.name}: {time.time() - begin:.0f} s, smallest margin {min(margins):.1e}, cover {cover}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the cases that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(case.name for case in CASES)}; all if none is given")
    parser.add_argument("--out", type=Path, default=CHECKOUT / "tests" / "golden" / "obvious")
    parser.add_argument("--loras", type=Path, default=CHECKOUT / "out" / "obvious-loras", help="where LoRAs are made")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - {case.name for case in CASES}
    if unknown:
        parser.error(f"no case named {', '.join(sorted(unknown))}")

    folder = parity.parity_folder()
    model = parity.load_parity_model(folder)
    files = parity.parity_loras(folder)
    files |= loras.write_loras(options.loras, files["tinyA"])
    options.out.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        if not options.names or case.name in options.names:
            write_case(case, model, files, options.out)


if __name__ == "__main__":
    main()
