"""How a WebUI for the tests is set up, on small repositories: where they come from, and what may be missing in them."""

import subprocess
from pathlib import Path

import pytest

from tests.webui import install
from tests.webui.install import PARTS, WEBUI, InstallError, Source

AUTHOR = ("-c", "user.name=test", "-c", "user.email=test@example.com")


def git(folder: Path, *words: str) -> str:
    """Run git in a folder."""
    line = ["git", "-C", str(folder), *AUTHOR, *words]
    return subprocess.run(line, capture_output=True, encoding="utf-8", check=True).stdout.strip()


def repository(folder: Path, files: dict[str, str]) -> str:
    """Make a repository with one commit; its number."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return git(folder, "rev-parse", "HEAD")


def forget(folder: Path, name: str) -> None:
    """Take a file's contents out of a repository, as in a partial mirror."""
    number = git(folder, "rev-parse", f"HEAD:{name}")
    blob = folder / ".git" / "objects" / number[:2] / number[2:]
    blob.chmod(0o600)
    blob.unlink()


@pytest.fixture
def mirrors(tmp_path: Path) -> Path:
    """A folder of mirrors: WebUI's of somebody else, and that of one part."""
    repository(tmp_path / "fork+web" / "repo", {"launch.py": "pass\n", "modules/a b.py": "pass\n", "cat.png": "cat"})
    repository(tmp_path / "owner+part" / "repo", {"part.py": "pass\n"})
    return tmp_path


def source(mirrors: Path, name: str, folder: str = ".") -> Source:
    """The repository of that name, at its commit."""
    (path,) = mirrors.glob(f"*+{name}/repo")
    return Source(f"owner/{name}", git(path, "rev-parse", "HEAD"), f"{name.upper()}_REPO", folder)


def test_everything_comes_from_github_unless_a_variable_says_otherwise(mirrors: Path):
    part = source(mirrors, "part")
    assert install.address(part, {}) == "https://github.com/owner/part.git"
    assert install.address(part, {"WEBUI_SOURCES": str(mirrors)}) == str(mirrors / "owner+part" / "repo")
    named = {"WEBUI_SOURCES": str(mirrors), "PART_REPO": "https://example.com/part.git"}
    assert install.address(part, named) == "https://example.com/part.git"


def test_a_mirror_of_a_fork_serves(mirrors: Path):
    assert install.mirror(mirrors, source(mirrors, "web")) == mirrors / "fork+web" / "repo"
    repository(mirrors / "owner+web" / "repo", {"other": "1"})
    assert install.mirror(mirrors, source(mirrors, "part")) == mirrors / "owner+part" / "repo"
    assert install.mirror(mirrors, Source("owner/web", "", "", ".")) == mirrors / "owner+web" / "repo"


def test_a_missing_mirror_names_its_variable(mirrors: Path):
    with pytest.raises(InstallError, match=r"no mirror of owner/none .* set NONE_REPO"):
        install.address(Source("owner/none", "", "NONE_REPO", "."), {"WEBUI_SOURCES": str(mirrors)})


def test_pictures_that_a_mirror_lacks_are_left_out(mirrors: Path, tmp_path: Path):
    forget(mirrors / "fork+web" / "repo", "cat.png")
    wanted, webui = source(mirrors, "web"), tmp_path / "webui"
    install.check_out(wanted, webui, {"WEBUI_SOURCES": str(mirrors)})
    assert sorted(path.name for path in webui.rglob("*.p*") if ".git" not in path.parts) == ["a b.py", "launch.py"]
    assert git(webui, "rev-parse", "HEAD") == wanted.commit, "the launcher takes it for what it wants"


def test_code_that_a_mirror_lacks_is_said(mirrors: Path, tmp_path: Path):
    forget(mirrors / "fork+web" / "repo", "launch.py")
    with pytest.raises(InstallError, match=r"lacks launch\.py: its mirror is not whole\. Set WEB_REPO"):
        install.check_out(source(mirrors, "web"), tmp_path / "webui", {"WEBUI_SOURCES": str(mirrors)})


def test_a_commit_that_is_not_there_is_said(mirrors: Path, tmp_path: Path):
    wanted = Source("owner/part", "1" * 40, "PART_REPO", ".")
    with pytest.raises(InstallError, match=r"has no commit 1111.* set PART_REPO"):
        install.check_out(wanted, tmp_path / "webui", {"WEBUI_SOURCES": str(mirrors)})


