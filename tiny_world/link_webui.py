"""`python -m tiny_world.link_webui WEBUI_DIR`: extension, tiny checkpoint and LoRAs in a WebUI."""

from __future__ import annotations

import sys
from pathlib import Path

from .model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS

ROOT = Path(__file__).resolve().parents[1]


def links(webui: Path) -> dict[Path, Path]:
    """Where a link goes in ``webui``, and what it points to."""
    models = webui / "models"
    loras = sorted([*WEIGHTS.glob("lora/*.safetensors"), *WEIGHTS.glob("lora-b/*.safetensors")])
    return {
        webui / "extensions" / "sd-webui-clora": ROOT,
        models / "Stable-diffusion" / CHECKPOINT.name: CHECKPOINT,
        **{models / "Lora" / path.name: path for path in loras},
    }


def link(webui: Path) -> list[Path]:
    """Make the links and the yaml with this machine's tokenizer path. Raises ``SystemExit`` with a sentence."""
    if not (webui / "webui.py").is_file():
        raise SystemExit(f"There is no WebUI in {webui}: name the folder that holds webui.py.")
    made = links(webui)
    for place in made:
        if place.exists() and not place.is_symlink():
            raise SystemExit(f"{place} is there already and is no link; move it away first.")
    for place, target in made.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target.resolve())
    config = webui / "models" / "Stable-diffusion" / CONFIG.name
    config.write_text(CONFIG.read_text(encoding="utf-8").replace("@TOKENIZER@", str(TOKENIZER.resolve())), "utf-8")
    return [*made, config]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m tiny_world.link_webui WEBUI_DIR")
    for path in link(Path(sys.argv[1]).expanduser()):
        print(path)
