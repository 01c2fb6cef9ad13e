"""The embedded host's command line."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from clora_ext.errors import CLoRAError, HostError
from clora_ext.hosts.diffusers.checkpoint import Model, PredictionKind, load
from clora_ext.hosts.diffusers.infotext import infotext
from clora_ext.hosts.diffusers.library import Library
from clora_ext.hosts.diffusers.pipeline import Picture, generate
from clora_ext.hosts.diffusers.samplers import SAMPLERS
from clora_ext.settings.knobs import KNOBS
from clora_ext.settings.profiles import DEFAULT, METHODS, PROFILES
from clora_ext.settings.request import JobRequest, read_request

WORLD = Path(__file__).resolve().parents[3] / "tiny_world" / "weights"
"""The model that ships with the project."""
DTYPES = {"half": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
PREDICTIONS: Mapping[str, PredictionKind] = {"eps": "epsilon", "v": "v_prediction"}


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
    made.add_argument("--sampler", default="DDIM", choices=SAMPLERS, help="as WebUI calls it")
    made.add_argument("--size", help="width x height; what the model was trained on by default")
    made.add_argument("--profile", default=DEFAULT, help=", ".join(PROFILES))
    made.add_argument("--method", default="clora", help=", ".join(METHODS))
    made.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the method")
    made.add_argument("--bind", action="append", default=[], metavar="'LORA: subject'", help="bind by hand")
    made.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures")
    made.add_argument("--replay", action="store_true", help="late steps as a CUDA graph: faster on a fast GPU")
    add_model_options(made)
    return made


def add_model_options(made: argparse.ArgumentParser) -> None:
    """Those that say which model, which LoRAs beside it, and how it computes."""
    group = made.add_argument_group("model")
    group.add_argument(
        "--checkpoint",
        type=Path,
        default=WORLD / "tiny-world.safetensors",
        help="safetensors of Stable Diffusion 1.x, 2.x or SDXL",
    )
    group.add_argument("--config", type=Path, help="its yaml; beside the checkpoint, or of its kind, by default")
    group.add_argument("--tokenizer", type=Path, help="folder; tokenizer/ beside the checkpoint by default")
    group.add_argument("--lora-dir", action="append", type=Path, help="folder of LoRAs; lora/ and lora-b/ by default")
    group.add_argument("--device", default="cpu", help="such as cuda")
    group.add_argument("--dtype", choices=DTYPES, help="half on a GPU, float32 on the CPU by default")
    group.add_argument("--prediction", choices=PREDICTIONS, help="for a model whose files do not tell")
    group.add_argument("--zero-terminal-snr", action="store_true", help="for a model whose file does not tell")


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
    size = read_size(options.size) if options.size else None
    model = asked_model(options)
    width, height = size or (model.size, model.size)
    library = asked_library(options)
    pictures = [
        Picture(
            options.prompt,
            options.negative,
            (seed,),
            options.steps,
            options.cfg_scale,
            width=width,
            height=height,
            sampler=options.sampler,
        )
        for seed in range(options.seed, options.seed + options.count)
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    return [_draw(model, library, picture, request, options) for picture in pictures]


def _draw(model: Model, library: Library, picture: Picture, request: JobRequest, options: argparse.Namespace) -> Path:
    (seed,) = picture.seeds
    with tqdm(desc=f"seed {seed}", unit="step") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        result = generate(model, library, picture, request.settings, request.bindings, progress, replay=options.replay)
    words = PngInfo()
    name, snr = options.checkpoint.stem, model.zero_terminal_snr
    words.add_text("parameters", infotext(picture, seed, name, request, zero_terminal_snr=snr))
    path: Path = options.out / f"{request.settings.method}-{seed}.png"
    result.images[0].save(path, pnginfo=words)
    return path


def asked_library(options: argparse.Namespace) -> Library:
    """The LoRAs of the folders that are asked for, or of those beside the checkpoint."""
    folder = options.checkpoint.parent
    return Library(*(options.lora_dir or (folder / "lora", folder / "lora-b")))


def asked_model(options: argparse.Namespace) -> Model:
    """The model, on its device. Raises ``HostError`` where there is none."""
    try:
        device = torch.zeros(0, device=options.device).device
    except (AssertionError, RuntimeError) as error:  # what torch raises depends on how it was built
        msg = f"There is no device “{options.device}” here; choose another, such as cpu."
        raise HostError(msg) from error
    usual = "float32" if device.type == "cpu" else "half"
    return load(
        options.checkpoint,
        options.config,
        options.tokenizer,
        device=options.device,
        dtype=DTYPES[options.dtype or usual],
        prediction=PREDICTIONS[options.prediction] if options.prediction else None,
        zero_terminal_snr=options.zero_terminal_snr,
    )


def _request(options: argparse.Namespace) -> JobRequest:
    knobs = dict(pair.partition("=")[::2] for pair in options.set)
    return read_request(
        {"profile": options.profile, "method": options.method, "bindings": "\n".join(options.bind), **knobs},
    )


def read_size(text: str) -> tuple[int, int]:
    """Width and height. Raises ``CLoRAError`` for what is no size."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        msg = f"“{text}” is no size; write width x height, such as 128x128."
        raise CLoRAError(msg, field="size")
    return int(width), int(height)
