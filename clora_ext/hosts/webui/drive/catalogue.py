"""The LoRA files that the built-in Lora extension knows, and what their metadata and the user's notes say."""

import difflib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modules import sd_models, shared

from clora_ext.errors import HostError, LoraError
from clora_ext.hosts.webui.drive.families import loaded_family, lora_family
from clora_ext.merge.recipe import triggers_of
from clora_ext.prompt import LoraFacts, lora_key

ENDINGS = (".safetensors", ".ckpt", ".pt")
"""Of the files that the host lists (extensions-builtin/Lora/networks.py)."""

MOST_TAGS = 300
"""Tags or captions that are read of a file."""

SITE_FILES = (".civitai.info", ".cm-info.json")
"""What Civitai Helper and the Civitai Browser extensions write beside a file that they have loaded."""


def builtin() -> Any:
    """The built-in Lora extension's module ``networks``. Raises ``HostError`` when the extension is disabled."""
    try:
        import networks
    except ModuleNotFoundError as error:
        msg = "WebUI's built-in extension Lora is disabled; enable it under Extensions and restart."
        raise HostError(msg) from error
    return networks


def file_of(name: str, *, refresh: bool = True) -> Any:
    """The file that ``name`` stands for: its name or alias, with a folder, an ending and capitals or without.

    ``refresh`` looks into the folder again for a name that is not known; else only files that came since are looked
    for. Raises ``LoraError`` with near names when there is none.
    """
    found = _known_file(name)
    if found is None and (refresh or _has_new_files()):
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
    return found or _file_by_key(lora_key(name))


def _file_by_key(key: str) -> Any:
    """The file with this name or alias, whatever its capitals; an alias of several files stands for none."""
    networks = builtin()
    for file in networks.available_networks.values():
        if lora_key(file.name) == key:
            return file
    for alias, file in networks.available_network_aliases.items():
        if lora_key(alias) == key and alias.lower() not in networks.forbidden_network_aliases:
            return file
    return None


def _has_new_files() -> bool:
    """Whether the LoRA folder has files that the host has not listed yet."""
    folder = Path(shared.cmd_opts.lora_dir)
    known = {Path(file.filename).resolve() for file in builtin().available_networks.values()}
    files = (path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    return any(path.resolve() not in known for path in files)


def _suggestion(name: str) -> str:
    known = sorted(builtin().available_networks)
    by_key = {lora_key(each): each for each in known}
    near = [by_key[key] for key in difflib.get_close_matches(lora_key(name), by_key, n=5, cutoff=0.3)] or known[:5]
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
    words, labels = _of_site(found.filename)
    phrase = str(metadata.get("modelspec.trigger_phrase", ""))
    parts = triggers_of(metadata)
    texts = [_user_note(found.filename), phrase, *words]
    return LoraFacts(
        name=found.name,
        aliases=_unique([name, str(found.alias)]),
        triggers=_unique([*parts, *(text for text in texts if not parts or text != phrase)]),
        words=_unique(_training_tags(metadata)),
        labels=_unique([str(metadata.get("modelspec.tags", "")), *labels]),
        parts=parts,
    )


def _of_site(filename: str) -> tuple[list[str], list[str]]:
    """Activation texts and labels that a download tool has kept beside the file."""
    for ending in SITE_FILES:
        read = _read_object(Path(filename).with_suffix(ending))
        parts = {key.lower(): value for key, value in read.items()}
        model = parts.get("model")
        inner = {key.lower(): value for key, value in model.items()} if isinstance(model, dict) else {}
        words, labels = parts.get("trainedwords"), parts.get("tags", inner.get("tags"))
        if words or labels:
            return _texts(words), _texts(labels)
    return [], []


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _unique(texts: Sequence[str]) -> tuple[str, ...]:
    stripped = [text.strip() for text in texts if text]
    return tuple(dict.fromkeys(text for text in stripped if text))


def _user_note(filename: str) -> str:
    """The activation text that the user has written down for the LoRA (WebUI's json beside the file)."""
    note = _read_object(Path(filename).with_suffix(".json")).get("activation text", "")
    return note if isinstance(note, str) else ""


def _read_object(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where there is none or it is broken, which the host reports by itself."""
    try:
        read = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _training_tags(metadata: dict[str, Any]) -> list[str]:
    """kohya's ``ss_tag_frequency``, tags by folder: those that half of the pictures have, the most frequent first."""
    read = metadata.get("ss_tag_frequency", {})
    if isinstance(read, str):
        try:
            read = json.loads(read)
        except (ValueError, RecursionError):
            return []
    folders = read.values() if isinstance(read, dict) else []
    counts: Counter[str] = Counter()
    for folder in folders:
        if isinstance(folder, dict):
            counts.update({str(tag): count for tag, count in folder.items() if isinstance(count, int)})
    frequent = counts.most_common(MOST_TAGS)
    return [tag for tag, count in frequent if 2 * count >= frequent[0][1]]
