"""Shape checks on every call, the same examples on every machine."""

import contextlib

import pytest
import torch
from hypothesis import settings

FIGURES = "figures"
"""The property of a test (``record_property``) that is printed when all tests are over, of other processes' too."""
CHECK = "tests.annotations.checked"
torch.set_num_threads(1)  # tiny tensors: threads only wait for each other, and badly so on a busy machine

with contextlib.suppress(ModuleNotFoundError):  # absent under WebUI's Python, where shapes stay unchecked
    from jaxtyping import install_import_hook

    import tests.annotations  # noqa: F401  (found by the name below)

    install_import_hook(
        [f"clora_ext.{part}" for part in ("core", "batch", "lora", "attention", "engine", "merge")], CHECK
    )

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("steady")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have counted."""
    for report in terminalreporter.getreports("passed"):
        for name, told in report.user_properties:
            if name == FIGURES:
                terminalreporter.write_line(str(told))
