"""``python -m clora_ext merge``: several LoRAs into one file."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from tqdm import tqdm

from clora_ext.engine.device import peak_bytes
from clora_ext.errors import CLoRAError, LoraError
from clora_ext.hosts.diffusers.cli import add_model_options, asked_library, asked_model, read_size
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.merging import DrawnFeatures
from clora_ext.merge.baselines import BASELINES
from clora_ext.merge.inputs import Ingredient
from clora_ext.merge.job import MergeJob, MergeRequest
from clora_ext.merge.methods import MERGE_METHODS
from clora_ext.merge.output import PRECISIONS, OutputForm
from clora_ext.merge.run import BUDGET
from clora_ext.merge.work import Base


def merge_parser() -> argparse.ArgumentParser:
    """All options."""
    made = argparse.ArgumentParser(
        prog="python -m clora_ext merge",
        description="Merge LoRAs into one file, in which each is still itself. Ended at any moment, the same command"
        " goes on where it was.",
    )
    made.add_argument("lora", nargs="+", metavar="LORA[=RATIO]", help="a file, or a name in the folder of LoRAs")
    made.add_argument("--out", type=Path, required=True, help="the merged file")
    made.add_argument("--overwrite", action="store_true", help="even if it is there already")
    made.add_argument(
        "--trigger", action="append", default=[], metavar="'LORA: words'", help="by default the file's own"
    )
    made.add_argument("--method", default="default", choices=[*MERGE_METHODS, *BASELINES])
    _add_learning(made)
    _add_output(made)
    add_model_options(made)
    return made


def _add_learning(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("what is learnt from")
    group.add_argument("--prompt", action="append", metavar="'a {}'", help="{} is the trigger; the first is drawn")
    group.add_argument("--held-prompt", action="append", metavar="'a {}'", help="to judge by; the first is drawn")
    group.add_argument("--steps", type=int, default=20, help="of each picture")
    group.add_argument("--size", help="width x height; what the model was trained on by default")
    group.add_argument(
        "--joint-steps", type=int, help="of all layers together; by default 100 for each LoRA, 0 is none"
    )
    group.add_argument("--memory", type=float, default=BUDGET / 2**30, help="GiB that may be kept of layers' inputs")


def _add_output(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("the file")
    group.add_argument("--rank", type=int, help="of every layer; by default as much as a layer needs")
    group.add_argument("--conv-rank", type=int, help="the same of convolutions larger than 1x1")
    group.add_argument("--full", action="store_true", help="whole differences instead of low rank")
    group.add_argument("--precision", default="fp16", choices=PRECISIONS)


def merge_main(arguments: Sequence[str]) -> int:
    """Merge and save; gives the exit status. What is wrong with the request is said in a sentence."""
    options = merge_parser().parse_args(arguments)
    try:
        print(merge(options))
    except CLoRAError as error:
        print(f"CLoRA: {error.detail}", file=sys.stderr)
        return 2
    return 0


def merge(options: argparse.Namespace) -> Path:
    """The merged file's path. Raises ``CLoRAError``."""
    job = MergeJob(_request(options), lambda: _base(options))
    for note in (*job.notes, f"{len(job.loras)} LoRAs; merging them {job.room}"):
        _say(f"{note}.")
    with tqdm(unit="part", desc=options.method, total=job.work.total) as bar:
        report = job.run(lambda _: bar.update())
    peak = peak_bytes(torch.device(options.device))
    told = [] if peak is None else [f"{peak / 1e6:,.0f} MB of memory at most, the model's included"]
    for line in (*report.lines(), *told, f"{report.seconds:.0f} s"):
        _say(line)
    return report.path


def _say(what: str) -> None:
    print(f"CLoRA: {what}", file=sys.stderr)


# -- what goes in ------------------------------------------------------------------------------------------------------


def _ingredients(options: argparse.Namespace, library: Library) -> tuple[Ingredient, ...]:
    said = {name.strip(): words.strip() for name, _, words in (each.partition(":") for each in options.trigger)}
    found = [_ingredient(text, library, said) for text in options.lora]
    unknown = set(said) - {ingredient.path.stem for ingredient in found}
    if unknown:
        name = sorted(unknown)[0]
        msg = f"--trigger names {name}, which is not merged: write the LoRA's name before the colon."
        raise LoraError(msg, field="trigger")
    return tuple(found)


def _ingredient(text: str, library: Library, said: Mapping[str, str]) -> Ingredient:
    name, _, ratio = text.rpartition("=") if "=" in text else (text, "", "1")
    try:
        number = float(ratio)
    except ValueError as error:
        raise LoraError(f"“{ratio}” is no ratio; write LORA=0.8.", field="ratio") from error
    path = Path(name)
    path = path if path.is_file() else library.path(name)
    return Ingredient(path, number, said.get(path.stem, ""))


# -- how ---------------------------------------------------------------------------------------------------------------


def _request(options: argparse.Namespace) -> MergeRequest:
    kind: Literal["low_rank", "full"] = "full" if options.full else "low_rank"
    return MergeRequest(
        _ingredients(options, asked_library(options)),
        options.out,
        options.method,
        OutputForm(kind, options.rank, options.conv_rank, dtype=options.precision),
        options.overwrite,
        tuple(options.prompt or ()),
        tuple(options.held_prompt or ()),
        options.steps,
        read_size(options.size)[::-1] if options.size else None,
        int(options.memory * 2**30),
        options.joint_steps,
    )


def _base(options: argparse.Namespace) -> Base:
    file: Path = options.checkpoint
    model = asked_model(options)
    identity = (str(file.resolve()), file.stat().st_mtime_ns, options.device, str(options.dtype))
    return Base(file.name, identity, partial(DrawnFeatures, model))
