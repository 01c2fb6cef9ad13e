"""The worlds that this package trains, as values: what differs between them, for the one set of trainers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from . import export, model, xl_model
from .caption import caption
from .concepts import CONCEPTS, STYLES, XL_CONCEPTS, XL_STYLES
from .judge import WEIGHTS as JUDGE
from .judge import Judge
from .judge_more import HEAD, MoreJudge
from .noise import noisy_caption
from .scenes import COUNTS, Writer
from .tokenizer import make_tokenizer

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class LoraSet:
    """One training of every LoRA: its folder below the weights, the ending of its titles, and its seed."""

    folder: str
    ending: str
    seed: int


@dataclass(frozen=True)
class World:
    """One world.

    weights: where its finished files are; checkpoint: the name of the one with the networks. architecture and
    kohya_version: what it is called in files' metadata. names: of its LoRAs, concepts and then styles; sets: of them;
    frozen: whether they are never trained again. size: pixels of a picture's side; first_cells: latent cells of a side
    at which the base begins to learn, 0 for its own from the start. focus: by how much a pixel of a named thing counts
    more in the base's training than one of the background. own_autoencoder: whether it trains one, or takes
    the first world's. write: writes captions; noisy: whether with words that draw nothing; places: whether the
    attention of the word for the background is supervised too; shares: of scenes with one to four things that the base
    sees. tokenizer writes the tokenizer of a folder of weights
    where it is missing. build makes fresh networks for such a folder, load reads its finished ones, load_to_learn reads
    them as build makes them, and export writes its files from the states of UNet, autoencoder and text encoder and a
    note. judge reads the judge of its pictures, judge_files are what it reads. ending: of the names of files that every
    world has its own of.
    """

    name: str
    ending: str
    weights: Path
    checkpoint: str
    architecture: str
    kohya_version: str
    names: tuple[str, ...]
    sets: tuple[LoraSet, ...]
    frozen: bool
    size: int
    first_cells: int
    focus: float
    own_autoencoder: bool
    write: Writer
    noisy: bool
    places: bool
    shares: tuple[float, ...]
    tokenizer: Callable[[Path], Any]
    build: Callable[[Path], model.Parts]
    load: Callable[[Path], model.Parts]
    load_to_learn: Callable[[Path], model.Parts]
    export: Callable[[Path, State, State, State, str], None]
    judge: Callable[[Path], Judge]
    judge_files: tuple[Path, ...]

    def beside(self, path: Path) -> Path:
        """This world's own file or folder, by the path of the first world's."""
        return path.with_name(f"{path.stem}{self.ending}{path.suffix}")


def first_judge(weights: Path) -> Judge:
    """The judge of a folder of weights of the first world."""
    return Judge.load(weights / JUDGE.name)


def xl_judge(weights: Path) -> Judge:
    """The first world's judge with the names of a folder of weights of the other world."""
    return MoreJudge.load_with_head(weights / HEAD)


FIRST = World(
    name="first",
    ending="",
    weights=model.WEIGHTS,
    checkpoint=model.CHECKPOINT.name,
    architecture="stable-diffusion-v1",
    kohya_version="sd_v1",
    names=(*CONCEPTS, *STYLES),
    sets=(LoraSet("lora", "", 11), LoraSet("lora-b", "-b", 12)),
    frozen=False,
    size=128,
    first_cells=0,
    focus=0.0,
    own_autoencoder=True,
    write=caption,
    noisy=False,
    places=False,
    shares=COUNTS,
    tokenizer=make_tokenizer,
    build=model.build_parts,
    load=model.load_folder,
    load_to_learn=model.load_folder,
    export=export.export,
    judge=first_judge,
    judge_files=(JUDGE,),
)
XL = World(
    name="xl",
    ending="-xl",
    weights=xl_model.XL_WEIGHTS,
    checkpoint=xl_model.XL_CHECKPOINT.name,
    architecture="stable-diffusion-xl-v1-base",
    kohya_version="sdxl_base_v1-0",
    names=(*XL_CONCEPTS, *XL_STYLES),
    sets=(LoraSet("lora", "-xl", 21),),
    frozen=True,
    size=xl_model.SIDE,
    first_cells=16,
    focus=2.0,
    own_autoencoder=False,
    write=noisy_caption,
    noisy=True,
    places=True,
    shares=(0.25, 0.3, 0.25, 0.2),
    tokenizer=xl_model.tokenizer_folder,
    build=xl_model.build,
    load=xl_model.load,
    load_to_learn=xl_model.load_to_learn,
    export=xl_model.export,
    judge=xl_judge,
    judge_files=(JUDGE, xl_model.XL_WEIGHTS / HEAD),
)
WORLDS: dict[str, World] = {world.name: world for world in (FIRST, XL)}
"""By the name that WORLD= takes."""
