"""Every command of this project, on Windows, macOS and Linux; ``python tasks.py help`` lists them.

Only Python 3.11 or newer has to be there. A task makes ``.venv``, installs what it needs when that has changed, and
then runs modules with the Python of ``.venv``. ``NAME=value`` behind a task sets a variable for it, as in ``make``:
``python tasks.py bench-quality QUICK=1 DEVICE=cuda``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
LEAST_PYTHON = (3, 11)
STAMPS = {"tools": ".demo", "tests": ".tests", "plots": ".plots"}
"""A file of requirements, and the file in ``.venv`` that says when it was installed. Each builds on those before it."""

QUIET_THREADS = {"GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "PASSIVE"}
"""Idle threads that spin make a busy machine ten times slower."""

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
PURE = ("settings", "prompt", "core", "batch", "lora", "attention", "engine", "merge")
"""Parts of ``clora_ext`` whose lines the unit tests must cover."""

Variables = Mapping[str, str]


@dataclass(frozen=True)
class Command:
    """Words behind the Python of ``.venv``; ``arguments`` and ``options`` take their values from variables."""

    words: str
    arguments: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    variables: Variables = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What a task is for, which requirements it needs, and its commands in order."""

    purpose: str
    needs: tuple[str, ...]
    commands: tuple[Command, ...]


TOOLS = ("tools",)
TESTS = ("tools", "tests")
WEBUI = ("WEBUI_DIR",)
WORLD = {"--world": "WORLD"}
"""Which of the tiny worlds, by the variable of that name."""
SYSTEMS = ("linux", "win32", "darwin")
"""What Python calls the three systems; the annotations are checked as for each."""

