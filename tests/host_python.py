"""Runs the unit tests on the Python and torch of a WebUI: ``python tests/host_python.py [WEBUI_DIR]``.

That Python is the one named by ``WEBUI_PYTHON``, else the one in the WebUI's ``venv``, and without a WebUI the one that
runs this file, which then needs requirements/host.txt. The test tools go into a folder of their own; nothing is
installed into the WebUI.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("pytest==9.2.0", "pytest-timeout==2.4.0", "pytest-xdist==3.8.0", "hypothesis==6.168.5")
TESTS = (
    *(f"tests/{room}" for room in ("core", "batch", "lora", "attention", "engine", "merge", "prompt")),
    *(f"tests/test_{name}.py" for name in ("patching", "portable", "settings")),
    *("tests/hosts/test_webui_samplers.py", "tests/hosts/test_merge_tab.py"),
)
"""Those that need nothing but what a WebUI has."""


def chosen(arguments: Sequence[str], variables: Mapping[str, str], system: str = os.name) -> tuple[Path, bool]:
    """The Python to test on, and whether somebody named it, so that it must be there."""
    if named := variables.get("WEBUI_PYTHON"):
        return Path(named).expanduser(), True
    if not arguments:
        return Path(sys.executable), True
    place = "Scripts/python.exe" if system == "nt" else "bin/python"
    return Path(arguments[0]) / "venv" / place, False


def run(python: Path) -> int:
    """Install the test tools if they are not there, and run the tests; the exit status of pytest."""
    tools = ROOT / "out" / "host-tools"
    if not (tools / "xdist").is_dir():
        subprocess.run([python, "-m", "pip", "install", "-q", "--target", tools, *TOOLS], check=True)
    environment = os.environ | {"PYTHONPATH": str(tools), "PYTHONDONTWRITEBYTECODE": "1"}
    probe = "import sys, torch; print('Python', sys.version.split()[0], 'with torch', torch.__version__, flush=True)"
    subprocess.run([python, "-c", probe], check=True)
    command = [python, "-m", "pytest", "-q", "-n", "2", *TESTS]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """Exit status of the tests; 0 with a sentence when that WebUI has no Python of its own, 2 for a wrong name."""
    python, named = chosen(arguments, os.environ)
    if python.exists():
        return run(python)
    print(f"The unit tests did NOT run on WebUI's Python: there is no {python}. Set WEBUI_PYTHON=...")
    return 2 if named else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
