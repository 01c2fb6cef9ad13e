"""README and docs: short enough, links that lead somewhere, commands and names that exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tasks
from clora_ext.prompt import find_tags, parse_bindings
from clora_ext.settings.profiles import DEFAULT, METHODS, PROFILES

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "tiny_world").glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "tests").rglob("README.md")),
]
README = (ROOT / "README.md").read_text(encoding="utf-8")
USAGE = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
WORDS = 1200
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")


def links(page: Path) -> list[str]:
    """Targets of links and pictures in a page, without those to the web."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    found = [left or right for left, right in LINK.findall(text)]
    return [target for target in found if not re.match(r"https?:", target)]


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page: Path) -> Iterator[str]:
    """Links of a page that lead nowhere."""
    for target in links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in headings(file)):
            yield target


def test_the_readme_is_short():
    assert len(README.split()) <= WORDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path):
    assert list(broken(page)) == []


def test_the_test_sees_links_that_lead_nowhere(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Its title, here\n[a](page.md) [b](none.md) [c](#its-title-here) [d](page.md#none) [e](https://a.b/c)\n"
        '<img src="none.png">\n```md\n[f](none2.md)\n```\n',
        encoding="utf-8",
    )
    assert list(broken(page)) == ["none.md", "page.md#none", "none.png"]


def leads_to(page: Path) -> set[Path]:
    """The pages that a page links to."""
    names = [target.partition("#")[0] for target in links(page)]
    files = [(page.parent / name).resolve() for name in names if name.endswith(".md")]
    return set(files)


def test_the_readme_leads_to_every_page_of_docs():
    """By itself or by a page that it leads to."""
    seen: set[Path] = set()
    todo = {ROOT / "README.md"}
    while todo:
        page = todo.pop()
        seen.add(page)
        todo |= leads_to(page) - seen
    pages = set((ROOT / "docs").glob("*.md"))
    assert pages <= seen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_that_is_named_exists(page: Path):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"tasks\.py ([a-z][\w-]*)", text)) | set(re.findall(r"`make ([a-z][\w-]*)", text))
    assert named <= {"help", *tasks.TASKS}


def kept(name: str) -> dict[str, Any]:
    """What a benchmark's last full run found."""
    file = ROOT / "docs" / "bench" / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8"))


def percent(method: str, split: str) -> str:
    """The share of right pictures, as the README writes it."""
    cell = kept("quality")["methods"][method][split]
    return f"{100 * cell['all_present']:.0f} %"


def test_the_readme_says_how_often_it_is_right():
    two, four, merge = percent(DEFAULT, "two"), percent(DEFAULT, "four"), percent("merge", "two")
    assert f"two subjects right in {two} of pictures and four in {four}, the plain merge two in {merge}" in README
    style = percent(DEFAULT, "style_on_one")
    assert f"A style on one subject is right in {style} only." in README


def flops(loras: int, model: str = "sd15") -> float:
    """Counted for the default profile, times those of a plain picture; with the profile's own limit of memory."""
    wanted = {"model": model, "method": "clora", "profile": DEFAULT, "k": loras, "rank": 16}
    cases = [case for case in kept("speed")["cases"] if wanted.items() <= case.items()]
    return cases[0]["flops_ratio"]


def test_the_readme_says_what_it_costs():
    two, eight, xl = flops(2), flops(8), flops(2, "sdxl")
    told = f"Two subjects cost {two:.1f} times the work of a plain picture, eight {eight:.1f} times, on SDXL {xl:.1f}"
    assert told in README


def rows(text: str, head: str) -> list[list[str]]:
    """The cells of the table whose first line starts with ``head``."""
    start = text.index(f"| {head} |")
    table = text[start:].split("\n\n", maxsplit=1)[0]
    lines = table.splitlines()[2:]
    return [re.split(r"\s*\|\s*", line.strip("| ")) for line in lines]


def test_the_manual_names_every_profile_and_method():
    profiles, methods = ("".join(row[0] for row in rows(USAGE, head)) for head in ("profile", "method"))
    assert re.findall(r"`(\w+)`", profiles) == list(PROFILES)
    assert re.findall(r"`(\w+)`", methods) == list(METHODS)


@pytest.mark.parametrize("row", rows(USAGE, "what you want"), ids=lambda row: row[0])
def test_a_tag_and_a_line_of_the_manual_say_the_same(row: list[str]):
    tag, line = (re.sub("`", "", cell) for cell in row[1:])
    (said,) = find_tags(tag)
    (asked,) = parse_bindings(line)
    assert said.name == asked.lora
    named = dict(re.findall(r":(\w+)=([^:>]+)", tag))
    given = {"bind": asked.subject, "occurrence": asked.occurrence, "trigger": asked.trigger, "on": asked.on}
    if "role" in named:
        given["role"] = asked.role
    assert named == {name: str(value) for name, value in given.items() if value is not None}
