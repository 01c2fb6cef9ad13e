"""A pytest plugin for WebUI's own tests: where the server is, and whether every job asks for our extension.

``BASE_URL`` is the server's address. With ``COMPOSED`` set, each request for a picture names the extension.
"""

import os
from typing import Any

import pytest
import requests

PICTURES = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img")
NAMED = {"CLoRA": {"args": [{}]}}


@pytest.fixture(scope="session")
def base_url() -> str:
    return os.environ["BASE_URL"]


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Talk to the loopback address without a proxy, and to the extension where that is wanted."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    post = requests.post

    def named(url: str, *args: Any, **kwargs: Any) -> requests.Response:
        if url.endswith(PICTURES) and "COMPOSED" in os.environ:
            kwargs["json"] = {**kwargs["json"], "alwayson_scripts": NAMED}
        return post(url, *args, **kwargs)

    monkeypatch.setattr(requests, "post", named)
