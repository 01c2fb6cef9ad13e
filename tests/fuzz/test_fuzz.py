"""Prompts, bindings, requests, infotexts, presets and LoRA files that nobody would write."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clora_ext.lora.files import lora_sizes, read_lora
from clora_ext.lora.header import read_header
from clora_ext.prompt import bind_or_merge, edit_binding, format_bindings, inspect, parse_bindings, read_bindings
from clora_ext.redact import without_paths, without_words
from clora_ext.settings.infotext import from_infotext, infotext_key, to_infotext
from clora_ext.settings.knobs import KNOBS
from clora_ext.settings.request import read_request
from clora_ext.settings.text import format_text, parse_text
from tests.fuzz.headers import mutated, whole_files
from tests.fuzz.inputs import (
    ANY_OBJECT,
    ANY_TEXT,
    BINDING_LINES,
    BINDINGS,
    FACTS,
    PROMPTS,
    REQUESTS,
    SETTINGS_TEXT,
    VALUES,
)
from tests.fuzz.tried import EXAMPLES, KINDS, many, require_sentence, trying


@many
@given(PROMPTS)
def test_any_prompt_is_bound_or_refused(prompt: str):
    with trying("prompt"):
        seen = inspect(prompt, FACTS)
        if seen.problem is not None:
            require_sentence(seen.problem)
        bind_or_merge(prompt, FACTS)


@many
@given(PROMPTS, BINDINGS | BINDING_LINES)
def test_any_prompt_with_any_bindings_is_bound_or_refused(prompt: str, given_bindings: Any):
    with trying("prompt with bindings"):
        bindings = read_request({"bindings": given_bindings}).bindings
        inspect(prompt, FACTS, bindings)
        bind_or_merge(prompt, FACTS, bindings)


@many
@given(BINDING_LINES)
def test_any_lines_of_bindings_are_read_or_refused(text: str):
    with trying("bindings as text"):
        bindings = parse_bindings(text)
        assert parse_bindings(format_bindings(bindings)) == bindings


@many
@given(BINDINGS)
def test_any_objects_are_bindings_or_refused(value: Any):
    with trying("bindings as objects"):
        bindings = read_bindings(value)
        assert parse_bindings(format_bindings(bindings)) == bindings


@many
@given(
    PROMPTS, BINDING_LINES, st.sampled_from(sorted(FACTS)), st.dictionaries(st.sampled_from(("subject", "on")), VALUES)
)
def test_any_change_of_a_row_is_made_or_refused(prompt: str, lines: str, lora: str, changes: dict[str, Any]):
    with trying("changed row"):
        edit_binding(prompt, parse_bindings(lines), [lora], changes)


@many
@given(REQUESTS | ANY_OBJECT)
def test_any_object_is_a_request_or_refused(fields: dict[str, Any]):
    with trying("request"):
        request = read_request(fields)
        assert read_request(from_infotext(to_infotext(request)) or {}).settings == request.settings


INFOTEXTS = st.dictionaries(
    st.sampled_from([infotext_key(name) for name in ("profile", "method", "bindings", *(knob.name for knob in KNOBS))])
    | ANY_TEXT,
    ANY_TEXT
    | BINDING_LINES
    | st.sampled_from(("balanced", "paper", "none", "[]", '[{"lora": "a"}]', "1", "true", "nan")),
    max_size=8,
)


@many
@given(INFOTEXTS)
def test_any_infotext_is_read_or_refused(words: dict[str, str]):
    with trying("infotext"):
        fields = from_infotext(words)
        if fields is not None:
            read_request(fields)


@many
@given(SETTINGS_TEXT)
def test_any_text_of_settings_is_read_or_refused(text: str):
    with trying("settings as text"):
        values = parse_text(text)
        assert parse_text(format_text(values)) == values


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module that keeps presets, in a folder of its own."""
    host, paths = ModuleType("modules"), ModuleType("modules.paths_internal")
    paths.__dict__["data_path"] = str(tmp_path_factory.mktemp("presets"))
    name = "clora_ext.hosts.webui.page.presets"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "modules", host)
        patch.setitem(sys.modules, "modules.paths_internal", paths)
        patch.delitem(sys.modules, name, raising=False)
        yield importlib.import_module(name)
        del sys.modules[name]


NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=120)
"""A name comes as an address, which can not have half of a sign."""


@many
@given(NAMES, REQUESTS | ANY_OBJECT)
def test_any_preset_is_kept_or_refused(presets: Any, name: str, fields: dict[str, Any]):
    with trying("preset"):
        kept = presets.save_preset(name, fields)
        assert presets.stored_preset(name.strip()) == kept
        assert json.loads(presets.presets_path().read_text(encoding="utf-8"))[name.strip()] == kept
        presets.delete_preset(name.strip())
        assert [path.name for path in presets.presets_path().parent.iterdir()] == [presets.FILE]


def test_any_damage_of_a_file_is_told(tmp_path: Path):
    random, whole = Random(EXAMPLES), whole_files()
    path = tmp_path / "toy.safetensors"
    for number in range(max(20, EXAMPLES // KINDS)):
        path.write_bytes(mutated(whole[number % len(whole)], random))
        for read in (read_header, lora_sizes, read_lora):
            with trying("LoRA file"):
                read(path)


@many
@given(ANY_TEXT | PROMPTS, st.lists(ANY_TEXT, max_size=3))
def test_any_text_is_told_without_paths(text: str, words: list[str]):
    with trying("report"):
        assert "/home/ann/" not in without_paths(f"{text} /home/ann/{text}", {"/home/ann": "home"})
        without_words(text, words)
