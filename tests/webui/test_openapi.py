"""Schemathesis asks our routes for whatever their own OpenAPI allows, and for what it does not."""

from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from tests.fuzz.tried import EXAMPLES, refused, tried
from tests.webui.server import WebUI

OURS = r"^/clora/"
SECONDS = 60
"""An answer may take so long on a busy machine; what answers cost by themselves is bounded in tests/fuzz."""


EACH = max(10, EXAMPLES // 20)
"""Requests of a route."""
LEAST = 10
"""Routes of ours that are known to be there."""


def test_every_route_answers_whatever_it_is_asked(webui_probed: WebUI):
    whole = webui_probed.get("/openapi.json").json()
    described = schemathesis.openapi.from_dict(whole).include(path_regex=OURS)
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) >= LEAST
    for operation in operations:
        _ask(webui_probed, operation)


def _ask(host: WebUI, operation: Any) -> None:
    """One route, with what it says that it takes."""

    @settings(
        max_examples=max(10, EXAMPLES // 20), deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def ask(case: Any) -> None:
        tried["described requests"] += 1
        with requests.Session() as session:
            session.trust_env = False
            answer = case.call(base_url=host.url, session=session, timeout=SECONDS)
        assert answer.status_code < 500, f"{case.method} {case.path}: {answer.text[:500]}"
        if answer.status_code >= 400:
            refused["described requests"] += 1
            assert answer.json()["detail"]

    ask()
