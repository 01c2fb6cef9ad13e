"""Whatever is asked of our routes, as their own OpenAPI lists them, is answered soon, and never by a fault of ours."""

import json
import time
from typing import Any
from urllib.parse import quote

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.inputs import ANY_TEXT, PROMPTS, REQUESTS, VALUES
from tests.fuzz.tried import EXAMPLES, refused, tried
from tests.webui.server import WebUI

FIELDS = {
    "prompt": PROMPTS | VALUES,
    "clora": REQUESTS | VALUES,
    "styles": st.lists(ANY_TEXT, max_size=3) | VALUES,
    "steps": st.integers(-1, 1001) | VALUES,
    "width": st.integers(0, 9000) | VALUES,
    "height": st.integers(0, 9000) | VALUES,
    "denoising_strength": st.floats() | VALUES,
}
"""What a body may have; every field may be missing, and be anything."""
BODIES = st.fixed_dictionaries({}, optional=FIELDS) | VALUES
NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=120)
JSON = {"Content-Type": "application/json"}
MOST_SECONDS = 20.0
"""By the clock, on a machine that may be busy; what the answers themselves cost is bounded in tests/fuzz."""


@pytest.fixture(scope="module")
def routes(webui_probed: WebUI) -> list[tuple[str, str]]:
    """Methods and addresses of ours that the server lists."""
    paths: dict[str, Any] = webui_probed.get("/openapi.json").json()["paths"]
    found = [(method, path) for path in sorted(paths) for method in paths[path] if path.startswith("/clora")]
    assert len(found) >= 10
    return found


@settings(max_examples=max(20, EXAMPLES // 10), deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.data(), BODIES, NAMES)
def test_any_request_is_answered(webui_probed: WebUI, routes: list[tuple[str, str]], data: Any, body: Any, name: str):
    method, path = data.draw(st.sampled_from(routes))
    address = webui_probed.url + path.replace("{name}", quote(name, safe=""))
    began = time.monotonic()
    tried["any requests"] += 1
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(method, address, data=json.dumps(body), headers=JSON, timeout=60)
    assert answer.status_code < 500, (method, path, body, answer.text[:500])
    assert time.monotonic() - began < MOST_SECONDS
    if answer.status_code >= 400:
        refused["any requests"] += 1
        assert answer.json()["detail"]
