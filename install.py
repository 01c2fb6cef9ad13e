"""Installs nothing: WebUI has all that is needed. Says so when its versions are too old."""

import sys
from importlib.metadata import PackageNotFoundError, version

NEEDED = {"torch": (2, 0), "gradio": (3, 41), "safetensors": (0, 3)}


def too_old() -> list[str]:
    """What is older than needed, in words."""
    found = [] if sys.version_info >= (3, 10) else [f"Python {sys.version_info[0]}.{sys.version_info[1]}, needs 3.10"]
    for package, least in NEEDED.items():
        wanted = ".".join(map(str, least))
        try:
            have = version(package)
        except PackageNotFoundError:
            found.append(f"no {package}, needs {wanted}")
            continue
        numbers = tuple(int(part) for part in have.split("+")[0].split(".")[:2] if part.isdecimal())
        if numbers < least:
            found.append(f"{package} {have}, needs {wanted}")
    return found


if problems := too_old():
    print("CLoRA will not work here:", "; ".join(problems))
