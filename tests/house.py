"""How the code reads, in figures: ``python -m tests.house [FOLDER ...]``.

Functions by their lines, files by theirs, how dense statements are (nodes of the syntax tree in an assignment, an
expression or a return, docstrings aside), comprehensions with two loops, and public names without a docstring.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("core", "batch", "prompt", "settings", "lora", "attention", "engine", "merge", "hosts")
DENSE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Expr)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class House:
    """The figures of some files."""

    files: list[int]
    functions: list[int]
    nodes: list[int]
    lines: int
    double_comprehensions: list[str]
    undocumented: list[str]
    public: int

    def line(self, name: str) -> str:
        """One row of the table."""
        functions = f"{median(self.functions):g} / {p90(self.functions):g} / {max(self.functions)}"
        files = f"{median(self.files):g} / {max(self.files)}"
        doubles = len(self.double_comprehensions)
        documented = 100 * (1 - len(self.undocumented) / max(self.public, 1))
        return (
            f"{name:12} files {len(self.files):3} ({files:9})  functions {len(self.functions):4} ({functions:13})  "
            f"density {median(self.nodes):4g}  double comprehensions {doubles:2} ({1000 * doubles / self.lines:.2f})  "
            f"public docstrings {documented:.0f} %"
        )


def p90(values: Sequence[int]) -> float:
    """The ninth decile."""
    return quantiles(values, n=10)[-1]


def measure(paths: Sequence[Path]) -> House:
    """Read ``paths`` and count."""
    found = House([], [], [], sum(len(_lines(path)) for path in paths), [], [], 0)
    public = 0
    for path in paths:
        tree = ast.parse("\n".join(_lines(path)))
        found.files.append(len(_lines(path)))
        for node in ast.walk(tree):
            if isinstance(node, Function):
                found.functions.append(node.end_lineno - node.lineno + 1)
            if isinstance(node, DENSE) and not _is_docstring(node):
                found.nodes.append(_own_nodes(node))
            if isinstance(node, COMPREHENSIONS) and len(node.generators) > 1:
                found.double_comprehensions.append(f"{path.name}:{node.lineno}")
        for name, node in _public(tree):
            public += 1
            if ast.get_docstring(node) is None:
                found.undocumented.append(f"{path.name}:{node.lineno} {name}")
    return House(**{**vars(found), "public": public})


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _own_nodes(statement: ast.stmt) -> int:
    """The nodes of a statement, without those of statements inside it."""
    todo: list[ast.AST] = [statement]
    count = 0
    while todo:
        node = todo.pop()
        count += 1
        todo.extend(child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt))
    return count


def _public(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.AST]]:
    """Functions and classes of a module, and methods of public classes, whose names do not begin with a bar."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from ((f"{node.name}.{name}", inner) for name, inner in _public(node))


def defined_twice(paths: Sequence[Path]) -> dict[str, list[str]]:
    """Public names at the top of more than one file, with the files."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        for statement in ast.parse("\n".join(_lines(path))).body:
            for name in _defined_by(statement):
                found[name].append(path.name)
    return {name: files for name, files in found.items() if len(files) > 1 and not name.startswith("_")}


def _defined_by(statement: ast.stmt) -> list[str]:
    if isinstance(statement, Function | ast.ClassDef):
        return [statement.name]
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    return [target.id for target in targets if isinstance(target, ast.Name)]


def sources(folder: Path) -> list[Path]:
    """The Python files of a folder."""
    return sorted(folder.rglob("*.py"))


def main(folders: Sequence[str]) -> None:
    """Print the table."""
    for name in folders or ("clora_ext", *(f"clora_ext/{room}" for room in ROOMS)):
        paths = [path for path in sources(ROOT / name) if _lines(path)]
        print(measure(paths).line(name.removeprefix("clora_ext/")))


if __name__ == "__main__":
    main(sys.argv[1:])
