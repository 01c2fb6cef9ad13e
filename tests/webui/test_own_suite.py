"""WebUI's own tests of its API, against a WebUI without us, with us switched off, and with us on and no LoRA."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from tests.webui.conftest import CHECKOUT
from tests.webui.server import WebUI

FILES = ("test_txt2img.py", "test_img2img.py", "test_utils.py")
"""Those that ask a server, but for test_extras.py, which downloads upscalers."""
LEAST = 20


def outcomes(folder: Path, host: WebUI, results: Path, **more: str) -> dict[str, str]:
    """What every test has come to."""
    environment = {**os.environ, "BASE_URL": host.url, "PYTHONPATH": str(CHECKOUT), **more}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "tests.webui.base_url", "-p", "no:cacheprovider"]
    words += [f"--junitxml={results}", *(str(folder / "test" / name) for name in FILES)]
    subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=False, timeout=600)
    cases = ElementTree.parse(results).iter("testcase")
    return {case.get("name", ""): next((each.tag for each in case), "passed") for case in cases}


def test_webuis_own_tests_pass_as_without_us(webui_dir: Path, webui_plain: WebUI, webui: WebUI, tmp_path: Path):
    without = outcomes(webui_dir, webui_plain, tmp_path / "without.xml")
    assert list(without.values()).count("passed") >= LEAST, without
    assert outcomes(webui_dir, webui, tmp_path / "off.xml") == without
    assert outcomes(webui_dir, webui, tmp_path / "on.xml", COMPOSED="1") == without
