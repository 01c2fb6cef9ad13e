"""``python -m clora_ext merge``: several LoRAs into one file."""

import argparse
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import cast

from torch import Tensor
from tqdm import tqdm

from clora_ext.engine.device import peak_bytes
from clora_ext.errors import CLoRAError, LoraError
from clora_ext.hosts.diffusers.cli import add_model_options, asked_library, asked_model, read_size
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.merging import DrawnFeatures
from clora_ext.merge.baselines import BASELINES, BaselineNumbers, merged_layers
from clora_ext.merge.inputs import Ingredient, MergeLora, read_ingredients
from clora_ext.merge.layer import LayerDelta
from clora_ext.merge.metadata import merged_metadata
from clora_ext.merge.methods import MERGE_METHODS
from clora_ext.merge.output import PRECISIONS, OutputForm, write_merged, written_layer
from clora_ext.merge.prompts import AS_RELEASED, PROMPTS, Prompts
from clora_ext.merge.recipe import Part, Recipe
from clora_ext.merge.refusals import checked, most_bytes, require_room
from clora_ext.merge.run import BUDGET, Merge
from clora_ext.merge.store import Store

UNDER_WAY = ".merging"
"""The ending of the folder of a merge that is not over, beside the file that it will write."""
DeltaByLayer = Mapping[str, LayerDelta]


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
    began = time.perf_counter()
    ingredients = _ingredients(options, asked_library(options))
    form = OutputForm("full" if options.full else "low_rank", options.rank, options.conv_rank, dtype=options.precision)
    if options.method in BASELINES:
        loras = _checked(read_ingredients(ingredients), options, form, None)
        deltas: DeltaByLayer = dict(merged_layers(options.method, loras, BaselineNumbers(rank=options.rank)))
    else:
        loras, deltas = _by_inputs(ingredients, options, form)
    _write(options, loras, deltas, form)
    _say(f"{len(deltas)} layers in {time.perf_counter() - began:.0f} s")
    return cast(Path, options.out)


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


def _checked(
    loras: tuple[MergeLora, ...], options: argparse.Namespace, form: OutputForm, family: str | None
) -> tuple[MergeLora, ...]:
    for note in checked(loras, family):
        _say(f"{note}.")
    require_room(options.out, most_bytes(loras, form), loras, overwrite=options.overwrite)
    return loras


# -- by what layers are given ------------------------------------------------------------------------------------------


def _by_inputs(
    ingredients: Sequence[Ingredient], options: argparse.Namespace, form: OutputForm
) -> tuple[tuple[MergeLora, ...], DeltaByLayer]:
    method = MERGE_METHODS[options.method]
    model = asked_model(options)
    family = model.family.value
    modules = DrawnFeatures(model, ()).modules
    weights = {name: cast(Tensor, module.weight).detach() for name, module in modules.items()}
    loras = _checked(read_ingredients(ingredients, family, weights), options, form, family)
    prompts = _prompts(options, AS_RELEASED if method.as_released else PROMPTS)
    size = read_size(options.size)[::-1] if options.size else None
    store = Store(options.out.with_name(options.out.name + UNDER_WAY), _job(options, loras, prompts))
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(unit="part", desc=options.method))
        source = DrawnFeatures(model, [lora.trigger for lora in loras], prompts, options.steps, size)

        def tell(_: str) -> None:
            bar.update()

        work = Merge(loras, source, method, store, int(options.memory * 2**30), tell)
        bar.reset(work.total)
        rooms = f"{work.memory_bytes / 1e6:,.0f} MB of memory and {work.disk_bytes / 1e6:,.0f} MB of disk"
        _say(f"{len(loras)} LoRAs in {len(work.groups)} groups of layers; inputs take {rooms} at most")
        found = work.run()
    errors = [solved.error for solved in found.values()]
    peak = peak_bytes(model.device)
    told = "" if peak is None else f"; {peak / 1e6:,.0f} MB of memory at most, the model's included"
    _say(f"error {sum(errors) / len(errors):.3f}, {max(errors):.3f} in the worst layer{told}")
    return loras, {layer: solved.delta for layer, solved in found.items()}


def _prompts(options: argparse.Namespace, usual: Prompts) -> Prompts:
    learned, held = options.prompt or usual.learned, options.held_prompt or usual.held
    return Prompts(tuple(learned), tuple(held), usual.drawn, usual.concept_alone)


def _job(options: argparse.Namespace, loras: Sequence[MergeLora], prompts: Prompts) -> dict[str, object]:
    """What has to be the same for a merge to go on."""
    files = [(str(lora.ingredient.path.resolve()), lora.ingredient.path.stat().st_mtime_ns) for lora in loras]
    base = (str(options.checkpoint.resolve()), options.checkpoint.stat().st_mtime_ns)
    ratios = [(lora.ingredient.ratio, lora.trigger) for lora in loras]
    how = [options.method, options.steps, options.size, options.memory, options.device, options.dtype]
    return {"files": files, "base": base, "ratios": ratios, "how": how, "prompts": asdict(prompts)}


# -- what comes out ----------------------------------------------------------------------------------------------------


def _write(options: argparse.Namespace, loras: Sequence[MergeLora], deltas: DeltaByLayer, form: OutputForm) -> None:
    layers = {name: written_layer(delta, form) for name, delta in deltas.items()}
    parts = tuple(
        Part(lora.name, lora.ingredient.ratio, lora.trigger, lora.file.metadata.get("sshs_model_hash", ""))
        for lora in loras
    )
    recipe = Recipe(options.method, parts, options.checkpoint.name, {"steps": options.steps, **asdict(form)})
    metadata = merged_metadata(options.out.stem, loras, layers, recipe)
    write_merged(options.out, layers, metadata, overwrite=options.overwrite)
    folder = options.out.with_name(options.out.name + UNDER_WAY)
    if folder.is_dir():
        shutil.rmtree(folder)
