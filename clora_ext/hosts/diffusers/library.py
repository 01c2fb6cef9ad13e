"""LoRA files of some folders, by name."""

from pathlib import Path

from clora_ext.errors import LoraError
from clora_ext.lora.files import LoraFile, read_lora
from clora_ext.merge.recipe import triggers_of
from clora_ext.prompt import LoraFacts, lora_key


class Library:
    """The LoRAs of ``folders``; every file is read once, when it is asked for."""

    def __init__(self, *folders: Path) -> None:
        self.paths: dict[str, Path] = {}
        for folder in folders:
            self.paths |= {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
        self._files: dict[str, LoraFile] = {}

    def file(self, name: str) -> LoraFile:
        """The LoRA called ``name``, whatever its capitals. Raises ``LoraError`` with the names there are."""
        known = self._find(name)
        if known not in self._files:
            self._files[known] = read_lora(self.paths[known])
        return self._files[known]

    def path(self, name: str) -> Path:
        """Where the LoRA called ``name`` is. Raises ``LoraError`` as ``file``."""
        return self.paths[self._find(name)]

    def _find(self, name: str) -> str:
        """The file that ``name`` stands for, with a folder and an ending or without."""
        if name in self.paths:
            return name
        for known in self.paths:
            if lora_key(known) == lora_key(name):
                return known
        there = ", ".join(sorted(self.paths)) or "none in the folder"
        raise LoraError(f"There is no LoRA “{name}”; there is {there}.", field="lora")

    def facts(self, name: str) -> LoraFacts:
        """What binding wants to know of the LoRA. Raises ``LoraError`` as ``file``."""
        file = self.file(name)
        parts = triggers_of(file.metadata)
        return LoraFacts(self._find(name), triggers=parts or tuple(filter(None, [file.trigger])), parts=parts)
