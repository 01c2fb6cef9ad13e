"""Prompts as data, and their reader."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clora_ext.errors import PromptError

HERE = Path(__file__).resolve().parent
TUNING = HERE / "tuning.json"
REPORTED = HERE / "reported.json"


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sampler's numbers, equal for all methods: DDIM steps, guidance, pixels, negative prompt."""

    steps: int = 20
    cfg_scale: float = 4.0
    width: int = 128
    height: int = 128
    negative: str = ""


@dataclass(frozen=True, slots=True)
class Style:
    """A style that the prompt asks for: the LoRA's name and the LoRA of the one subject that wears it, or None."""

    lora: str
    on: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """One composition.

    ``prompt`` has WebUI's LoRA tags; ``subjects`` says what a detector shall find for each LoRA, ``others`` what else
    the prompt names (concepts or classes of the detector; both empty where nobody can detect). ``bindings`` are
    objects as the API takes them.
    """

    id: str
    split: str
    prompt: str
    subjects: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    style: Style | None = None
    bindings: tuple[Mapping[str, Any], ...] = ()

    @property
    def wanted(self) -> tuple[str, ...]:
        """Everything that a detector shall find, the LoRAs' subjects first."""
        return (*self.subjects.values(), *self.others)


@dataclass(frozen=True, slots=True)
class PromptSet:
    """A file of prompts."""

    name: str
    sampling: Sampling
    prompts: tuple[Prompt, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits in the order of the file."""
        return tuple(dict.fromkeys(prompt.split for prompt in self.prompts))


def read(path: Path) -> PromptSet:
    """Read a file of prompts; a plain list of texts will do as ``prompts``.

    Raises ``PromptError`` that says which entry is wrong.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        entries: Sequence[Any] = data["prompts"]
        sampling = Sampling(**data.get("sampling", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path} is no file of prompts ({error}); write {{“prompts”: [{{“prompt”: “a cat <lora:name:1> …”}}]}}."
        raise PromptError(msg, field="prompts") from error
    made = [_prompt(index, entry, path) for index, entry in enumerate(entries)]
    if len({prompt.id for prompt in made}) != len(made):
        msg = f"Two prompts in {path} have the same “id”; give each its own."
        raise PromptError(msg, field="prompts")
    return PromptSet(data.get("name", path.stem), sampling, tuple(made))


def _prompt(index: int, entry: object, path: Path) -> Prompt:
    fields: dict[str, Any] = {"prompt": entry} if isinstance(entry, str) else dict(entry)  # type: ignore[call-overload]
    fields = {"id": f"{index + 1:03}", "split": "all", **fields}
    fields["others"] = tuple(fields.get("others", ()))
    fields["bindings"] = tuple(fields.get("bindings", ()))
    try:
        if fields.get("style"):
            fields["style"] = Style(**fields["style"])
        return Prompt(**fields)
    except TypeError as error:
        msg = f"Entry {index + 1} of {path}: {error}; known are {', '.join(Prompt.__slots__)}."
        raise PromptError(msg, field="prompts") from error


def write(path: Path, name: str, prompts: Sequence[Prompt], sampling: Sampling) -> None:
    """One entry a line, empty fields left out."""
    lines = [
        json.dumps({key: value for key, value in asdict(prompt).items() if value}, ensure_ascii=False)
        for prompt in prompts
    ]
    head = f'{{\n"name": {json.dumps(name)},\n"sampling": {json.dumps(asdict(sampling))},\n"prompts": [\n'
    path.write_text(head + ",\n".join(lines) + "\n]\n}\n", encoding="utf-8")
