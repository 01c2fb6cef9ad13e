"""Who may ask, how much, for which files, and what is told of it."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.webui.conftest import CHECKOUT
from tests.webui.jobs import BINDINGS, PROMPT, SMALL, TAGGED, compose, draw, fields, last
from tests.webui.server import SMALL_JOB, Setup, WebUI, WebUIError

CAT, DOG = BINDINGS
NAMES = (
    "../../outside", "..\\..\\outside", "./outside", "/etc/passwd", "~/outside", "C:\\outside", "C:outside",
    "outside\x00", "\\\\nas\\share\\outside", "//nas/share/outside", "outside.safetensors", "file:outside",
    "%2e%2e/outside", "link/outside",
)  # fmt: skip
"""Names of a file that lies beside the folder of LoRAs, and not in it."""


@pytest.fixture(scope="module")
def host(webui_probed: WebUI) -> Iterator[WebUI]:
    """The probed host with a LoRA file outside of its folder."""
    data = webui_probed.data_dir
    outside = data / "outside.safetensors"
    outside.write_bytes((data / "models" / "Lora" / "tinyA.safetensors").read_bytes())
    yield webui_probed
    outside.unlink()


def files(folder: Path) -> set[str]:
    """All files below a folder, but for logs."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix != ".log"}


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_lora_leaves_its_folder(host: WebUI, name: str):
    for bindings, prompt in ([[{**CAT, "lora": name}, DOG], PROMPT], [[DOG], f"{PROMPT} <lora:{name}:1:bind=cat>"]):
        answer = host.post("/sdapi/v1/txt2img", {**SMALL_JOB, **SMALL, "prompt": prompt, **fields(bindings=bindings)})
        assert answer.status_code == 422, answer.text[:500]
        assert "There is no LoRA" in answer.json()["detail"] or "The tag <lora:" in answer.json()["detail"]
        told = host.post("/clora/v1/tokenize", {"prompt": prompt, "clora": {"bindings": bindings}}).json()
        assert told["problems"]


@pytest.mark.parametrize(
    "name", ["..%2f..%2fx", "%2fetc%2fx", "..%5cx", "C%3a%5cx", "x%00", "%5c%5cnas%5cx", "%3cimg src=x onerror=a%3e"]
)
def test_no_name_of_a_preset_is_a_file(host: WebUI, name: str):
    assert host.put("/clora/v1/presets/first", {}).status_code == 200
    before = files(host.data_dir)
    saved = host.put(f"/clora/v1/presets/{name}", {"step_size": 3})
    assert saved.status_code in (200, 404, 405), saved.text
    assert files(host.data_dir) == before
    if saved.status_code == 200:
        assert host.delete(f"/clora/v1/presets/{name}").status_code == 200
    assert list(host.delete("/clora/v1/presets/first").json()) == []


def test_presets_follow_no_link(host: WebUI):
    target = host.data_dir / "outside.txt"
    target.write_text("mine", encoding="utf-8")
    (host.data_dir / "clora-presets.new").symlink_to(target)
    assert host.put("/clora/v1/presets/one", {}).status_code == 200
    assert host.delete("/clora/v1/presets/one").status_code == 200
    assert target.read_text(encoding="utf-8") == "mine"
    target.unlink()


def test_a_folder_that_can_not_be_written_is_told_and_nothing_is_lost(host: WebUI):
    assert host.put("/clora/v1/presets/kept", {"step_size": 3}).status_code == 200
    (host.data_dir / "clora-presets.new").mkdir()
    refused = host.put("/clora/v1/presets/other", {})
    assert refused.status_code == 422
    assert "The presets can not be written" in refused.json()["detail"]
    (host.data_dir / "clora-presets.new").rmdir()
    assert list(host.get("/clora/v1/presets").json()) == ["kept"]
    assert host.delete("/clora/v1/presets/kept").json() == {}


