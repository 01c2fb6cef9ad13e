"""One stub beside its module."""

import ast
import inspect
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from .reading import Stub, parameters
from .signatures import differences
from .values import attributes, fits

MISSING = object()
ELSEWHERE = re.compile(r"# (?:set|read) in (\S+)$")
"""Behind an attribute that another file sets on objects of the class, or reads from them."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Comparison:
    """What is not so in a stub: ``lies`` are sentences, ``compared`` counts the names that were looked at.

    ``instances`` are values by the names of their classes, ``roots`` the folders of the files that comments name.
    """

    def __init__(self, stub: Stub, module: ModuleType, instances: Mapping[str, Any], roots: Sequence[Path]) -> None:
        self.stub = stub
        self.module = module
        self.instances = instances
        self.roots = roots
        self.lies: list[str] = []
        self.compared = 0
        self.names: dict[str, Any] = dict(vars(module))
        self._make_names()
        self._compare_file()
        for node in stub.tree.body:
            self._statement(node)

    def _lie(self, where: str, what: str) -> None:
        self.lies.append(f"{self.stub.name}: {where} {what}")

    def _make_names(self) -> None:
        """Import what the stub imports, and make its own names, so that annotations can be evaluated."""
        body = self.stub.tree.body
        for node in body:
            if isinstance(node, ast.ClassDef) and node.name.startswith("_"):
                self.names[node.name] = Any
        own = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom | ast.Assign)]
        code = compile(ast.Module(own, type_ignores=[]), self.stub.name, "exec")
        exec(code, self.names)

    def _evaluated(self, node: ast.expr) -> Any:
        code = compile(ast.Expression(node), self.stub.name, "eval")
        return eval(code, self.names)

    def _compare_file(self) -> None:
        path = Path(self.module.__file__ or "")
        if path.suffix in (".so", ".pyd"):  # compiled from the file beside it
            path = path.with_name(path.name.partition(".")[0] + ".py")
        file = path.as_posix()
        if not file.endswith(f"/{self.stub.file}"):
            self._lie("the file", f"is {file}, not {self.stub.file}")

    # -- statements of the module --------------------------------------------------------------------------------

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.ImportFrom():
                self._exports(node)
            case ast.AnnAssign(target=ast.Name(id=name)):
                self._value(name, node.annotation)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._function(node.name, node, self._member(node.name))
            case ast.ClassDef():
                self._class(node)
            case ast.Assign(targets=[ast.Name(id=name)]) if name.startswith("_"):
                pass
            case ast.Import() | ast.Expr(value=ast.Constant()):
                pass
            case _:
                self._lie(f"line {node.lineno}", "is nothing that can be compared")

    def _member(self, name: str) -> Any:
        self.compared += 1
        found = inspect.getattr_static(self.module, name, MISSING)  # to ask for shared.sd_model would load a model
        if found is MISSING:
            found = getattr(self.module, name, MISSING)  # modules that import their names when they are asked for
        if found is MISSING:
            self._lie(name, "is not there")
        return found

    def _exports(self, node: ast.ImportFrom) -> None:
        """``import name as name`` says that the module has that name too."""
        for alias in node.names:
            if alias.asname == alias.name:
                self._member(alias.name)

    def _value(self, name: str, annotation: ast.expr) -> None:
        value = self._member(name)
        if value is not MISSING and not isinstance(value, property):
            self._typed(name, value, annotation)

    def _typed(self, where: str, value: Any, annotation: ast.expr) -> None:
        if not fits(value, self._evaluated(annotation)):
            self._lie(where, f"is {value!r:.80}, not {ast.unparse(annotation)}")

    # -- classes -------------------------------------------------------------------------------------------------

    def _class(self, node: ast.ClassDef) -> None:
        if node.name.startswith("_"):  # only the stub has it, to describe a value
            described = self.instances.get(node.name)
            real = MISSING if described is None else type(described)
        else:
            real = self._member(node.name)
        if not inspect.isclass(real):
            self._lie(node.name, "is no class and describes no value")
            return
        for base in node.bases:
            self._base(node, real, base)
        for part in node.body:
            self._part(node.name, real, part)

    def _base(self, node: ast.ClassDef, real: type, base: ast.expr) -> None:
        kind = self._evaluated(base)
        if kind is NamedTuple:
            names = [ast.unparse(part.target) for part in node.body if isinstance(part, ast.AnnAssign)]
            if names != list(getattr(real, "_fields", ())):
                self._lie(node.name, f"has the fields {getattr(real, '_fields', None)}")
        elif not issubclass(real, getattr(kind, "__origin__", kind)):
            self._lie(node.name, f"is no {ast.unparse(base)}")

    def _part(self, owner: str, real: type, node: ast.stmt) -> None:
        self.compared += 1
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)):
                self._attribute(owner, real, name, node)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)):
                self._constant(f"{owner}.{name}", getattr(real, name, MISSING), value)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._method(f"{owner}.{node.name}", real, node)
            case ast.Expr(value=ast.Constant()):
                self.compared -= 1
            case _:
                self._lie(f"line {node.lineno}", "is nothing that can be compared")

    def _constant(self, where: str, real: Any, value: object) -> None:
        if (real.value if isinstance(real, Enum) else real) != value:
            self._lie(where, f"is {real!r}")

    def _attribute(self, owner: str, real: type, name: str, node: ast.AnnAssign) -> None:
        instance = self.instances.get(owner, MISSING)
        value = getattr(instance, name, MISSING)
        if value is not MISSING:
            self._typed(f"{owner}.{name}", value, node.annotation)
        elif not (name in attributes(real) or self._elsewhere(name, node)):
            self._lie(f"{owner}.{name}", "is nowhere")

    def _elsewhere(self, name: str, node: ast.AnnAssign) -> bool:
        found = ELSEWHERE.search(self.stub.last_line(node))
        if found is None:
            return False
        spelled = re.compile(rf"\b{name}\b|--{name.replace('_', '-')}\b")
        files = [root / found[1] for root in self.roots]
        return any(spelled.search(file.read_text(encoding="utf-8")) for file in files if file.is_file())

    # -- functions -----------------------------------------------------------------------------------------------

    def _method(self, where: str, real: type, node: Function) -> None:
        found = inspect.getattr_static(real, node.name, MISSING)
        marks = [ast.unparse(mark) for mark in node.decorator_list]
        if found is MISSING:
            self._lie(where, "is not there")
        elif marks == [f"{node.name}.setter"]:
            if getattr(found, "fset", None) is None:
                self._lie(where, "can not be set")
        elif marks != ["property"]:
            self._function(where, node, getattr(real, node.name), bound="classmethod" in marks)

    def _function(self, where: str, node: Function, real: Any, *, bound: bool = False) -> None:
        if not callable(real):
            self._lie(where, "can not be called")
            return
        told = parameters(node.args)[1 if bound else 0 :]
        for difference in differences(told, inspect.signature(real)):
            self._lie(where, difference)