COVERED = ",".join(f"clora_ext/{part}/*" for part in PURE)
TASKS = {
    "demo": Task("two personal subjects, four seeds: out/demo/compare.png", TOOLS, (Command("-m tiny_world.demo"),)),
    "test": Task("everything that can run here", TESTS, ()),
    "lint": Task(
        "style, import directions, and annotations as for Linux, Windows and macOS",
        TESTS,
        (
            Command("-m ruff check ."),
            *(Command(f"-m mypy --platform {system} --cache-dir out/mypy/{system}") for system in SYSTEMS),
        ),
    ),
    "test-unit": Task(
        "all tests but the real WebUI's",
        TESTS,
        (
            Command("-m pytest -n 2 tests --ignore=tests/webui --cov --cov-report=", variables=ONE_THREAD),
            Command(f"-m coverage report --include={COVERED} --fail-under=95"),
        ),
    ),
    "fuzz": Task(
        "20,000 inputs that nobody would write: read, or refused by a sentence, within a second (EXAMPLES=...)",
        TESTS,
        (Command("-m tests.fuzz.run", options={"--examples": "EXAMPLES"}, variables=ONE_THREAD),),
    ),
    "test-host-python": Task(
        "the unit tests on WebUI's own Python and torch",
        TESTS,
        (Command("tests/host_python.py", WEBUI, variables={"PYTHONPATH": "", **ONE_THREAD}),),
    ),
    "test-webui": Task(
        "drives the real WebUI in WEBUI_DIR",
        TESTS,
        (Command("-m pytest -n 2 --dist loadfile tests/webui", variables=ONE_THREAD),),
    ),
    "test-slow": Task(
        "what takes minutes: whole pictures of the authors' and of the paper, the page with a fast and a slow server",
        TESTS,
        (
            Command(
                "-m pytest -n 2 --dist loadfile tests/test_obvious_pipeline.py tests/webui/test_parity.py "
                "tests/webui/test_page_hand.py tests/webui/test_questions.py tests/webui/test_world.py",
                variables={"CLORA_SLOW": "1", **ONE_THREAD},
            ),
        ),
    ),
    "faults": Task(
        "an error, too little memory, interrupt or skip at every call of ours in a real WebUI's job (POINTS=...)",
        TESTS,
        (Command("-m tests.webui.faults", options={"--points": "POINTS"}),),
    ),
    "soak": Task(
        "1,000 mixed jobs against one real WebUI: pictures, hooks, memory, seconds (JOBS=...)",
        TESTS,
        (Command("-m tests.webui.soak", options={"--jobs": "JOBS"}),),
    ),
    "link-webui": Task(
        "extension, tiny checkpoints and LoRAs into WEBUI_DIR", TOOLS, (Command("-m tiny_world.link_webui", WEBUI),)
    ),
    "webui-for-tests": Task(
        "sets AUTOMATIC1111 WebUI 1.10.1 up in WEBUI_DIR (WEBUI_SOURCES=..., PYTHON310=...; see CONTRIBUTING.md)",
        TOOLS,
        (Command("-m tests.webui.install", WEBUI),),
    ),
    "screenshots": Task(
        "the page at every step of a test: out/screenshots, and the pictures of README and docs",
        TESTS,
        (
            Command("-m pytest tests/webui/test_panel.py -k pointing"),
            Command("-m tests.webui.screenshot docs/panel.png docs/plot.png docs/first-screen.png docs/merge.png"),
        ),
    ),
    "train-tiny": Task(
        "a tiny world from its renderer: hours on 2 cores, minutes on a GPU (WORLD=xl: of SDXL's topology)",
        TOOLS,
        (Command("-m tiny_world.train", options=WORLD),),
    ),
    "check-world": Task(
        "does the tiny world tell methods apart? three pairs, 24 seeds", TOOLS, (Command("-m tiny_world.check"),)
    ),
    "bench-quality": Task(
        "does it compose? judged: out/bench/quality.html (QUICK=1, FULL=1, WORLD=xl, FOLDER=..., DEVICE=cuda)",
        TOOLS,
        (Command("-m bench.quality", options=WORLD, variables=ONE_THREAD),),
    ),
    "sweep": Task(
        "which values are best? tuning prompts: out/bench/sweep-balanced.md (ROW=..., TRIALS=..., WORLD=xl)",
        TOOLS,
        (Command("-m bench.quality.sweep", options=WORLD, variables=ONE_THREAD),),
    ),
    "bench-speed": Task(
        "what does it cost? FLOPs, rows, memory, seconds: out/bench/speed.json (DEVICE=cuda: steps on a GPU; SIZE=tiny "
        "tries that run, TIME_LIMIT=seconds, HOLLOW=turns)",
        ("tools", "plots", "tests"),
        (
            Command(
                "-m bench.speed",
                options={
                    "--device": "DEVICE",
                    "--time-limit": "TIME_LIMIT",
                    "--hollow": "HOLLOW",
                    "--size": "SIZE",
                },
            ),
        ),
    ),
    "bench-merging": Task(
        "is each LoRA still itself in a merged file? judged: out/bench-merging/loraclr.json (TIME_LIMIT=seconds)",
        TOOLS,
        (
            Command("-m bench.merging", variables=ONE_THREAD),
            Command("-m bench.merging.ablation", variables=ONE_THREAD),
            Command("-m bench.merging.count", variables=ONE_THREAD),
        ),
    ),
    "bench-page": Task(
        "what does the panel cost the page? out/bench/page.json", TESTS, (Command("-m bench.page_speed"),)
    ),
    "compatibility": Task(
        "what composes with what in the real WebUI? an hour; docs/compatibility.md",
        TESTS,
        (
            Command("-m pytest -n 2 --dist loadfile tests/webui -m row", variables=ONE_THREAD),
            Command("-m bench.compatibility", variables=ONE_THREAD),
        ),
    ),
    "bench-webui": Task(
        "do 20 of the benchmark's cases get the same verdict through the real WebUI? out/bench/webui.json",
        TESTS,
        (Command("-m bench.quality.in_webui", options=WORLD),),
    ),
}
"""By name, in the order of the help."""

ALWAYS = ("lint", "test-unit")
WITH_WEBUI = ("test-host-python", "test-webui")
"""What ``test`` stands for, everywhere and where there is a WebUI."""


def parts(name: str, variables: Variables) -> tuple[str, ...]:
    """The tasks that ``name`` stands for: itself, or all tests that can run here."""
    if name != "test":
        return (name,)
    return (*ALWAYS, *WITH_WEBUI) if Path(variables["WEBUI_DIR"]).is_dir() else ALWAYS


