"""`python -m tiny_world.link_webui WEBUI_DIR`: extension, tiny checkpoints and LoRAs in a WebUI."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS
from .xl_model import XL_CHECKPOINT, XL_CONFIG, XL_WEIGHTS, tokenizer_folder

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "out", "__pycache__")
"""What a copy of the extension does without."""


def links(webui: Path) -> dict[Path, Path]:
    """Where a link goes in ``webui``, and what it points to."""
    models = webui / "models"
    folders = (WEIGHTS / "lora", WEIGHTS / "lora-b", XL_WEIGHTS / "lora")
    loras = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
    return {
        webui / "extensions" / "sd-webui-clora": ROOT,
        **{models / "Stable-diffusion" / path.name: path for path in (CHECKPOINT, XL_CHECKPOINT)},
        **{models / "Lora" / path.name: path for path in loras},
    }


def link(webui: Path) -> list[Path]:
    """Make the links and the yamls with this machine's tokenizer path. Raises ``SystemExit`` with a sentence."""
    if not (webui / "webui.py").is_file():
        raise SystemExit(f"There is no WebUI in {webui}: name the folder that holds webui.py.")
    made = links(webui)
    for place, target in made.items():
        if place.exists() and not place.is_symlink() and not there(place, target):
            raise SystemExit(f"{place} is there already and is no link of ours; move it away first.")
    for place, target in made.items():
        put(place, target.resolve())
    return [*made, _config(webui, CONFIG, TOKENIZER), _config(webui, XL_CONFIG, tokenizer_folder())]


def _config(webui: Path, source: Path, tokenizer: Path) -> Path:
    """Write a model's yaml with this machine's tokenizer path."""
    config = webui / "models" / "Stable-diffusion" / source.name
    config.write_text(source.read_text(encoding="utf-8").replace("@TOKENIZER@", str(tokenizer.resolve())), "utf-8")
    return config


def there(place: Path, target: Path) -> bool:
    """Whether ``place`` is ``target`` already: a link or junction to it, or a copy of the file."""
    if place.resolve() == target.resolve():
        return True
    return place.is_file() and target.is_file() and filecmp.cmp(place, target, shallow=False)


def put(place: Path, target: Path) -> None:
    """Link ``target`` at ``place``, in the place of an older link; where no link can be made, a junction or a copy."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink():
        place.unlink()
    if place.exists():
        return
    try:
        place.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:  # Windows asks for a right that few accounts have
        _copy(place, target)


def _copy(place: Path, target: Path) -> None:
    if target.is_file():
        shutil.copy2(target, place)
    elif not junction(place, target):
        shutil.copytree(target, place, ignore=LEFT_OUT)


def junction(place: Path, target: Path, system: str = os.name) -> bool:
    """Make a directory junction on Windows, for which everybody has the right; whether there is one now."""
    if system != "nt":
        return False
    words = ["cmd", "/c", "mklink", "/J", str(place), str(target)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m tiny_world.link_webui WEBUI_DIR")
    for path in link(Path(sys.argv[1]).expanduser()):
        print(path)
