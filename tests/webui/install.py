"""`python -m tests.webui.install [FOLDER]`: AUTOMATIC1111 WebUI 1.10.1 for the tests, with repositories and Python.

FOLDER is by default `WEBUI_DIR`, else `~/stable-diffusion-webui`; a WebUI that is there already is left alone, and an
installation that broke off goes on. What comes from where:

- `WEBUI_SOURCES`: a folder of git mirrors laid out as OWNER+NAME/repo; without it all comes from GitHub. Pictures that
  a partial mirror lacks are left out.
- `WEBUI_REPO`, and `STABLE_DIFFUSION_REPO` and the like as in WebUI's own launcher: the address of one repository.
- `PYTHON310`: the Python 3.10 to use, if it is not on the PATH, in pyenv or known to `py`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".mp4"}
WANTED_PYTHON = "3.10"

PACKAGES = (
    ("pip<25", "wheel", "setuptools==69.5.1"),  # CLIP's setup asks for pkg_resources, which newer setuptools lack
    ("torch==2.1.2", "torchvision==0.16.2"),
    ("--no-build-isolation", "-r", "requirements_versions.txt", "openai-clip==1.0.1"),
)
"""What the launcher installs, in order. CLIP is the release of the commit that the launcher names."""

Variables = Mapping[str, str]


class InstallError(RuntimeError):
    """What is missing, as a sentence."""


@dataclass(frozen=True, slots=True)
class Source:
    """A repository at one commit: OWNER/NAME on GitHub, the variable with another address, and its folder in WebUI."""

    repository: str
    commit: str
    variable: str
    folder: str


WEBUI = Source("AUTOMATIC1111/stable-diffusion-webui", "82a973c04367123ae98bd9abdf80d9eda9b910e2", "WEBUI_REPO", ".")
PARTS = (
    Source(
        "AUTOMATIC1111/stable-diffusion-webui-assets",
        "6f7db241d2f8ba7457bac5ca9753331f0c266917",
        "ASSETS_REPO",
        "repositories/stable-diffusion-webui-assets",
    ),
    Source(  # Stability-AI/stablediffusion is gone since December 2025; this fork of a maintainer has the commit
        "w-e-w/stablediffusion",
        "cf1d67a6fd5ea1aa600c4df58e5b47da45f6bdbf",
        "STABLE_DIFFUSION_REPO",
        "repositories/stable-diffusion-stability-ai",
    ),
    Source(
        "Stability-AI/generative-models",
        "45c443b316737a4ab6e40413d7794a7f5657c19f",
        "STABLE_DIFFUSION_XL_REPO",
        "repositories/generative-models",
    ),
    Source(
        "crowsonkb/k-diffusion",
        "ab527a9a6d347f364e3d185ba6d714e22d80cb3c",
        "K_DIFFUSION_REPO",
        "repositories/k-diffusion",
    ),
    Source("salesforce/BLIP", "48211a1594f1321b00f14c9f7a5b4813144b2fb9", "BLIP_REPO", "repositories/BLIP"),
)
"""As `modules/launch_utils.py` of that WebUI pins them, at the commits it names."""


# -- repositories ----------------------------------------------------------------------------------------------------


def address(source: Source, variables: Variables) -> str:
    """Where to clone a repository from. Raise InstallError for a folder of mirrors that lacks it."""
    if named := variables.get(source.variable):
        return named
    if mirrors := variables.get("WEBUI_SOURCES"):
        return str(mirror(Path(mirrors).expanduser(), source))
    return f"https://github.com/{source.repository}.git"


def mirror(folder: Path, source: Source) -> Path:
    """The mirror of a repository, or of a fork: whose it is says nothing about what a commit holds."""
    owner, name = source.repository.split("/")
    found = [folder / f"{owner}+{name}" / "repo", *sorted(folder.glob(f"*+{name}/repo"))]
    there = [path for path in found if path.is_dir()]
    if not there:
        message = f"There is no mirror of {source.repository} in {folder}: set {source.variable} to its address."
        raise InstallError(message)
    return there[0]


def git(*words: str, given: str = "") -> str:
    """Run git with `given` as its input and return what it prints. Raise InstallError with git's last line."""
    done = subprocess.run(["git", *words], input=given, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else "no reason given"
        message = f"git {' '.join(words[:4])} failed: {reason}"
        raise InstallError(message)
    return done.stdout


def check_out(source: Source, webui: Path, variables: Variables) -> None:
    """Clone a repository if it is not there, and check out its commit without the pictures that the clone lacks."""
    target = webui / source.folder
    if not (target / ".git").exists():
        origin = address(source, variables)
        print(f"{source.repository} from {origin}", flush=True)
        git("clone", "--quiet", "--no-checkout", origin, str(target))
    _need_commit(source, target)
    _unfinished(webui).touch()
    present, missing = files(target, source.commit)
    lost = [path for path in missing if Path(path).suffix.lower() not in PICTURES]
    if lost:
        message = f"{target} lacks {lost[0]}: its mirror is not whole. Set {source.variable} to another."
        raise InstallError(message)
    git("-C", str(target), "update-ref", "--no-deref", "HEAD", source.commit)
    wanted = ["checkout", "--quiet", source.commit, "--pathspec-from-file=-", "--pathspec-file-nul"]
    git("-C", str(target), "--literal-pathspecs", *wanted, given="\0".join(present))


def _need_commit(source: Source, target: Path) -> None:
    try:
        git("-C", str(target), "cat-file", "-e", f"{source.commit}^{{commit}}")
    except InstallError as error:
        message = f"{target} has no commit {source.commit}: remove it, and set {source.variable} to another repository."
        raise InstallError(message) from error


def files(target: Path, commit: str) -> tuple[list[str], list[str]]:
    """Paths of a commit whose contents are in the repository, and paths whose contents are not."""
    listed = git("-C", str(target), "ls-tree", "-r", "-z", commit)
    entries = listed.rstrip("\0").split("\0")
    numbers = [entry.split("\t")[0].split()[2] for entry in entries]
    paths = [entry.split("\t")[1] for entry in entries]
    asked = "\n".join(numbers) + "\n"
    said = git("-C", str(target), "cat-file", "--batch-check", given=asked)
    lacking = {line.split()[0] for line in said.splitlines() if line.endswith(" missing")}
    present = [path for path, number in zip(paths, numbers, strict=True) if number not in lacking]
    missing = [path for path, number in zip(paths, numbers, strict=True) if number in lacking]
    return present, missing


# -- Python ----------------------------------------------------------------------------------------------------------


def python310(variables: Variables) -> list[str]:
    """The words that start a Python 3.10. Raise InstallError when there is none."""
    for words in _pythons(variables):
        if version(words) == WANTED_PYTHON:
            return words
    message = f"WebUI needs Python {WANTED_PYTHON}, and there is none: set PYTHON310 to it."
    raise InstallError(message)


def _pythons(variables: Variables) -> Iterator[list[str]]:
    if named := variables.get("PYTHON310"):
        yield [named]
        return
    for name in ("python3.10", "python3", "python"):
        if found := shutil.which(name):
            yield [found]
    pyenv = Path(variables.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    for pattern in ("versions/3.10.*/bin/python", "pyenv-win/versions/3.10.*/python.exe"):
        yield from ([str(path)] for path in sorted(pyenv.glob(pattern)))
    if launcher := shutil.which("py"):
        yield [launcher, "-3.10"]


def version(words: Sequence[str]) -> str:
    """Major and minor version of a Python, or nothing where it does not run."""
    probe = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([*words, "-c", probe], capture_output=True, encoding="utf-8", check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def venv_python(webui: Path) -> Path:
    """The Python of a WebUI's own `venv`, where this system puts it."""
    return webui / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install_packages(webui: Path, variables: Variables) -> None:
    """Make the WebUI's `venv` and install what its launcher installs. Raise InstallError where a step fails."""
    if not venv_python(webui).exists():
        _run([*python310(variables), "-m", "venv", "venv"], webui)
    for packages in PACKAGES:
        _run([str(venv_python(webui)), "-m", "pip", "install", "-q", *packages], webui)


def _run(words: Sequence[str], folder: Path) -> None:
    print(subprocess.list2cmdline(words), flush=True)
    if subprocess.run(words, cwd=folder, check=False).returncode != 0:
        message = f"This failed in {folder}: {subprocess.list2cmdline(words)}"
        raise InstallError(message)


# -- all of it -------------------------------------------------------------------------------------------------------


def _unfinished(webui: Path) -> Path:
    """The file that says that an installation of ours is under way."""
    return webui / ".git" / "clora-unfinished"


def install(webui: Path, variables: Variables) -> str:
    """Set a WebUI up in a folder, and return a sentence on what was done. Raise InstallError."""
    if not _unfinished(webui).exists():
        if (webui / "launch.py").is_file():
            return f"There is a WebUI in {webui} already; it was left alone."
        if webui.is_dir() and any(path.name != ".git" for path in webui.iterdir()):
            message = f"{webui} is no WebUI and not empty: name another folder."
            raise InstallError(message)
    for source in (WEBUI, *PARTS):
        check_out(source, webui, variables)
    install_packages(webui, variables)
    _unfinished(webui).unlink()
    return f"WebUI 1.10.1 stands in {webui}."


def main(arguments: Sequence[str]) -> int:
    """Command line; 0, or 2 with a sentence on what is missing."""
    named = arguments[0] if arguments else os.environ.get("WEBUI_DIR") or "~/stable-diffusion-webui"
    try:
        print(install(Path(named).expanduser().absolute(), os.environ))
    except InstallError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