def venv_python(system: str = os.name) -> Path:
    """The Python of ``.venv`` on a ``system`` as ``os.name`` has it."""
    return VENV / "Scripts" / "python.exe" if system == "nt" else VENV / "bin" / "python"


def command_line(command: Command, variables: Variables, system: str = os.name) -> list[str]:
    """The words of a command. An option whose variable is unset or empty is left out."""
    words = [str(venv_python(system)), *command.words.split()]
    words += [variables[name] for name in command.arguments]
    for option, name in command.options.items():
        if variables.get(name):
            words += [option, variables[name]]
    return words


def with_defaults(variables: Variables) -> dict[str, str]:
    """All variables that commands run with."""
    webui = variables.get("WEBUI_DIR") or "~/stable-diffusion-webui"
    folder = Path(webui).expanduser().absolute()
    return {**variables, "WEBUI_DIR": str(folder), **QUIET_THREADS}


def split(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Names of tasks and ``NAME=value`` pairs."""
    pairs = [word for word in arguments if re.match(r"[A-Z][A-Z0-9_]*=", word)]
    names = [word for word in arguments if word not in pairs]
    return names, dict(pair.split("=", 1) for pair in pairs)


def stale(stamp: Path, *sources: Path) -> bool:
    """Whether ``stamp`` is missing or older than one of its sources."""
    return not stamp.exists() or any(source.stat().st_mtime > stamp.stat().st_mtime for source in sources)


def call(words: Sequence[str], variables: Variables) -> int:
    """Show a command, run it in this folder, and give its exit status."""
    print(subprocess.list2cmdline(words), flush=True)
    return subprocess.run(words, cwd=ROOT, env=dict(variables), check=False).returncode


def make_venv(variables: Variables) -> int:
    """Make ``.venv`` if there is none; the exit status. Raises ``SystemExit`` with a sentence for an old Python."""
    if venv_python().exists():
        return 0
    if sys.version_info < LEAST_PYTHON:
        raise SystemExit("Python 3.11 or newer is needed: python3.11 tasks.py ..., or make PYTHON=python3.11 ...")
    return call([sys.executable, "-m", "venv", str(VENV)], variables)


def install(needs: Sequence[str], variables: Variables) -> int:
    """Install the files of requirements that changed since their stamps, in order; the exit status."""
    stamps: list[Path] = []
    for name in needs:
        requirements, stamp = f"requirements/{name}.txt", VENV / STAMPS[name]
        if stale(stamp, ROOT / requirements, *stamps):
            status = call([str(venv_python()), "-m", "pip", "install", "-q", "-r", requirements], variables)
            if status:
                return status
            stamp.touch()
        stamps.append(stamp)
    return 0


def run(name: str, variables: Variables) -> int:
    """Run one task to its first failure; the exit status."""
    task = TASKS[name]
    status = make_venv(variables) or install(task.needs, variables)
    for command in task.commands:
        status = status or call(command_line(command, variables), {**variables, **command.variables})
    return status


def help_text() -> str:
    """One line for each task."""
    width = max(map(len, TASKS))
    return "\n".join(f"{name:{width}}  {task.purpose}" for name, task in TASKS.items())


def unknown(names: Sequence[str]) -> str:
    """A sentence on the first name that is no task, or nothing."""
    wrong = [name for name in names if name not in TASKS]
    return f'There is no task "{wrong[0]}"; known are {", ".join(TASKS)}.' if wrong else ""


def run_all(name: str, variables: Variables) -> int:
    """Run the tasks that ``name`` stands for to the first failure, and say what was left out; the exit status."""
    chosen = parts(name, variables)
    for part in chosen:
        if status := run(part, variables):
            return status
    if chosen == ALWAYS:
        webui = variables["WEBUI_DIR"]
        print(f"The real WebUI's tests did NOT run: there is no WebUI in {webui}. Set WEBUI_DIR=...")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the named tasks in order until one fails; the exit status."""
    names, given = split(arguments)
    if not names or set(names) & {"help", "-h", "--help"}:
        print(help_text())
        return 0
    if sentence := unknown(names):
        print(sentence, file=sys.stderr)
        return 2
    variables = with_defaults({**os.environ, **given})
    for name in names:
        if status := run_all(name, variables):
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
