"""The panel in other languages: files for WebUI's own localization, in which nothing is missing or left over."""

import ast
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from clora_ext.hosts.webui.merge.form import FORM
from clora_ext.merge.ways import WAYS
from clora_ext.settings.knobs import KNOBS
from clora_ext.settings.profiles import METHODS

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "localizations").glob("*.json"))
WEBUI = ROOT / "clora_ext" / "hosts" / "webui"
COMPONENTS = (WEBUI / "page" / "components.py",)
DRAWN = ("clora_merge.js", "clora_panel.js")
"""Scripts that draw labels and buttons of their own."""
SAID = re.compile(r'"([A-Z][^"]+)"')
METHODS_TOLD = "; ".join(f"{name}: {text}" for name, text in METHODS.items())
PLACE = re.compile(r"\{\d\}")
"""Where a text has something that changes."""


def read(file: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return found


def python_texts(source: str) -> Iterator[str]:
    """The texts of a Python file; what an f-string works out is ``{}``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)


def script_texts(source: str) -> Iterator[str]:
    """The same of a script."""
    joined = re.sub(r'"\s*\+\s*"', "", source)
    yield from re.findall(r'"([^"\n]*)"', joined)
    yield from (re.sub(r"\$\{[^}]*\}", "{}", text) for text in re.findall(r"`([^`\n]*)`", joined))


def all_texts() -> set[str]:
    found = {METHODS_TOLD}
    for file in (ROOT / "clora_ext").rglob("*.py"):
        found.update(python_texts(file.read_text(encoding="utf-8")))
    for file in (ROOT / "javascript").glob("*.js"):
        found.update(text.strip() for text in script_texts(file.read_text(encoding="utf-8")))
    return found


def shown_in_page() -> set[str]:
    """Labels, help and tooltips of the components of panel and tab, and the words on their buttons."""
    shown = {METHODS_TOLD, *WAYS.values()} | {text for knob in KNOBS for text in (knob.label, knob.help)}
    shown |= {text for part in FORM.values() for field in part for text in (field.label, field.info) if text}
    shown |= {title for title in FORM if title}
    for node in itertools.chain(*(ast.walk(ast.parse(file.read_text(encoding="utf-8"))) for file in COMPONENTS)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("gr."):
            told = [each.value for each in node.keywords if each.arg in ("label", "info", "tooltip")]
            words = [each for each in (*node.args, *told) if isinstance(each, ast.Constant)]
            shown.update(str(each.value) for each in words)
    return shown


def test_there_are_files_where_webui_looks_for_them():
    assert [file.stem for file in FILES] == ["de_DE", "ja_JP"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_text_of_panel_and_tab_is_translated(file: Path):
    words = read(file)
    assert shown_in_page() - words.keys() == set()
    assert list(words) == list(read(FILES[0])), "each has the same texts, in the same order"
    assert all(isinstance(word, str) and word.strip() for word in words.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_the_questions_say_is_translated(file: Path):
    script = (ROOT / "javascript" / "clora_questions.js").read_text(encoding="utf-8")
    said = re.findall(r"""(?:say|sentence)\((?:"([^"]+)"|`([^`]+)`)""", script)
    texts = [exact or re.sub(r"\$\{[^}]*\}", "{1}", changing) for exact, changing in said]
    assert len(texts) >= 6
    assert [text for text in texts if text not in read(file)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_the_scripts_draw_is_translated(file: Path):
    for name in DRAWN:
        texts = set(SAID.findall((ROOT / "javascript" / name).read_text(encoding="utf-8"))) - {"LoRA"}
        assert len(texts) >= 6
        assert sorted(texts - read(file).keys()) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_changes_in_a_text_is_in_its_translation(file: Path):
    wrong = [text for text, word in read(file).items() if sorted(PLACE.findall(text)) != sorted(PLACE.findall(word))]
    assert wrong == []


def test_nothing_is_translated_that_nobody_says():
    said = all_texts()
    changing = [text for text in said if "{}" in text and len(re.findall(r"[a-z]", text)) >= 2]
    patterns = [re.compile(".*".join(re.escape(part) for part in text.split("{}")), re.DOTALL) for text in changing]
    left = [text for text in read(FILES[0]) if text not in said and not any(each.fullmatch(text) for each in patterns)]
    assert left == []
