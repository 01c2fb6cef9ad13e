"""What the machine has."""

import os


def cores() -> int:
    """How many cores this process may use; all of them where the system does not tell (Windows, macOS)."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1
