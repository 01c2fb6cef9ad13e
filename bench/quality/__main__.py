"""`python -m bench.quality`: draws, judges and reports; `make bench-quality`."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.quality import folder, labels, markdown, prompts, report, runner, summary
from bench.quality.jobs import Job, plan
from bench.quality.methods import COSTLY, Method, table, tuned_of, variants
from bench.quality.prompts import Prompt, PromptSet
from bench.quality.protocol import reference_jobs
from bench.quality.runner import Runner
from bench.quality.store import Store
from bench.quality.worker import Setup
from clora_ext.errors import CLoRAError
from clora_ext.hosts.diffusers.library import Library
from clora_ext.settings.profiles import METHODS, PROFILES
from tiny_world.worlds import WORLDS, World

COSTLY_SPLITS = ("two", "same_class")
MODES = {"quick": (2, 4, 0), "default": (4, 8, 10), "full": (10, 50, 1000)}
"""Seeds a prompt, references a LoRA, prompts of a split whose leakage is measured."""


def parser() -> argparse.ArgumentParser:
    """All options; the variables of `make` are their defaults."""
    given = os.environ.get
    made = argparse.ArgumentParser(prog="python -m bench.quality", description="Does it compose? Draw, judge, report.")
    made.add_argument("--mode", choices=MODES, default=_mode())
    made.add_argument("--folder", type=Path, default=given("FOLDER"), help="your own checkpoint, LoRAs and prompts")
    made.add_argument("--beside", action="append", default=[], metavar="NAME=FILE", help="rows of another run's json")
    made.add_argument("--prompts", type=Path, help="another file of prompts")
    made.add_argument("--rows", default=given("ROWS", ""), help="only these rows of the table, by commas")
    made.add_argument("--seeds", type=int, default=int(given("SEEDS") or 0), help="pictures a prompt")
    runner.options(made)
    return made


def _mode() -> str:
    return "full" if os.environ.get("FULL") else "quick" if os.environ.get("QUICK") else "default"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when everything was drawn, 3 when time ran out before."""
    options = parser().parse_args(arguments)
    try:
        return run(options)
    except CLoRAError as error:
        print(f"CLoRA: {error.detail}", file=sys.stderr)
        return 2


def run(options: argparse.Namespace) -> int:
    """Draw what is missing, then write quality.json, quality.md and quality.html."""
    world, options.out = WORLDS[options.world], runner.out_of(options)
    subject = folder.from_folder(options.folder) if options.folder else folder.tiny_world(world, options.weights)
    default = options.folder / "prompts.json" if options.folder else world.beside(prompts.REPORTED)
    asked = prompts.read(options.prompts or default)
    setup = Setup(subject, options.device, options.dtype)
    seeds, pictures, leaking = MODES[options.mode]
    seeds = options.seeds or seeds
    rows = chosen_rows(options.rows, options.mode, world)
    asked = PromptSet(asked.name, asked.sampling, chosen_prompts(asked, options.mode, setup))
    jobs = plan(asked.prompts, rows, seeds, asked.sampling, only=shown_on(rows, options, asked), leaking=leaking)
    alone = references_of(setup, asked, pictures, table(*tuned_of(world))["single"].weight)
    store = Store(options.out / "quality.jsonl")
    with Runner(setup, store, options) as running:
        complete = running.draw([*jobs, *alone])
    options.out.mkdir(parents=True, exist_ok=True)
    lines = [store.lines[key] for job in alone for seed in job.seeds if (key := job.key(seed, setup.world)) in store]
    tabled = summary.collect(jobs, store.lines, setup.world)
    found = summary.about(
        asked, rows, subject.hashes() | subject.lora_hashes(), mode=options.mode, seeds=seeds, device=options.device
    ) | {"complete": complete}  # fmt: skip
    found |= summary.summarise(asked, tabled, lines)
    for pair in options.beside:
        name, _, path = pair.partition("=")
        others = json.loads(Path(path).read_text(encoding="utf-8"))["methods"]
        found["methods"] |= {f"{row}, {name}": others[row] for row in others if row in ("base", *PROFILES, *METHODS)}
    if (judge := subject.load_judge()) and (labelled := world.beside(labels.LABELS)).is_file():
        found["judge"] = labels.matrix(judge, labels.load(labelled))
    (options.out / "quality.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    parts = (markdown.table(found), markdown.strengths(found), markdown.differences(found))
    text = "\n".join(filter(None, parts)) if found["methods"] else "nothing drawn yet\n"
    (options.out / "quality.md").write_text(text, encoding="utf-8")
    (options.out / "quality.html").write_text(report.page(found, asked, tabled), encoding="utf-8")
    print(f"{text}\n{options.out / 'quality.html'}" + ("" if complete else "\nnot complete: run it again to go on"))
    return 0 if complete else 3


def chosen_rows(names: str, mode: str, world: World) -> dict[str, Method]:
    """The rows asked for. Raises ``CLoRAError`` for one that is not known."""
    tuned = tuned_of(world)
    usual = table(*tuned)
    if not names:
        return {name: row for name, row in usual.items() if mode != "quick" or name not in COSTLY}
    every = usual | variants(*tuned)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in every:
            msg = f"There is no row “{name}”; known are {', '.join(every)}."
            raise CLoRAError(msg, field="rows")
    return {name: every[name] for name in wanted}


def chosen_prompts(asked: PromptSet, mode: str, setup: Setup) -> tuple[Prompt, ...]:
    """All, or twelve of all splits; those with a style only where somebody can tell a style."""
    found = list(asked.prompts)
    if setup.subject.judge and not setup.subject.eye:
        print("no eye: styles, masks and similarities are left out; python -m bench.quality.eye_train", file=sys.stderr)
        found = [prompt for prompt in found if prompt.style is None]
    if mode != "quick":
        return tuple(found)
    places: dict[str, int] = {}
    ranked = []
    for order, prompt in enumerate(found):
        ranked.append((places.setdefault(prompt.split, 0), order, prompt))
        places[prompt.split] += 1
    return tuple(prompt for _, _, prompt in sorted(ranked, key=lambda entry: entry[:2])[:12])


def shown_on(rows: Mapping[str, Method], options: argparse.Namespace, asked: PromptSet) -> dict[str, tuple[str, ...]]:
    """Splits of the rows that are not drawn everywhere: the costly ones, unless everything is asked for."""
    if options.mode == "full" or options.folder or options.prompts:
        return {}
    return {name: tuple(s for s in asked.splits if s in COSTLY_SPLITS) for name in rows if name in COSTLY}


def references_of(setup: Setup, asked: PromptSet, count: int, weight: float) -> list[Job]:
    """References, where anybody can compare with them."""
    if not (setup.subject.eye or setup.subject.dino or setup.subject.clip):
        return []
    return reference_jobs(Library(*setup.subject.loras), asked.prompts, count, weight, asked.sampling)


if __name__ == "__main__":
    sys.exit(main())
