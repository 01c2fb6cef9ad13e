"""The real WebUI as such: it boots, is deterministic, applies LoRAs, and stops. Everything else rests on these."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.webui.server import Setup, WebUI, WebUIError

PROMPT = "a cat and a dog"
TAGGED = f"{PROMPT} <lora:tinyA:1> <lora:tinyB:1>"


def test_plain_webui_knows_nothing_of_us(webui_plain: WebUI):
    scripts = webui_plain.get("/sdapi/v1/scripts").json()
    assert "clora" not in [name.lower() for name in scripts["txt2img"]]
    names = [extension["name"] for extension in webui_plain.get("/sdapi/v1/extensions").json()]
    assert names == []


def test_plain_webui_answers_with_an_image(webui_plain: WebUI):
    result = webui_plain.txt2img(prompt=PROMPT, width=128, height=64)
    assert [image.size for image in result.images] == [(128, 64)]
    assert len(result.images[0].getcolors(maxcolors=128 * 64)) > 100, "the picture is (nearly) of one colour: NaNs?"
    assert result.infotexts[0].endswith("1.10.1")


def test_same_request_gives_the_same_image(webui_plain: WebUI):
    assert webui_plain.txt2img(prompt=PROMPT).sha1 == webui_plain.txt2img(prompt=PROMPT).sha1


def test_another_seed_gives_another_image(webui_plain: WebUI):
    assert webui_plain.txt2img(prompt=PROMPT).sha1 != webui_plain.txt2img(prompt=PROMPT, seed=2).sha1


def test_built_in_lora_changes_the_image(webui_plain: WebUI):
    without, both = webui_plain.txt2img(prompt=PROMPT), webui_plain.txt2img(prompt=TAGGED)
    one = webui_plain.txt2img(prompt=f"{PROMPT} <lora:tinyA:1>")
    assert len({without.sha1, both.sha1, one.sha1}) == 3
    assert "tinyA:" in both.infotexts[0].split("Lora hashes:")[1]
    assert "tinyB:" in both.infotexts[0].split("Lora hashes:")[1]
    assert webui_plain.txt2img(prompt=PROMPT).sha1 == without.sha1, "a LoRA stayed in the weights"


def test_images_do_not_depend_on_the_extension_being_there(webui: WebUI, webui_plain: WebUI):
    for prompt in (PROMPT, TAGGED):
        assert webui.txt2img(prompt=prompt).sha1 == webui_plain.txt2img(prompt=prompt).sha1


def test_extension_is_linked(webui: WebUI):
    folders = [path.name for path in (webui.data_dir / "extensions").iterdir()]
    assert len(folders) == 1
    assert (webui.data_dir / "extensions" / folders[0]).resolve() == webui.setup.extensions[0].resolve()


def test_job_fails_loudly_on_an_unknown_script(webui_plain: WebUI):
    with pytest.raises(WebUIError) as caught:
        webui_plain.txt2img(prompt=PROMPT, alwayson_scripts={"no such script": {"args": []}})
    assert caught.value.status == 422


def test_interrupt_ends_a_job_early(webui_plain: WebUI):
    before, mark = webui_plain.txt2img(prompt=PROMPT).sha1, webui_plain.log_mark()
    with ThreadPoolExecutor(max_workers=1) as pool:
        job = pool.submit(webui_plain.txt2img, prompt=PROMPT, steps=150)
        while webui_plain.get("/sdapi/v1/progress").json()["state"]["sampling_step"] < 1 and not job.done():
            time.sleep(0.05)
        webui_plain.interrupt()
        assert len(job.result().images) == 1
    assert "/150 " in webui_plain.log(mark)
    assert "150/150 " not in webui_plain.log(mark)
    assert webui_plain.txt2img(prompt=PROMPT).sha1 == before


def test_stop_ends_the_process_and_api_auth_guards(webui_plain: WebUI):
    setup = Setup(webui=webui_plain.setup.webui, model=webui_plain.setup.model, ui=False, auth=("user", "secret"))
    with WebUI(setup) as host:
        pid = host.pid
        assert pid is not None
        assert host.txt2img(prompt=PROMPT).sha1 == webui_plain.txt2img(prompt=PROMPT).sha1
        assert host.get("/sdapi/v1/samplers", auth=("user", "wrong")).status_code == 401
    assert host.pid is None
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)
    assert not host.data_dir.exists()
