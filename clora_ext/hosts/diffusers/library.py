"""LoRA files of some folders, by name."""

from pathlib import Path

from clora_ext.errors import LoraError
from clora_ext.lora.files import LoraFile, read_lora
from clora_ext.prompt import LoraFacts


class Library:
    """The LoRAs of ``folders``; every file is read once, when it is asked for."""

    def __init__(self, *folders: Path) -> None:
        self.paths: dict[str, Path] = {}
        for folder in folders:
            self.paths |= {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
        self._files: dict[str, LoraFile] = {}

    def file(self, name: str) -> LoraFile:
        """The LoRA called ``name``. Raises ``LoraError`` with the names there are."""
        if name not in self.paths:
            there = ", ".join(sorted(self.paths)) or "none in the folder"
            raise LoraError(f"There is no LoRA “{name}”; there is {there}.", field="lora")
        if name not in self._files:
            self._files[name] = read_lora(self.paths[name])
        return self._files[name]

    def facts(self, name: str) -> LoraFacts:
        """What binding wants to know of the LoRA. Raises ``LoraError`` as ``file``."""
        file = self.file(name)
        return LoraFacts(name, triggers=(file.trigger,) if file.trigger else ())
