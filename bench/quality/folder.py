"""What is judged: a checkpoint, LoRAs, prompts, and the judges there are for them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import clora_ext
from clora_ext.errors import HostError
from tiny_world.judge import Judge
from tiny_world.worlds import FIRST, World

EYE = Path(__file__).resolve().parent / "weights" / "eye.safetensors"


@dataclass(frozen=True, slots=True)
class Subject:
    """Paths of everything that decides what is drawn and how it is judged; None where there is none.

    ``world``: the tiny world that it is, whose judge judges it. ``eye``: the small encoder trained on the first one's
    pictures. ``dino`` and ``clip``: folders that transformers reads.
    """

    checkpoint: Path
    config: Path
    tokenizer: Path
    loras: tuple[Path, ...]
    world: World | None = None
    eye: Path | None = None
    dino: Path | None = None
    clip: Path | None = None

    @property
    def judge(self) -> tuple[Path, ...]:
        """The files of the judge; none where nobody can detect."""
        return self.world.judge_files if self.world else ()

    def load_judge(self) -> Judge | None:
        """The judge of the world, if it is one."""
        return self.world.judge(self.world.weights) if self.world else None

    def hashes(self) -> dict[str, str]:
        """The first 16 hex digits of the SHA-256 of each file but the LoRAs'; of a folder's or a judge's, together."""
        named = {"checkpoint": self.checkpoint, "config": self.config, "tokenizer": self.tokenizer}
        named |= {"eye": self.eye, "dino": self.dino, "clip": self.clip}
        found = {name: digest(path) for name, path in named.items() if path is not None}
        return found | ({"judge": _digest(self.judge)} if self.judge else {})

    def lora_hashes(self) -> dict[str, str]:
        """The same of every LoRA, by its file's stem."""
        return {path.stem: digest(path) for folder in self.loras for path in sorted(folder.glob("*.safetensors"))}


def tiny_world(world: World = FIRST, weights: Path | None = None) -> Subject:
    """One of the project's own small models, or another training of it in a folder of the same layout."""
    weights = weights or world.weights
    world.tokenizer(weights)
    checkpoint = weights / world.checkpoint
    return Subject(
        checkpoint,
        checkpoint.with_suffix(".yaml"),
        weights / "tokenizer",
        tuple(weights / one.folder for one in world.sets),
        world,
        EYE if EYE.is_file() else None,
    )


def from_folder(folder: Path) -> Subject:
    """A user's own folder: one checkpoint with its yaml, tokenizer/, lora/, and perhaps dino/ and clip/.

    Raises ``HostError`` that says what to put there.
    """
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        msg = f"{folder} holds {len(found)} checkpoints (*.safetensors); put exactly one there."
        raise HostError(msg)
    config, tokenizer, loras = found[0].with_suffix(".yaml"), folder / "tokenizer", folder / "lora"
    for path in (config, tokenizer, loras, folder / "prompts.json"):
        if not path.exists():
            msg = f"{folder} has no {path.name}; it needs a checkpoint, its .yaml, tokenizer, lora and prompts.json."
            raise HostError(msg)
    optional = {name: folder / name for name in ("dino", "clip") if (folder / name).is_dir()}
    return Subject(found[0], config, tokenizer, (loras,), **optional)


@cache
def digest(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file, or of a folder's files in order."""
    return _digest([path] if path.is_file() else sorted(found for found in path.rglob("*") if found.is_file()))


@cache
def code() -> str:
    """The same of everything in the extension that decides what the embedded host draws."""
    root = Path(clora_ext.__file__).parent
    return _digest(path for path in sorted(root.rglob("*.py")) if "webui" not in path.parts)


def _digest(paths: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:16]
