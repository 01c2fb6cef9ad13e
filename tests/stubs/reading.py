"""Stub files as syntax trees, and what the modules behind them hold."""

import ast
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter
from pathlib import Path
from types import ModuleType
from typing import Any

TOOLS = ("diffusers", "transformers")
"""Packages of requirements/tools.txt that have stubs; all other stubs are of modules in WebUI's Python."""


@dataclass
class Stub:
    """One stub: the module's name and the text."""

    name: str
    text: str
    tree: ast.Module = field(init=False)

    def __post_init__(self) -> None:
        """Parse it."""
        self.tree = ast.parse(self.text)

    @property
    def file(self) -> str:
        """The file that it was written from, as its first line says: ``# WebUI 1.10.1: modules/shared.py``."""
        first, _, _ = self.text.partition("\n")
        _, _, file = first.rpartition(": ")
        return file

    @property
    def of_tools(self) -> bool:
        """Whether its module is in the tools' Python, and not in WebUI's."""
        package, _, _ = self.name.partition(".")
        return package in TOOLS

    def last_line(self, node: ast.stmt) -> str:
        """The line at which a statement ends, with the comment behind it."""
        number = node.end_lineno or node.lineno
        lines = self.text.splitlines()
        return lines[number - 1]


def read(folder: Path) -> list[Stub]:
    """All stubs of a folder, in the order of their paths."""
    found: list[Stub] = []
    for path in sorted(folder.rglob("*.pyi")):
        place = path.relative_to(folder).with_suffix("")
        parts = [part for part in place.parts if part != "__init__"]
        text = path.read_text(encoding="utf-8")
        found.append(Stub(".".join(parts), text))
    return found


def held(stubs: Sequence[Stub], modules: Mapping[str, ModuleType]) -> dict[str, Any]:
    """A value for each annotation, where a module holds one: for ``Options`` what ``shared.opts`` is."""
    found: dict[str, Any] = {}
    for stub in stubs:
        module = modules[stub.name]
        for node in stub.tree.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                kind = ast.unparse(node.annotation)
                value = inspect.getattr_static(module, node.target.id, None)
                found.setdefault(kind, value)
    return found


def parameters(args: ast.arguments) -> list[Parameter]:
    """The parameters of a stub's function. None stands for any default, for only its being there counts."""
    positional = [*args.posonlyargs, *args.args]
    first = len(positional) - len(args.defaults)
    found: list[Parameter] = []
    for place, arg in enumerate(positional):
        kind = Parameter.POSITIONAL_ONLY if arg in args.posonlyargs else Parameter.POSITIONAL_OR_KEYWORD
        found.append(_parameter(arg, kind, optional=place >= first))
    if args.vararg:
        found.append(_parameter(args.vararg, Parameter.VAR_POSITIONAL))
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        found.append(_parameter(arg, Parameter.KEYWORD_ONLY, optional=default is not None))
    if args.kwarg:
        found.append(_parameter(args.kwarg, Parameter.VAR_KEYWORD))
    return found


def _parameter(arg: ast.arg, kind: Any, *, optional: bool = False) -> Parameter:
    default = None if optional else Parameter.empty
    return Parameter(arg.arg, kind, default=default)
