"""What takes minutes and runs only when somebody asks for it."""

import os

import pytest

needs_time = pytest.mark.skipif(
    os.environ.get("CLORA_SLOW", "") in ("", "0"), reason="takes minutes: python tasks.py test-slow"
)
