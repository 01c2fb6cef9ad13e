"""The type checker sees what it is there for, and the stubs of the tools in typings/ say what is so."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.stubs.comparison import Comparison
from tests.stubs.reading import Stub, held, read
from tiny_world.model import TOKENIZER

ROOT = Path(__file__).resolve().parents[1]
STUBS = [stub for stub in read(ROOT / "typings") if stub.of_tools]

MISTAKES = """
import fcntl
import resource
from fastapi import APIRouter
from gradio import Textbox
from modules import extra_networks, shared
from modules.script_callbacks import CFGDenoisedParams, CFGDenoiserParams, on_cfg_denoised, on_cfg_denoiser
from network import Network

def called(params: CFGDenoiserParams) -> None:
    print(params.text_unconditional)  # wrong
    print(params.text_cond[0])  # wrong
    print(params.x[0], params.denoiser.step + 1)

def predicted(params: CFGDenoisedParams, net: Network) -> None:
    net.te_multiplier = None  # wrong
    net.te_multiplier = 0.5
    net.modules["name"].calc_updown()  # wrong

on_cfg_denoiser(called, name="clora")
on_cfg_denoised(called)  # wrong
print(shared.opts.sd_lora.lower(), shared.cmd_opts.lowvram)
print(shared.opts.sd_loras)  # wrong
print(shared.cmd_opts.low_vram)  # wrong
print(shared.state.interrupted())  # wrong
shared.OptionInfo(1, "Label", on_change=print)  # wrong
extra_networks.ExtraNetworkParams(["a"])
APIRouter(prefix=1)  # wrong
Textbox(lines="two")  # wrong
with open("file", encoding="utf-8") as file:
    fcntl.flock(file, fcntl.LOCK_EX)  # wrong
print(resource.getrusage(resource.RUSAGE_SELF))  # wrong
"""


def test_the_checker_sees_misuse_of_the_host_and_what_windows_lacks(tmp_path: Path):
    pytest.importorskip("mypy", reason="the type checker runs with the tools' Python")
    file = tmp_path / "mistakes.py"
    file.write_text(MISTAKES, encoding="utf-8")
    flags = ["--platform", "win32", "--cache-dir", str(tmp_path / "cache"), "--no-error-summary"]
    command = [sys.executable, "-m", "mypy", *flags, str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    seen = {int(number) for number in re.findall(r":(\d+): error: ", done.stdout)}
    wrong = {number for number, line in enumerate(MISTAKES.splitlines(), 1) if line.endswith("# wrong")}
    assert seen == wrong, done.stdout + done.stderr


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """Objects of the tools that are cheap to make, by the names of their classes."""
    diffusers = pytest.importorskip("diffusers", reason="WebUI's Python has no embedded host")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.CLIPTokenizerFast.from_pretrained(TOKENIZER, local_files_only=True)
    schedulers = ("DDIM", "DPMSolverMultistep", "EulerDiscrete", "EulerAncestralDiscrete")
    made = {f"{name}Scheduler": getattr(diffusers, f"{name}Scheduler")() for name in schedulers}
    return {"CLIPTokenizerFast": tokenizer, **made}


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.name)
def test_a_stub_of_the_tools_says_what_is_so(objects: dict[str, Any], stub: Stub):
    module = importlib.import_module(stub.name)
    assert Comparison(stub, module, objects, ()).lies == []


REAL = """
from collections import namedtuple

Pair = namedtuple("Pair", ["first", "second"])
count = 3
table = {"a": 1}

def move(x, by, times=1): ...
def take(*several, **named): ...

class Thing(list):
    limit = 5
    width: int

    def __init__(self, name):
        self.name = name

    def rename(self, name, *, again=False): ...

    @property
    def size(self): ...

thing = Thing("a")
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A module with one of everything that stubs describe."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "real.py").write_text(REAL, encoding="utf-8")
    (folder / "other.py").write_text("thing.colour = 'red'\n", encoding="utf-8")
    specification = importlib.util.spec_from_file_location("real", folder / "real.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["real"] = module  # where ``inspect`` looks for a class's source
    specification.loader.exec_module(module)
    yield module
    del sys.modules["real"]


def lies(real: ModuleType, text: str) -> list[str]:
    """What is not so in a stub of ``real``."""
    stub = Stub("real", text)
    return Comparison(stub, real, held([stub], {"real": real}), (Path(real.__file__).parent,)).lies


TRUE = """# ours: real.py
from typing import Any, NamedTuple
_Table = dict[str, int]

class Pair(NamedTuple):
    first: Any
    second: Any

count: int
table: _Table
def move(x: int, by: int, times: int = 1) -> None: ...
def take(x: int, *several: int, more: int = 2, **named: int) -> None: ...

class Thing(list[int]):
    limit: int
    width: int
    name: str
    colour: str  # set in other.py

    def __init__(self, name: str) -> None: ...
    def rename(self, name: str, *, again: bool = False) -> None: ...
    @property
    def size(self) -> int: ...

thing: Thing
"""


def test_a_true_stub_is_found_true(real: ModuleType):
    assert lies(real, TRUE) == []


@pytest.mark.parametrize(
    ("truth", "lie"),
    [
        ("# ours: real.py", "# ours: unreal.py"),
        ("count: int", "number: int"),
        ("count: int", "count: str"),
        ("dict[str, int]", "dict[str, str]"),
        ("first: Any\n    second: Any", "second: Any\n    first: Any"),
        ("x: int, by: int", "by: int, x: int"),
        ("by: int, times: int = 1", "by: int = 0, times: int = 1"),
        ("by: int, times", "times"),
        ("by: int, times", "by: int, *, time"),
        ("times: int = 1", "times: int = 1, **more: int"),
        ("Thing(list[int])", "Thing(dict[str, int])"),
        ("limit: int", "limits: int"),
        ("limit: int", "limit: str"),
        ("name: str\n    colour", "title: str\n    colour"),
        ("set in other.py", "set in another.py"),
        ("def rename", "def name_again"),
        ("again: bool", "once: bool"),
        ("def size", "def sizes"),
        ("count: int", "count = 3"),
        ("count: int", "for _ in (): ..."),
    ],
)
def test_a_lie_is_found(real: ModuleType, truth: str, lie: str):
    assert truth in TRUE
    assert lies(real, TRUE.replace(truth, lie, 1)) != []
