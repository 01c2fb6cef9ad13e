"""It loads on Windows, macOS and Linux: no module, name or text of one system only."""

import ast
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from clora_ext.engine.device import peak_bytes

ROOT = Path(__file__).resolve().parents[1]
LOADS = ROOT / "tests" / "data" / "load_script.py"
SCRIPTS = ("preload.py", "install.py", "scripts/clora.py")


def load(checkout: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """Load scripts and modules of a checkout as on Windows."""
    command = [sys.executable, str(LOADS), str(checkout), *names]
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)


def test_what_webui_loads_needs_no_unix():
    done = load(ROOT, *SCRIPTS, "clora_ext.hosts.webui.merge.source")
    assert done.returncode == 0, done.stderr[-3000:]
    loaded = set(done.stdout.splitlines()[-1].split())
    folder = ROOT / "clora_ext" / "hosts" / "webui"
    needed = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in folder.rglob("*.py")}
    assert {name.removesuffix(".__init__") for name in needed} <= loaded, "every module of the host was tried"


@pytest.mark.parametrize("name", ["tiny_world.demo", "clora_ext.hosts.diffusers.cli"])
def test_what_the_demo_loads_needs_no_unix(name: str):
    pytest.importorskip("diffusers", reason="WebUI's Python has no embedded host")
    done = load(ROOT, name)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("line", ["import resource", "from fcntl import flock", "import termios as t"])
def test_the_test_sees_a_module_that_windows_lacks(tmp_path: Path, line: str):
    (tmp_path / "script.py").write_text(f"{line}\n", encoding="utf-8")
    done = load(tmp_path, "script.py")
    assert done.returncode != 0
    assert "on Windows" in done.stderr


def test_every_file_name_is_possible_on_windows():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    if names.returncode != 0:
        pytest.skip("no git checkout")
    paths = names.stdout.rstrip("\0").split("\0")
    assert not [path for path in paths if set(path) & set('<>:"|?*\\')]
    assert not [path for path in paths if Path(path).stem.lower() in ("con", "prn", "aux", "nul")]
    assert len({path.casefold() for path in paths}) == len(paths)
    assert max(map(len, paths)) < 150


READERS = {"read_text": 0, "write_text": 1}
"""Methods of a path that take an encoding, and how many arguments stand before it."""


def without_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text as the system prefers, which on Windows is not UTF-8."""
    names = {keyword.arg for keyword in call.keywords}
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if "encoding" in names:
        return False
    if method in READERS:
        return len(call.args) <= READERS[method]
    return "text" in names and method in ("run", "Popen", "check_output")


def places(text: str) -> list[int]:
    """Lines of a source with such calls."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if without_encoding(call)]


def sources() -> list[Path]:
    """All Python files of the project."""
    folders = ("bench", "clora_ext", "scripts", "tests", "tiny_world")
    return [*ROOT.glob("*.py"), *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]


def test_every_text_has_its_encoding():
    found = {str(path): places(path.read_text(encoding="utf-8")) for path in sources()}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("path.read_text()", True), ("path.read_text('utf-8')", False), ("path.read_text(encoding='utf-8')", False),
        ("path.write_text(text)", True), ("path.write_text(text, 'utf-8')", False),
        ("subprocess.run(words, text=True)", True), ("subprocess.run(words, encoding='utf-8')", False),
        ("self.mixed(name, text=True)", False),
    ],
)  # fmt: skip
def test_the_test_sees_a_text_without_encoding(line: str, wrong: bool):
    assert bool(places(line)) is wrong


@pytest.mark.skipif(sys.platform == "win32", reason="the other systems' ways are not there")
def test_peak_memory_is_told_where_the_system_tells_it(monkeypatch: pytest.MonkeyPatch):
    cpu = torch.device("cpu")
    here = peak_bytes(cpu)
    assert here is not None
    assert 50 << 20 < here < 1 << 40
    monkeypatch.setattr(sys, "platform", "darwin" if sys.platform == "linux" else "linux")
    other = peak_bytes(cpu)
    assert other is not None
    assert max(other, here) / min(other, here) == pytest.approx(1024, rel=0.1), "KiB on Linux, bytes on macOS"
    monkeypatch.setattr(sys, "platform", "win32")
    told = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=77 << 20))
    monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(Process=lambda: told))
    assert peak_bytes(cpu) == 77 << 20
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert peak_bytes(cpu) is None, "nobody tells"
