"""Tries many examples of every kind of input: ``python -m tests.fuzz.run --examples 20000``."""

import argparse
import os
import sys
from pathlib import Path

import pytest

EXAMPLES = 20_000
WEBUI = Path(__file__).resolve().parents[1] / "webui"
OF_THE_SERVER = ("test_any_request.py", "test_openapi.py")
"""They ask the real WebUI, and skip where there is none."""


def main() -> int:
    """The exit status of pytest, whose last lines tell how many examples of which kind were tried and refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="of all kinds together")
    os.environ["FUZZ_EXAMPLES"] = str(parser.parse_args().examples)
    folders = [Path(__file__).parent, *(WEBUI / name for name in OF_THE_SERVER)]
    return pytest.main(["-q", "-p", "no:cacheprovider", "--timeout", "1800", *map(str, folders)])


if __name__ == "__main__":
    sys.exit(main())
