"""What `tests/webui/install.py` installs is what WebUI's own launcher wants."""

import re
from pathlib import Path

from tests.webui.install import PACKAGES, PARTS

ROOT = Path(__file__).resolve().parents[2]
GONE = "Stability-AI/stablediffusion"
"""The only repository that is taken from somebody else than the launcher takes it from."""


def test_repositories_commits_and_variables_are_the_launchers(webui_dir: Path):
    launcher = (webui_dir / "modules" / "launch_utils.py").read_text(encoding="utf-8")
    addresses = dict(re.findall(r"'(\w+_REPO)', [\"']https://github\.com/(.+?)\.git[\"']", launcher))
    commits = dict(re.findall(r"'(\w+)_COMMIT_HASH', [\"'](\w+)[\"']", launcher))
    assert {part.variable: part.commit for part in PARTS} == {f"{name}_REPO": commits[name] for name in commits}
    ours = {part.variable: part.repository for part in PARTS}
    assert addresses == ours | {"STABLE_DIFFUSION_REPO": GONE}
    folders = re.findall(r"git_clone\(\w+, repo_dir\('([\w-]+)'\)", launcher)
    assert {part.folder for part in PARTS} == {f"repositories/{name}" for name in folders}


def test_packages_are_the_launchers(webui_dir: Path):
    launcher = (webui_dir / "modules" / "launch_utils.py").read_text(encoding="utf-8")
    versions = (webui_dir / "requirements_versions.txt").read_text(encoding="utf-8").lower()
    assert f"pip install {' '.join(PACKAGES[1])} " in launcher
    assert PACKAGES[0][-1] in versions
    host = (ROOT / "requirements" / "host.txt").read_text(encoding="utf-8").splitlines()
    for line in host:
        assert line.startswith(("#", "torch==")) or line in versions, line
    assert PACKAGES[1][0] in host
