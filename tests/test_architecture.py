"""Dependencies point one way, and the method knows no host."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOSTS = ("modules", "gradio", "fastapi", "diffusers", "transformers", "PIL")
PARTS = (
    "core.loss", "core.masks", "batch.context", "lora.routing", "lora.files", "attention.capture", "engine.run",
    "engine.estimate", "merge.inputs", "prompt", "settings.request", "patching",
)  # fmt: skip


def test_import_contracts():
    cli = pytest.importorskip("importlinter.cli", reason="import-linter runs with the tools' Python")
    assert cli.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_the_method_imports_no_host():
    probe = f"""
import importlib, sys
for part in {PARTS}:
    importlib.import_module(f"clora_ext.{{part}}")
    print(part, [name for name in {HOSTS} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines() == [f"{part} []" for part in PARTS]


def test_no_source_names_this_machine():
    for path in [*ROOT.glob("clora_ext/**/*.py"), *ROOT.glob("scripts/*.py"), *ROOT.glob("tiny_world/*.py")]:
        assert str(ROOT) not in path.read_text(encoding="utf-8"), path
