"""The embedded host's command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from clora_ext.errors import CLoRAError
from clora_ext.hosts.diffusers.checkpoint import load
from clora_ext.hosts.diffusers.infotext import infotext
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.pipeline import Picture, generate
from clora_ext.settings.knobs import KNOBS
from clora_ext.settings.profiles import METHODS, PROFILES
from clora_ext.settings.request import JobRequest, read_request

WORLD = Path(__file__).resolve().parents[3] / "tiny_world" / "weights"
"""The model that ships with the project."""


def parser() -> argparse.ArgumentParser:
    """All options."""
    made = argparse.ArgumentParser(
        prog="python -m clora_ext",
        description="Draw several LoRAs into one picture, each on its own subject.",
        epilog="Settings for --set: " + ", ".join(knob.name for knob in KNOBS),
    )
    made.add_argument("prompt", help="positive prompt with <lora:name:weight> tags")
    made.add_argument("--negative", default="", help="negative prompt")
    made.add_argument("--seed", type=int, default=1, help="seed of the first picture")
    made.add_argument("--count", type=int, default=1, help="how many pictures, seed after seed")
    made.add_argument("--steps", type=int, default=20)
    made.add_argument("--cfg-scale", type=float, default=4.0)
    made.add_argument("--size", default="128x128", help="width x height")
    made.add_argument("--profile", default="balanced", help=", ".join(PROFILES))
    made.add_argument("--method", default="clora", help=", ".join(METHODS))
    made.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the method")
    made.add_argument("--bind", action="append", default=[], metavar="'LORA: subject'", help="bind by hand")
    made.add_argument("--checkpoint", type=Path, default=WORLD / "tiny-world.safetensors", help="ldm layout")
    made.add_argument("--config", type=Path, help="ldm yaml; beside the checkpoint by default")
    made.add_argument("--tokenizer", type=Path, help="folder; tokenizer/ beside the checkpoint by default")
    made.add_argument("--lora-dir", action="append", type=Path, help="folder of LoRAs; lora/ and lora-b/ by default")
    made.add_argument("--device", default="cpu")
    made.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw and save; gives the exit status. What is wrong with the request is said in a sentence."""
    options = parser().parse_args(arguments)
    try:
        for path in draw(options):
            print(path)
    except CLoRAError as error:
        print(f"CLoRA: {error.detail}", file=sys.stderr)
        return 2
    return 0


def draw(options: argparse.Namespace) -> list[Path]:
    """The pictures' paths. Raises ``CLoRAError``."""
    request = _request(options)
    width, height = _size(options.size)
    folder = options.checkpoint.parent
    model = load(
        options.checkpoint,
        options.config or options.checkpoint.with_suffix(".yaml"),
        options.tokenizer or folder / "tokenizer",
        device=options.device,
    )
    library = Library(*(options.lora_dir or (folder / "lora", folder / "lora-b")))
    options.out.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for seed in range(options.seed, options.seed + options.count):
        picture = Picture(
            options.prompt, options.negative, (seed,), options.steps, options.cfg_scale, width=width, height=height
        )
        with tqdm(desc=f"seed {seed}", unit="step") as bar:

            def progress(done: int, total: int, bar: "tqdm[NoReturn]" = bar) -> None:
                bar.total = total
                bar.update(done - bar.n)

            result = generate(model, library, picture, request.settings, request.bindings, progress)
        words = PngInfo()
        words.add_text("parameters", infotext(picture, seed, options.checkpoint.stem, request))
        path = options.out / f"{request.settings.method}-{seed}.png"
        result.images[0].save(path, pnginfo=words)
        paths.append(path)
    return paths


def _request(options: argparse.Namespace) -> JobRequest:
    knobs = dict(pair.partition("=")[::2] for pair in options.set)
    return read_request(
        {"profile": options.profile, "method": options.method, "bindings": "\n".join(options.bind), **knobs},
    )


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        msg = f"“{text}” is no size; write width x height, such as 128x128."
        raise CLoRAError(msg, field="size")
    return int(width), int(height)
