"""How many examples are tried, how many were, and how long each may take."""

import os
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings

from clora_ext.errors import CLoRAError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES") or 200)
"""Of all kinds together."""
KINDS = 10
"""Kinds of input, which share them."""
MOST_SECONDS = 1.0
"""Of this process's own time, so that a busy machine fails nothing."""
TECHNICAL = ("Traceback", "object has no attribute", "object is not", "Error(", "safetensors_rust", "deserializ")
"""What is in no sentence for people."""

tried: Counter[str] = Counter()
refused: Counter[str] = Counter()

many = settings(
    max_examples=max(1, EXAMPLES // KINDS),
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@contextmanager
def trying(kind: str) -> Generator[None, None, None]:
    """One example of a kind: it may be refused by a sentence, and by nothing else, within a second."""
    tried[kind] += 1
    began = time.process_time()
    try:
        yield
    except CLoRAError as error:
        refused[kind] += 1
        require_sentence(error)
    assert time.process_time() - began < MOST_SECONDS, f"{kind} took too long"


def require_sentence(error: CLoRAError) -> None:
    """Whether an error tells people something, at a length that can be read."""
    assert error.message.endswith((".", "?")), error.message
    assert len(error.message) < 25_000, "a prompt may be told once, not more"
    assert not any(word in error.message for word in TECHNICAL), error.message
    error.detail.encode("utf-8")
