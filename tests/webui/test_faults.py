"""Some of the faults of ``python -m tests.webui.faults``, and the files and clients that it does not break."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.webui.faults import Before, Point, composed_before, inject, look, pictures, points, spread
from tests.webui.jobs import BINDINGS, PROMPT, SMALL, compose, draw, is_sampling, wait_until
from tests.webui.server import WebUI, WebUIError

SOME = 12
"""Points of the whole table that are tried here."""


@pytest.fixture(scope="module")
def before(webui_probed: WebUI) -> Before:
    """The probed host before any fault."""
    return composed_before(webui_probed)


def test_plain_pictures_are_those_of_a_webui_without_us(before: Before, webui_plain: WebUI):
    assert before.plain == pictures(webui_plain)


def test_faults_at_any_call_are_survived(webui_probed: WebUI, before: Before):
    found = points(webui_probed)
    assert len(found) > 200
    assert {point.kind for point in found} == {"error", "memory", "interrupt", "skip"}
    for point in spread(found, SOME):
        inject(webui_probed, point, before)


@pytest.mark.parametrize("name", ["lifecycle.py:activated", "lifecycle.py:attach", "sampling.py:composing_launch"])
def test_a_fault_that_the_host_swallows_is_told_each_time(webui_probed: WebUI, before: Before, name: str):
    for _ in range(2):
        told = inject(webui_probed, Point(f"clora_ext/hosts/webui/{name}", 1, "error"), before)
        assert told is not None


def test_a_fault_that_does_not_happen_is_noticed(webui_probed: WebUI, before: Before):
    with pytest.raises(AssertionError, match="the job did not come to"):
        inject(webui_probed, Point("clora_ext/core/loss.py:no_such_function", 1, "error"), before)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lora(webui_probed: WebUI) -> Iterator[Path]:
    """A LoRA file that may be broken, called broken."""
    folder = webui_probed.data_dir / "models" / "Lora"
    path = folder / "broken.safetensors"
    shutil.copy(folder / "tinyA.safetensors", path)
    webui_probed.post("/sdapi/v1/refresh-loras").raise_for_status()
    yield path
    path.unlink(missing_ok=True)
    webui_probed.post("/sdapi/v1/refresh-loras").raise_for_status()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def huge_header(path: Path) -> None:
    path.write_bytes((2**30).to_bytes(8, "little") + path.read_bytes()[8:])


def not_finite(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4] + b"\x00\x00\xc0\x7f")


def other_file(path: Path) -> None:
    path.write_bytes(b"<html>not found</html>")


def doubled(path: Path) -> None:
    """Every name twice."""
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    text = whole[8 : 8 + length].rstrip()
    twice = text[:-1] + b"," + text[1:]
    path.write_bytes(len(twice).to_bytes(8, "little") + twice + whole[8 + length :])


DAMAGE = {
    "deleted": (Path.unlink, ("is gone",)),
    "cut": (cut, ("is cut off", "download it again")),
    "empty": (empty, ("is empty", "download it again")),
    "header of a gigabyte": (huge_header, ("is no safetensors file",)),
    "not finite": (not_finite, ("not finite",)),
    "other file": (other_file, ("is a page of the web",)),
    "doubled names": (doubled, ("LoRA broken",)),
}


@pytest.mark.parametrize("what", sorted(DAMAGE))
def test_a_file_that_is_broken_between_jobs_is_told(webui_probed: WebUI, before: Before, lora: Path, what: str):
    bindings = [{**BINDINGS[0], "lora": "broken"}, BINDINGS[1]]
    whole = compose(webui_probed, {"bindings": bindings}, **SMALL).sha1
    kept, (damage, words) = lora.read_bytes(), DAMAGE[what]
    damage(lora)
    with pytest.raises(WebUIError) as caught:
        compose(webui_probed, {"bindings": bindings}, **SMALL)
    assert caught.value.status == 422, str(caught.value)
    for word in words:
        assert word in str(caught.value)
    assert look(webui_probed) == before
    lora.write_bytes(kept)
    assert compose(webui_probed, {"bindings": bindings}, **SMALL).sha1 == whole


def test_a_file_that_is_broken_during_a_job_is_told_by_the_next(webui_probed: WebUI, before: Before, lora: Path):
    bindings = [{**BINDINGS[0], "lora": "broken"}, BINDINGS[1]]
    job = {**SMALL, "steps": 40}
    whole = compose(webui_probed, {"bindings": bindings}, **job).sha1
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(compose, webui_probed, {"bindings": bindings}, **job)
        wait_until(lambda: is_sampling(webui_probed))
        cut(lora)
        assert running.result().sha1 == whole
    with pytest.raises(WebUIError, match="is cut off"):
        compose(webui_probed, {"bindings": bindings}, **job)
    assert look(webui_probed) == before


def test_clients_at_once_get_their_own_pictures(webui_probed: WebUI, before: Before):
    composed = compose(webui_probed, **SMALL).sha1
    with ThreadPoolExecutor(4) as pool:
        ours = [pool.submit(compose, webui_probed, **SMALL) for _ in range(3)]
        theirs = [pool.submit(draw, webui_probed, prompt=PROMPT, **SMALL) for _ in range(3)]
    assert {job.result().sha1 for job in ours} == {composed}
    assert {job.result().sha1 for job in theirs} == {before.plain[1]}
    assert look(webui_probed) == before
