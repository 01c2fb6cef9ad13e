"""*Reload UI*, which runs all scripts anew in the same process, between jobs and during one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.webui.browser import open_page
from tests.webui.conftest import CHECKOUT, OVERRIDDEN, PROBE
from tests.webui.faults import look
from tests.webui.jobs import SMALL, compose, is_sampling, last, wait_until
from tests.webui.server import Model, Setup, WebUI, WebUIError

STEPS = 60


@pytest.fixture(scope="module")
def host(webui_dir: Path, parity_model: Model) -> Iterator[WebUI]:
    """A WebUI with page, this extension and the probe."""
    with WebUI(Setup(webui_dir, parity_model, (CHECKOUT, PROBE), settings=OVERRIDDEN)) as running:
        yield running


def reload(host: WebUI) -> None:
    """Click *Reload UI*, and wait until the server has come back."""
    mark = host.log_mark()
    with open_page(host) as opened:
        opened.page.locator("#tabs > .tab-nav button", has_text="Settings").click()
        opened.element("settings_restart_gradio").click()
        wait_until(lambda: "Startup time:" in host.log(mark))
    wait_until(lambda: answers(host))


def answers(host: WebUI) -> bool:
    try:
        return host.get("/probe/state").ok
    except requests.RequestException:
        return False


def test_a_reload_leaves_one_of_everything(host: WebUI):
    before, composed = look(host), compose(host, **SMALL).sha1
    reload(host)
    assert look(host) == before
    assert compose(host, **SMALL).sha1 == composed
    assert look(host) == before


def test_a_reload_during_a_job_ends_it_and_leaves_nothing(host: WebUI):
    before, composed = look(host), compose(host, **SMALL).sha1
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(compose, host, **{**SMALL, "steps": STEPS})
        wait_until(lambda: is_sampling(host))
        reload(host)
        with suppress(WebUIError, requests.RequestException):  # the server that had the request is gone
            job.result()
    assert look(host) == before
    assert compose(host, **SMALL).sha1 == composed
    assert last(host)["composed"] is True
    assert look(host) == before
