"""Which Python ``tests/host_python.py`` runs the unit tests on, and which of them."""

import sys
from pathlib import Path

import pytest

from tests import host_python

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(("system", "place"), [("posix", "venv/bin/python"), ("nt", "venv/Scripts/python.exe")])
def test_a_webui_has_its_own(system: str, place: str):
    assert host_python.chosen(["webui"], {}, system) == (Path("webui") / place, False)


def test_a_named_python_wins_and_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    missing = tmp_path / "python"
    assert host_python.chosen(["webui"], {"WEBUI_PYTHON": str(missing)}) == (missing, True)
    monkeypatch.setenv("WEBUI_PYTHON", str(missing))
    assert host_python.main(["webui"]) == 2
    assert "did NOT run" in capsys.readouterr().out


def test_without_a_webui_it_is_this_one(monkeypatch: pytest.MonkeyPatch):
    assert host_python.chosen([], {}) == (Path(sys.executable), True)
    monkeypatch.delenv("WEBUI_PYTHON", raising=False)
    monkeypatch.setattr(host_python, "run", lambda python: 7 if python == Path(sys.executable) else 0)
    assert host_python.main([]) == 7


def test_a_webui_without_a_python_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("WEBUI_PYTHON", raising=False)
    assert host_python.main([str(tmp_path)]) == 0
    assert "did NOT run" in capsys.readouterr().out


def test_every_file_that_is_named_is_there():
    named = host_python.TESTS
    assert all((ROOT / name).exists() for name in named)
    assert "tests/test_portable.py" in named
