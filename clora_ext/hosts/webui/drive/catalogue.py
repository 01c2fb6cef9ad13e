"""The LoRA files that the built-in Lora extension knows, and what their metadata and the user's notes say."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modules import sd_models, shared

from clora_ext.errors import HostError, LoraError
from clora_ext.hosts.webui.drive.families import loaded_family, lora_family
from clora_ext.prompt import LoraFacts


def builtin() -> Any:
    """The built-in Lora extension's module ``networks``. Raises ``HostError`` when the extension is disabled."""
    try:
        import networks
    except ModuleNotFoundError as error:
        msg = "WebUI's built-in extension Lora is disabled; enable it under Extensions and restart."
        raise HostError(msg) from error
    return networks


def file_of(name: str, *, refresh: bool = True) -> Any:
    """The file that ``name`` (or an alias) stands for. Raises ``LoraError`` with near names when there is none.

    ``refresh`` looks into the folder again for a name that is not known.
    """
    found = _known_file(name)
    if found is None and refresh:
        builtin().list_available_networks()
        found = _known_file(name)
    if found is None:
        raise LoraError(f"There is no LoRA “{name}”; {_suggestion(name)}", field="lora")
    return found


def _known_file(name: str) -> Any:
    networks = builtin()
    found = networks.available_networks.get(name)
    if found is None and name.lower() not in networks.forbidden_network_aliases:
        found = networks.available_network_aliases.get(name)
    return found


def _suggestion(name: str) -> str:
    known = sorted(builtin().available_networks)
    near: Sequence[str] = difflib.get_close_matches(name, known, n=5, cutoff=0.3) or known[:5]
    folder = Path(shared.cmd_opts.lora_dir).name
    return f"did you mean {', '.join(near)}?" if near else f"the folder {folder} holds none."


def misfit(name: str, *, refresh: bool = False) -> str | None:
    """A sentence where a LoRA's own metadata names another kind of model than the loaded one; else None.

    Raises ``LoraError`` as ``file_of``.
    """
    loaded = loaded_family(sd_models.model_data.sd_model)
    made_for = lora_family(file_of(name, refresh=refresh).metadata or {})
    if loaded is None or made_for in (None, loaded):
        return None
    return f"LoRA “{name}” is made for {made_for}; the loaded checkpoint is {loaded}."


def lora_facts(name: str, *, refresh: bool = True) -> LoraFacts:
    """What binding wants to know of a LoRA: its names, its activation text, the words of its training tags.

    Raises ``LoraError`` as ``file_of``.
    """
    found = file_of(name, refresh=refresh)
    metadata = found.metadata or {}
    return LoraFacts(
        name=name,
        aliases=_unique([found.name, str(found.alias)]),
        triggers=_unique([_user_note(found.filename), str(metadata.get("modelspec.trigger_phrase", ""))]),
        words=_unique(_training_tags(metadata)),
    )


def _unique(texts: Sequence[str]) -> tuple[str, ...]:
    stripped = [text.strip() for text in texts if text]
    return tuple(dict.fromkeys(text for text in stripped if text))


def _user_note(filename: str) -> str:
    """The activation text that the user has written down for the LoRA (WebUI's json beside the file)."""
    path = Path(filename).with_suffix(".json")
    try:
        read = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return ""  # the host reports a broken file when it lists LoRAs
    note = read.get("activation text", "") if isinstance(read, dict) else ""
    return note if isinstance(note, str) else ""


def _training_tags(metadata: dict[str, Any]) -> list[str]:
    """kohya's ``ss_tag_frequency``: tags by folder."""
    read = metadata.get("ss_tag_frequency", {})
    if isinstance(read, str):
        try:
            read = json.loads(read)
        except ValueError:
            return []
    folders = read.values() if isinstance(read, dict) else []
    tags: list[str] = []
    for folder in folders:
        if isinstance(folder, dict):
            tags.extend(str(tag) for tag in folder)
    return tags
