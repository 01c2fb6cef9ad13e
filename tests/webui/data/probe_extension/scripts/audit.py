"""For tests only: what our code makes the interpreter do that could let something in or out.

- `POST /probe/audit {"on": true}`: begins a new list, or ends it.
- `GET /probe/audit`: the list.
- `POST /probe/audit/sample`: looks an address up as a file of the extension would, which has to be on the list.
"""

import sys
from pathlib import Path
from typing import Any

from fastapi import Body, FastAPI
from modules import script_callbacks

EVENTS = (
    "pickle.find_class",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "urllib.Request",
)
found: list[str] = []
listening: list[bool] = []
"""Not empty while events are kept."""


def our_folder() -> str:
    """Where the extension's own modules lie."""
    import clora_ext

    return str(Path(clora_ext.__file__).parent)


def listen(event: str, args: tuple[Any, ...]) -> None:
    """Keep an event that comes up below a function of ours."""
    if not listening or event not in EVENTS:
        return
    frame, folder = sys._getframe(), our_folder()
    while frame is not None:
        if frame.f_code.co_filename.startswith(folder):
            found.append(f"{event} {args!r} by {frame.f_code.co_filename}")
            return
        frame = frame.f_back


sys.addaudithook(listen)


def add_routes(_demo: Any, app: FastAPI) -> None:
    """Register the routes."""

    @app.post("/probe/audit")
    def switch(on: bool = Body(embed=True)) -> None:
        listening[:] = [True] if on else []
        if on:
            found.clear()

    @app.get("/probe/audit")
    def told() -> list[str]:
        return found

    @app.post("/probe/audit/sample")
    def sample() -> None:
        text = "import socket\nsocket.getaddrinfo('127.0.0.1', 80)"
        exec(compile(text, f"{our_folder()}/sample.py", "exec"), {})


script_callbacks.on_app_started(add_routes)
