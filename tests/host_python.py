"""Runs the unit tests on the Python and torch of a WebUI: ``python tests/host_python.py WEBUI_DIR``.

The test tools go into a folder of their own; nothing is installed into the WebUI.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("pytest==9.2.0", "pytest-timeout==2.4.0", "hypothesis==6.168.5")
TESTS = ("core", "lora", "attention", "engine", "prompt")


def main(webui: Path) -> int:
    """Exit status of pytest, or 0 with a plain sentence when that WebUI has no Python of its own."""
    python = Path(os.environ.get("WEBUI_PYTHON", webui / "venv" / "bin" / "python"))
    if not python.exists():
        print(f"The unit tests did NOT run on WebUI's Python: there is no {python}. Set WEBUI_PYTHON=...")
        return 0
    tools = ROOT / "out" / "host-tools"
    if not (tools / "pytest").is_dir():
        subprocess.run([python, "-m", "pip", "install", "-q", "--target", tools, *TOOLS], check=True)
    environment = os.environ | {"PYTHONPATH": str(tools), "PYTHONDONTWRITEBYTECODE": "1"}
    single = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("test_[ps]*.py"))
    files = [*(f"tests/{part}" for part in TESTS), *single]
    print(subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip(), flush=True)
    return subprocess.run([python, "-m", "pytest", "-q", *files], cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
