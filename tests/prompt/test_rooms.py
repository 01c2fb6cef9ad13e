"""The package itself: what its rooms may import, its names, its examples."""

import ast
import doctest
import importlib
import pkgutil
import sys
from pathlib import Path

import pytest

import clora_ext.prompt
from clora_ext.prompt import bind

FOLDER = Path(clora_ext.prompt.__file__).parent
NAMES = [found.name for found in pkgutil.walk_packages([str(FOLDER)], "clora_ext.prompt.")]
FLOORS = ("grammar", "bindings", "rules", "branches", "bind", "inspect")
"""From the ground up; each may import those before it."""


def imports_of(path: Path) -> set[str]:
    """The full names of the modules that a file imports from."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module or "")
    return found


def definitions_of(path: Path) -> set[str]:
    """The public names that a file defines at its top."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update(target.id for target in targets if isinstance(target, ast.Name))
    return {name for name in found if not name.startswith("_")}


def test_it_imports_the_errors_and_nothing_else_of_the_project():
    for path in FOLDER.rglob("*.py"):
        for name in imports_of(path):
            ours = name == "clora_ext.errors" or name.startswith("clora_ext.prompt.")
            assert ours or name.partition(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_no_room_imports_one_above_it():
    seen = set()
    for path in FOLDER.rglob("*.py"):
        room = path.relative_to(FOLDER).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        seen.add(room)
        for name in imports_of(path):
            if name.startswith("clora_ext.prompt."):
                floor = name.split(".")[2]
                assert FLOORS.index(floor) <= FLOORS.index(room), f"{path.name} imports {name}"
    assert seen == set(FLOORS)


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_in_docstrings_hold(name: str):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_bind_has_an_example():
    (found,) = doctest.DocTestFinder(recurse=False).find(bind, "bind", globs={})
    assert len(found.examples) >= 4


def test_no_public_name_is_defined_twice():
    places: dict[str, list[str]] = {}
    for path in FOLDER.rglob("*.py"):
        for name in definitions_of(path):
            places.setdefault(name, []).append(path.name)
    assert {"bind", "inspect", "Binding", "BINDING_FIELDS", "Span"} <= set(places)
    assert {name: defined for name, defined in places.items() if len(defined) > 1} == {}
