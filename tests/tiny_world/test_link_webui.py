"""Extension, checkpoint and LoRAs in a WebUI: as links, and where there can be none as junctions or copies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tiny_world import link_webui
from tiny_world.model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS
from tiny_world.xl_model import XL_CONFIG, XL_WEIGHTS, tokenizer_folder


@pytest.fixture
def webui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Looks like a WebUI; the extension is a small folder, with parts that a copy does without."""
    extension = tmp_path / "checkout"
    for name in ("scripts/clora.py", ".git/HEAD", ".venv/pyvenv.cfg", "out/old.png", "scripts/__pycache__/clora.pyc"):
        (extension / name).parent.mkdir(parents=True, exist_ok=True)
        (extension / name).write_text(name, encoding="utf-8")
    monkeypatch.setattr(link_webui, "ROOT", extension)
    folder = tmp_path / "webui"
    folder.mkdir()
    (folder / "webui.py").touch()
    return folder


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """No right to make links, as most accounts on Windows."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(1314, "a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refused)


def found(webui: Path) -> dict[str, bytes]:
    """The files of the extension in ``webui``."""
    extension = webui / "extensions" / "sd-webui-clora"
    files = sorted(path for path in extension.rglob("*") if path.is_file())
    return {path.relative_to(extension).as_posix(): path.read_bytes() for path in files}


def test_everything_is_there_and_again(webui: Path) -> None:
    for _ in range(2):
        made = link_webui.link(webui)
        assert all(path.exists() for path in made)
        assert "scripts/clora.py" in found(webui)
    models = webui / "models"
    assert (models / "Stable-diffusion" / CHECKPOINT.name).read_bytes() == CHECKPOINT.read_bytes()
    loras = [path for weights in (WEIGHTS, XL_WEIGHTS) for path in weights.glob("lora*/*.safetensors")]
    assert {path.name for path in (models / "Lora").iterdir()} == {path.name for path in loras}
    for config, tokenizer in ((CONFIG, TOKENIZER), (XL_CONFIG, tokenizer_folder())):
        text = (models / "Stable-diffusion" / config.name).read_text(encoding="utf-8")
        assert str(tokenizer.resolve()) in text
        assert "@TOKENIZER@" not in text


@pytest.mark.usefixtures("no_links")
def test_without_the_right_to_link_everything_is_copied(webui: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_webui, "junction", lambda place, target: False)
    link_webui.link(webui)
    assert list(found(webui)) == ["scripts/clora.py"]
    copied = webui / "models" / "Stable-diffusion" / CHECKPOINT.name
    assert not copied.is_symlink()
    assert copied.read_bytes() == CHECKPOINT.read_bytes()


@pytest.mark.usefixtures("no_links")
def test_a_junction_stands_in_for_the_folder_and_copies_are_known_again(
    webui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Path, Path]] = []

    def joined(place: Path, target: Path) -> bool:
        made.append((place, target))
        place.mkdir()
        return True

    monkeypatch.setattr(link_webui, "junction", joined)
    link_webui.link(webui)
    place = webui / "extensions" / "sd-webui-clora"
    assert made == [(place, link_webui.ROOT.resolve())]
    resolve = Path.resolve
    monkeypatch.setattr(Path, "resolve", lambda path: resolve(link_webui.ROOT if path == place else path))
    link_webui.link(webui)
    assert len(made) == 1


def test_an_older_link_is_replaced(webui: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    place = webui / "extensions" / "sd-webui-clora"
    place.parent.mkdir()
    try:
        place.symlink_to(old, target_is_directory=True)
    except OSError:
        pytest.skip("no right to make links here")
    link_webui.link(webui)
    assert place.resolve() == link_webui.ROOT.resolve()
    assert old.is_dir()


def test_what_is_not_ours_is_not_touched(webui: Path) -> None:
    place = webui / "models" / "Stable-diffusion" / CHECKPOINT.name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"somebody's own")
    with pytest.raises(SystemExit, match="no link of ours; move it away first"):
        link_webui.link(webui)
    assert place.read_bytes() == b"somebody's own"
    assert not (webui / "extensions").exists(), "nothing is done by halves"


def test_another_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="name the folder that holds webui"):
        link_webui.link(tmp_path)


def test_junctions_are_windows_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines: list[list[str]] = []

    def ran(words: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        lines.append(words)
        return subprocess.CompletedProcess(words, len(lines) - 1)

    monkeypatch.setattr(link_webui.subprocess, "run", ran)
    place, target = tmp_path / "place", tmp_path / "target"
    assert not link_webui.junction(place, target, "posix")
    assert not lines
    assert link_webui.junction(place, target, "nt")
    assert lines == [["cmd", "/c", "mklink", "/J", str(place), str(target)]]
    assert not link_webui.junction(place, target, "nt"), "a network drive has none"