@pytest.fixture
def steps(mirrors: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Small repositories in place of WebUI's, and commands that are noted instead of run."""
    made: list[list[str]] = []
    monkeypatch.setattr(install, "WEBUI", source(mirrors, "web"))
    monkeypatch.setattr(install, "PARTS", (source(mirrors, "part", "repositories/part"),))
    monkeypatch.setattr(install, "_run", lambda words, folder: made.append([*words]))
    monkeypatch.setattr(install, "version", lambda words: "3.10")
    return made


def test_a_webui_is_set_up_and_then_left_alone(steps: list[list[str]], mirrors: Path, tmp_path: Path):
    webui, variables = tmp_path / "webui", {"WEBUI_SOURCES": str(mirrors), "PYTHON310": "some-python"}
    assert "stands in" in install.install(webui, variables)
    assert (webui / "launch.py").is_file()
    assert (webui / "repositories" / "part" / "part.py").is_file()
    assert steps[0] == ["some-python", "-m", "venv", "venv"]
    assert [line[5:] for line in steps[1:]] == [list(packages) for packages in install.PACKAGES]
    steps.clear()
    assert "left alone" in install.install(webui, variables)
    assert not steps


def broken_off(words: list[str], folder: Path) -> None:
    """In place of a command."""
    raise InstallError("no network")


def test_what_broke_off_goes_on(steps: list[list[str]], mirrors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    webui, variables = tmp_path / "webui", {"WEBUI_SOURCES": str(mirrors), "PYTHON310": "some-python"}
    with monkeypatch.context() as broken:
        broken.setattr(install, "_run", broken_off)
        with pytest.raises(InstallError, match="no network"):
            install.install(webui, variables)
    (webui / "launch.py").unlink()
    assert "stands in" in install.install(webui, variables)
    assert (webui / "launch.py").is_file()
    assert steps


def test_somebody_elses_folder_is_not_touched(steps: list[list[str]], tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "launch.py").write_text("pass\n", encoding="utf-8")
    assert "left alone" in install.install(tmp_path / "mine", {})
    (tmp_path / "mine" / "launch.py").rename(tmp_path / "mine" / "notes.txt")
    repository(tmp_path / "project", {"notes.txt": "mine"})
    for folder in ("mine", "project"):
        with pytest.raises(InstallError, match="no WebUI and not empty"):
            install.install(tmp_path / folder, {})
    assert not steps


def test_the_first_python_of_the_right_version_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pyenv = tmp_path / "versions" / "3.10.9" / "bin" / "python"
    pyenv.parent.mkdir(parents=True)
    pyenv.touch()
    names = {"python3.10": "broken", "python3": "new", "py": "py"}
    monkeypatch.setattr(install.shutil, "which", names.get)
    versions = {("broken",): "", ("new",): "3.12", (str(pyenv),): "3.10", ("py", "-3.10"): "3.10", ("mine",): "3.10"}
    monkeypatch.setattr(install, "version", lambda words: versions[tuple(words)])
    assert install.python310({"PYENV_ROOT": str(tmp_path)}) == [str(pyenv)]
    assert install.python310({"PYENV_ROOT": str(tmp_path / "none")}) == ["py", "-3.10"]
    assert install.python310({"PYENV_ROOT": str(tmp_path), "PYTHON310": "mine"}) == ["mine"]
    versions["mine",] = "3.11"
    with pytest.raises(InstallError, match="set PYTHON310"):
        install.python310({"PYENV_ROOT": str(tmp_path), "PYTHON310": "mine"})


def test_the_version_of_what_does_not_run_is_none(tmp_path: Path):
    assert install.version([install.sys.executable]).startswith("3.")
    assert not install.version([str(tmp_path / "none")])
    assert not install.version([install.sys.executable, "-c", "raise SystemExit(1)"])


def test_the_command_says_what_is_missing(mirrors: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("WEBUI_SOURCES", str(mirrors))
    for one in (WEBUI, *PARTS):
        monkeypatch.delenv(one.variable, raising=False)
    assert install.main([str(tmp_path / "webui")]) == 2
    assert "no mirror of AUTOMATIC1111/stable-diffusion-webui in" in capsys.readouterr().err
