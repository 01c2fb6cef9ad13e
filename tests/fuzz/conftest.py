"""Says how many examples were tried."""

import pytest

from tests.fuzz.tried import refused, tried


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if tried:
        parts = ", ".join(f"{kind} {count} ({refused[kind]} refused)" for kind, count in sorted(tried.items()))
        terminalreporter.write_line(f"fuzz: {sum(tried.values())} examples: {parts}")
