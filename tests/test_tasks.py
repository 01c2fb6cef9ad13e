"""The commands of ``tasks.py``: their words on each system, what they install, and what they say."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tasks

ROOT = Path(__file__).resolve().parents[1]
VARIABLES = {"WEBUI_DIR": "webui"}


def words(name: str, system: str = "posix", **variables: str) -> list[list[str]]:
    """The commands of a task without the folder of ``.venv``."""
    lines = [tasks.command_line(one, VARIABLES | variables, system) for one in tasks.TASKS[name].commands]
    return [[Path(line[0]).relative_to(tasks.VENV).as_posix(), *line[1:]] for line in lines]


@pytest.mark.parametrize(("system", "python"), [("posix", "bin/python"), ("nt", "Scripts/python.exe")])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("demo", ["-m", "tiny_world.demo"]),
        ("link-webui", ["-m", "tiny_world.link_webui", "webui"]),
        ("test-host-python", ["tests/host_python.py", "webui"]),
        ("test-webui", ["-m", "pytest", "-n", "2", "--dist", "loadfile", "tests/webui"]),
    ],
)
def test_a_command_on_each_system(system: str, python: str, name: str, expected: list[str]):
    assert words(name, system) == [[python, *expected]]


@pytest.mark.parametrize("system", ["posix", "nt"])
def test_lint_looks_at_style_and_at_the_annotations_as_for_each_system(system: str):
    style, *checks = words("lint", system)
    assert style[1:] == ["-m", "ruff", "check", "."]
    assert [check[1:5] for check in checks] == [["-m", "mypy", "--platform", each] for each in tasks.SYSTEMS]


def test_options_come_from_variables_that_are_set():
    assert words("bench-speed") == [["bin/python", "-m", "bench.speed"]]
    (line,) = words("bench-speed", DEVICE="cuda", TIME_LIMIT="60")
    assert line[-4:] == ["--device", "cuda", "--time-limit", "60"]
    (line,) = words("bench-speed", DEVICE="")
    assert "--device" not in line


@pytest.mark.parametrize("name", ["train-tiny", "bench-quality", "sweep", "bench-webui"])
def test_a_tiny_world_is_named_by_one_variable(name: str):
    (line,) = words(name, WORLD="xl")
    assert line[-2:] == ["--world", "xl"]


@pytest.mark.parametrize("name", tasks.TASKS)
def test_every_command_runs_something_that_is_there(name: str):
    for line in words(name):
        part = line[2] if line[1] == "-m" else line[1]
        path = part.replace(".", "/") if line[1] == "-m" else part
        ours = [ROOT / path, ROOT / f"{path}.py", ROOT / path / "__main__.py"]
        assert part in ("pytest", "ruff", "mypy", "coverage") or any(place.is_file() for place in ours), line


@pytest.mark.parametrize("name", tasks.TASKS)
def test_every_task_names_requirements_that_are_there(name: str):
    needs = tasks.TASKS[name].needs
    assert needs[0] == "tools"
    assert all((ROOT / "requirements" / f"{need}.txt").is_file() for need in needs)


def test_threads_that_wait_do_not_spin():
    found = tasks.with_defaults({"GOMP_SPINCOUNT": "100", "OMP_NUM_THREADS": "4", "DEVICE": "cuda"})
    assert (found["GOMP_SPINCOUNT"], found["OMP_WAIT_POLICY"]) == ("0", "PASSIVE")
    assert (found["OMP_NUM_THREADS"], found["DEVICE"]) == ("4", "cuda"), "all others pass through"


def test_webui_dir_has_a_default_and_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("USERPROFILE" if os.name == "nt" else "HOME", str(tmp_path))
    assert Path(tasks.with_defaults({})["WEBUI_DIR"]) == tmp_path / "stable-diffusion-webui"
    assert Path(tasks.with_defaults({"WEBUI_DIR": "~/other"})["WEBUI_DIR"]) == tmp_path / "other"
    assert Path(tasks.with_defaults({"WEBUI_DIR": "here"})["WEBUI_DIR"]) == Path.cwd() / "here"


def test_names_and_variables_are_told_apart():
    names, given = tasks.split(["bench-quality", "QUICK=1", "lint", "FOLDER=a=b"])
    assert names == ["bench-quality", "lint"]
    assert given == {"QUICK": "1", "FOLDER": "a=b"}


def test_test_is_everything_that_can_run(tmp_path: Path):
    assert tasks.parts("test", {"WEBUI_DIR": str(tmp_path)}) == (*tasks.ALWAYS, *tasks.WITH_WEBUI)
    assert tasks.parts("test", {"WEBUI_DIR": str(tmp_path / "none")}) == tasks.ALWAYS
    assert tasks.parts("demo", {"WEBUI_DIR": str(tmp_path)}) == ("demo",)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands are noted instead of run, in a checkout with requirements and without ``.venv``."""
    made: list[list[str]] = []

    def note(line: list[str], variables: dict[str, str]) -> int:
        made.append([Path(line[0]).name, *line[1:]])
        if "venv" in line:
            tasks.venv_python().parent.mkdir(parents=True)
            tasks.venv_python().touch()
        return int(variables.get("FAILS", "") in line)

    (tmp_path / "requirements").mkdir()
    for name in tasks.STAMPS:
        (tmp_path / "requirements" / f"{name}.txt").touch()
    monkeypatch.setattr(tasks, "ROOT", tmp_path)
    monkeypatch.setattr(tasks, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(tasks, "call", note)
    return made


def installed(called: list[list[str]]) -> list[str]:
    """The files of requirements that were installed."""
    return [line[-1] for line in called if line[1:3] == ["-m", "pip"]]


def test_everything_is_installed_once_and_again_when_it_changed(called: list[list[str]]):
    assert tasks.main(["lint"]) == 0
    assert called[0][1:3] == ["-m", "venv"]
    assert called[-1][1:3] == ["-m", "mypy"]
    assert installed(called) == ["requirements/tools.txt", "requirements/tests.txt"]
    called.clear()
    assert tasks.main(["lint"]) == 0
    assert installed(called) == [], "nothing changed"
    later = (tasks.VENV / ".tests").stat().st_mtime + 5
    os.utime(tasks.ROOT / "requirements" / "tests.txt", (later, later))
    tasks.main(["lint"])
    assert installed(called) == ["requirements/tests.txt"]


def test_what_builds_on_newer_tools_is_installed_again(called: list[list[str]]):
    tasks.main(["lint"])
    called.clear()
    later = (tasks.VENV / ".tests").stat().st_mtime + 5
    os.utime(tasks.VENV / ".demo", (later, later))
    tasks.main(["lint"])
    assert installed(called) == ["requirements/tests.txt"]


def test_the_first_failure_ends_a_run(called: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("WEBUI_DIR", str(tmp_path / "none"))
    assert tasks.main(["test", "FAILS=ruff"]) == 1
    assert called[-1][1:3] == ["-m", "ruff"]
    called.clear()
    (tasks.VENV / ".demo").unlink()
    assert tasks.main(["demo", "FAILS=pip"]) == 1
    assert not (tasks.VENV / ".demo").exists(), "it is tried again next time"


def test_tests_without_a_webui_say_so(
    called: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("WEBUI_DIR", str(tmp_path / "none"))
    assert tasks.main(["test"]) == 0
    assert f"did NOT run: there is no WebUI in {tmp_path / 'none'}" in capsys.readouterr().out
    assert not [line for line in called if "tests/webui" in line]
    tasks.main(["test", f"WEBUI_DIR={tmp_path}"])
    assert "did NOT run" not in capsys.readouterr().out
    assert called[-1][-1] == "tests/webui"


@pytest.mark.usefixtures("called")
def test_an_old_python_is_told_which_one_is_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tasks, "LEAST_PYTHON", (99, 0))
    with pytest.raises(SystemExit, match=r"Python 3\.11 or newer is needed"):
        tasks.main(["demo"])


def test_an_unknown_task_gives_a_sentence(called: list[list[str]], capsys: pytest.CaptureFixture[str]):
    assert tasks.main(["lint", "nonsense"]) == 2
    assert re.match(r'There is no task "nonsense"; known are demo, test, .*\.\n$', capsys.readouterr().err)
    assert not called


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"], ["demo", "-h"]])
def test_the_help_names_every_task(called: list[list[str]], capsys: pytest.CaptureFixture[str], arguments: list[str]):
    assert tasks.main(arguments) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(tasks.TASKS)
    assert not called


def test_commands_run_in_the_checkout_with_their_variables(capfd: pytest.CaptureFixture[str]):
    probe = "import os, sys; print(os.getcwd(), os.environ['QUICK']); sys.exit(3)"
    assert tasks.call([sys.executable, "-c", probe], {**os.environ, "QUICK": "1"}) == 3
    assert capfd.readouterr().out.splitlines()[-1] == f"{ROOT} 1"


def test_make_has_the_same_commands():
    listed = re.search(r"^TASKS := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed is not None
    assert set(listed[1].replace("\\", " ").split()) == {"help", *tasks.TASKS}


@pytest.mark.skipif(os.name == "nt" or shutil.which("make") is None, reason="no make here")
def test_make_hands_its_variables_on():
    line = ["make", "-C", str(ROOT), "demo", "QUICK=1", "PYTHON=env #"]
    done = subprocess.run(line, capture_output=True, encoding="utf-8", check=True)
    assert "QUICK=1" in done.stdout.splitlines()
