"""Run as ``python load_script.py CHECKOUT NAME...``: loads scripts and modules of ours as if this were Windows.

The host's modules, and libraries that only the host has, are stand-ins whose every name is there. A standard module
that Windows lacks can not be imported by our code. Prints the names of our modules that were loaded.
"""

import builtins
import importlib
import importlib.abc
import importlib.machinery
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

CHECKOUT = Path(sys.argv[1])
UNIX = (
    *("crypt", "curses", "fcntl", "grp", "nis", "pipes", "posix", "pty", "pwd", "readline", "resource", "spwd"),
    *("syslog", "termios", "tty"),
)
HOST = ("modules", "gradio", "fastapi", "k_diffusion")
ABSENT = ("modules_forge", "modules.sd_samplers_diffusers")
"""Other hosts, which we look for."""


class Everything(type):
    """A class that has every attribute."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything

    def __iter__(cls) -> Iterator[Any]:
        return iter(())


class Anything(metaclass=Everything):
    """Stands for a class, a function or a value of the host."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> Any:
        return Anything()

    def __getattr__(self, name: str) -> Any:
        return Anything()


class Stand(ModuleType):
    """A module of the host."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__name__ == "modules":  # whose names are modules, to be found
            raise AttributeError(name)
        return Anything


class Stands(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stand-ins."""

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        if name in ABSENT or name.partition(".")[0] not in HOST:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return Stand(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == "modules.shared":
            module.opts = SimpleNamespace()
            module.cmd_opts = SimpleNamespace(clora_log_level="info", api_auth=None)


def ours(scope: Any) -> bool:
    """Whether an import stands in our code."""
    file = (scope or {}).get("__file__") or ""
    return str(CHECKOUT) in file and "site-packages" not in file


def importing(name: str, globals: Any = None, *rest: Any, **more: Any) -> ModuleType:  # noqa: A002 - its own name
    """``__import__`` on a system that is no Unix, for our code."""
    if name.partition(".")[0] in UNIX and ours(globals):
        raise ModuleNotFoundError(f"No module named {name!r} on Windows", name=name)
    return original(name, globals, *rest, **more)


original = builtins.__import__
builtins.__import__ = importing
sys.meta_path.insert(0, Stands())
sys.path.insert(0, str(CHECKOUT))
for name in sys.argv[2:]:
    if name.endswith(".py"):
        runpy.run_path(str(CHECKOUT / name))
    else:
        importlib.import_module(name)
print(*sorted(name for name in sys.modules if name.partition(".")[0] == "clora_ext"))