def test_two_clients_that_save_at_once_lose_nothing(host: WebUI):
    names = [f"at once {number}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        kept = list(pool.map(lambda name: host.put(f"/clora/v1/presets/{name}", {}).status_code, names))
    assert kept == [200] * 12
    assert sorted(host.get("/clora/v1/presets").json()) == sorted(names)
    for name in names:
        assert host.delete(f"/clora/v1/presets/{name}").status_code == 200


# -- how much ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"prompt": "' + b"x" * 2**24 + b'"}', 413, "more than 16,777,216 bytes"),
        (json.dumps({"prompt": "cat " * 6000}).encode(), 200, "CLoRA reads 20,000 at most"),
        (b'{"prompt": "a cat", "clora": {"step_size": NaN}}', 422, "NaN is no number of JSON"),
        (b'{"prompt": "\\ud83d"}', 422, "can not be read as JSON"),
        (b'{"prompt": ' + b"[" * 100_000, 422, "can not be read as JSON"),
        (b"{", 422, "can not be read as JSON"),
        (b"\xff\xfe", 422, "can not be read as JSON"),
    ],
    ids=["huge", "long", "nan", "half-a-sign", "deep", "cut", "bytes"],
)  # fmt: skip
def test_what_can_not_be_read_is_told(host: WebUI, body: bytes, status: int, words: str):
    for route in ("tokenize", "estimate"):
        answer = host.post(f"/clora/v1/{route}", None, data=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, answer.text[:500]
        assert words in answer.text


def test_a_job_that_is_too_long_is_refused(host: WebUI):
    with pytest.raises(WebUIError, match="CLoRA reads 20,000 at most") as caught:
        compose(host, prompt="a cat and a dog " * 1500, **SMALL)
    assert caught.value.status == 422


# -- nothing goes out --------------------------------------------------------------------------------------------------


def test_nothing_is_sent_fetched_started_or_unpickled(host: WebUI):
    draw(host, **SMALL)
    host.post("/probe/audit", {"on": True}).raise_for_status()
    host.post("/probe/audit/sample").raise_for_status()
    (sample,) = host.get("/probe/audit").json()
    assert sample.startswith("socket.getaddrinfo")
    host.post("/probe/audit", {"on": True}).raise_for_status()
    compose(host, {"show_masks": True}, prompt=TAGGED, **SMALL)
    for route in ("version", "schema", "last", "masks", "report", "presets"):
        assert host.get(f"/clora/v1/{route}").status_code == 200
    assert host.post("/clora/v1/estimate", {"prompt": TAGGED}).status_code == 200
    found = host.get("/probe/audit").json()
    host.post("/probe/audit", {"on": False}).raise_for_status()
    assert found == []


def test_every_route_asks_for_the_accounts_of_the_api(host: WebUI):
    setup = Setup(host.setup.webui, host.setup.model, (CHECKOUT,), ui=False, auth=("user", "secret"))
    with WebUI(setup) as guarded:
        paths = guarded.get("/openapi.json").json()["paths"]
        ours = [(method, path) for path in paths for method in paths[path] if path.startswith("/clora")]
        assert len(ours) >= 10
        for method, path in ours:
            address = guarded.url + path.replace("{name}", "mine")
            for account in (None, ("user", "wrong"), ("nobody", ""), ("", "")):
                answer = requests.request(method, address, auth=account, json={"prompt": "a cat"}, timeout=60)
                assert answer.status_code == 401, (method, path, account)
        assert guarded.get("/clora/v1/presets").json() == {}
        assert guarded.get("/clora/v1/report").json()["report"].count("secret") == 0


# -- the report of a problem -------------------------------------------------------------------------------------------


def test_the_report_of_a_failed_job_says_what_ran_and_why_it_failed(host: WebUI):
    bindings = [CAT, {**DOG, "subject": "wolpertinger", "trigger": "zorv"}]
    with pytest.raises(WebUIError):
        compose(host, {"bindings": bindings, "step_size": 3}, sampler_name="DDIM", **SMALL)
    told = host.get("/clora/v1/report").json()["report"]
    for words in (
        "CLoRA 0.", "WebUI 1.10.1", "torch 2.1.2", "gradio 3.41.2", "--no-half", "--use-cpu=all",
        "Stable Diffusion 1.x", "float32 on cpu", "sampler_name DDIM", "steps 2",
        "method clora, profile balanced, step_size = 3.0", "tinyB: …",
        "Extensions: ", "probe_extension", "BindingError (bindings[1].subject)", "at clora_ext/", "Composed: no",
    ):  # fmt: skip
        assert words in told, told
    for words in ("wolpertinger", "zorv", " cat", "dog", str(host.data_dir), str(Path.home())):
        assert words not in told, told
    whole = host.get("/clora/v1/report?private=true").json()["report"]
    for words in ("wolpertinger", "zorv", f"Prompt: {PROMPT}"):
        assert words in whole


def test_the_report_tells_the_chain_of_causes_of_a_fault(host: WebUI):
    host.post("/probe/function", {"name": "clora_ext.core.loss.info_nce", "call": 1}).raise_for_status()
    with pytest.raises(WebUIError):
        compose(host, **SMALL)
    told = host.get("/clora/v1/report").json()["report"]
    assert "RuntimeError: broken on purpose" in told
    assert "at clora_ext/engine/gradient.py:" in told
    compose(host, **SMALL)
    told = host.get("/clora/v1/report").json()["report"]
    assert "broken" not in told
    assert "Composed: yes" in told
    assert last(host)["error"] is None
