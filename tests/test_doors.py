"""What comes in is bounded, and nothing is unpickled, downloaded, sent or made into HTML."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from clora_ext.errors import CLoRAError, SettingsError, shown
from clora_ext.prompt import LoraFacts, bind, inspect, parse_bindings, read_bindings
from clora_ext.settings.request import read_request

ROOT = Path(__file__).resolve().parents[1]
EXTENSION = sorted(
    [*ROOT.glob("clora_ext/**/*.py"), *ROOT.glob("scripts/*.py"), ROOT / "install.py", ROOT / "preload.py"]
)
SENDERS = {
    *("socket", "ssl", "ftplib", "smtplib", "urllib", "http", "requests", "httpx", "aiohttp", "webbrowser", "asyncio"),
    *("huggingface_hub", "subprocess", "multiprocessing", "pickle", "dill", "joblib", "marshal", "shelve", "ctypes"),
}
"""Modules that send, fetch, start programs, or make objects out of bytes."""
CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.hub.load", "numpy.load", "os.system", "os.popen"}
HTML = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|fetch\(|XMLHttpRequest"
)


def openings(source: str) -> Iterator[str]:
    """The imports and calls in ``source`` by which something could come in or go out."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in CALLS:
            yield ast.unparse(node.func)
        yield from (name for name in names if name.split(".")[0] in SENDERS)


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from urllib.request import urlopen", "import os, socket", "x = torch.load(f)", "eval('1')"],
)
def test_the_search_for_openings_finds_them(source: str):
    assert len(list(openings(source))) == 1


def test_the_extension_sends_fetches_and_unpickles_nothing():
    assert len(EXTENSION) > 100
    found = {path.name: list(openings(path.read_text(encoding="utf-8"))) for path in EXTENSION}
    assert {name: names for name, names in found.items() if names} == {}


def test_the_page_makes_no_html_of_what_it_is_told():
    assert HTML.search("row.innerHTML = name")
    for path in ROOT.glob("javascript/*.js"):
        assert not HTML.search(path.read_text(encoding="utf-8")), path


# -- how much ----------------------------------------------------------------------------------------------------------

FACTS = {"tuxcat": LoraFacts("tuxcat")}
LONG = "cat " * 6000
MANY = [{"lora": f"l{number}", "subject": "cat"} for number in range(201)]


@pytest.mark.parametrize(
    ("read", "given", "words"),
    [
        (lambda text: bind(text, FACTS), LONG, "24,000 characters; CLoRA reads 20,000 at most: shorten it."),
        (parse_bindings, "a: cat\n" * 8000, "56,000 characters; CLoRA reads 50,000 at most"),
        (read_bindings, MANY, "There are 201 bindings; CLoRA takes 200 at most."),
        (parse_bindings, "a: cat\n" * 201, "There are 201 bindings; CLoRA takes 200 at most."),
        (lambda text: read_bindings([{"lora": text}]), "x" * 1001, "text of at most 1,000 characters."),
        (lambda text: read_bindings([{"lora": "a", "subject": text}]), "x " * 501, "at most 1,000 characters."),
        (lambda given: read_request({"rounds_at": given}), list(range(201)), "a list of at most 200 numbers."),
        (lambda text: read_request({"profile": text}), "x" * 10**6, "it must be one of fast"),
        (lambda text: read_request({"bindings": text}), "[" * 40_000, "start like a JSON list but are none"),
    ],
    ids=["prompt", "bindings-text", "bindings", "lines", "lora", "subject", "numbers", "profile", "nested"],
)
def test_what_is_too_much_is_refused_by_a_short_sentence(read, given, words: str):
    with pytest.raises(CLoRAError) as caught:
        read(given)
    assert words in caught.value.message
    assert len(caught.value.message) < 1000


def test_a_prompt_that_is_too_long_is_a_problem_of_its_inspection():
    seen = inspect(LONG, FACTS)
    assert seen.problem is not None
    assert (seen.bound, seen.words, seen.rows) == (None, (), ())
    assert inspect(LONG[:20_000], FACTS).problem is None


def test_half_of_a_sign_in_an_error_can_be_sent():
    error = SettingsError("There is no “\ud83d”.", field="\ud83d")
    assert error.detail.encode() == "?: There is no “?”.".encode()


def test_deep_values_are_shown_to_a_depth():
    deep: list[object] = []
    for _ in range(900):
        deep = [deep]
    assert shown(deep) == "[[[[[[[...]]]]]]]"
