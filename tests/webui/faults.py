"""Faults at every call of ours in a job of the real WebUI: ``python -m tests.webui.faults --points 300``.

A job is watched first. Then every function of ours that it called has an error at its first call and at its last, too
little memory at its first, and the job is interrupted and skipped there. After each fault there must be a sentence with
the cause or a picture, as many hooks and callbacks as before, no more tensors alive than after a whole job, and a plain
picture that is a plain WebUI's.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.webui.jobs import PROMPT, SMALL, TAGGED, compose, draw
from tests.webui.server import Setup, WebUI, WebUIError

MESSAGE = "broken on purpose"
CLEANING = ("undo", "undo_in", "step_aside", "remove", "close", "__exit__")
"""Functions that only put things back: a fault that is raised instead of them can not be survived by anybody."""
MOST_GROWN = 8.0
"""MB by which resident memory may have grown after any of the faults."""
KINDS = (("error", "first"), ("error", "last"), ("memory", "first"), ("interrupt", "first"), ("skip", "first"))


@dataclass(frozen=True, slots=True)
class Point:
    """A fault at one call of one function of ours."""

    name: str
    call: int
    kind: str

    def __str__(self) -> str:
        """For a line of the output."""
        return f"{self.kind} at call {self.call} of {self.name}"


@dataclass(slots=True)
class Tally:
    """What came of the faults."""

    survived: int = 0
    refused: int = 0
    """Of these, those that gave a sentence instead of a picture."""
    lost: list[str] = field(default_factory=list)
    """Those after which something was not as before, and what."""


@dataclass(frozen=True)
class Before:
    """What the host drew and counted before any fault."""

    plain: tuple[str, ...]
    counts: dict[str, Any]
    tensors: int = field(default=0, compare=False)
    """Alive after a composed job and a plain one."""


def counts(host: WebUI) -> dict[str, Any]:
    """The probe's counts of hooks, callbacks and gradients."""
    answer = host.get("/probe/state")
    answer.raise_for_status()
    return answer.json()


def pictures(host: WebUI) -> tuple[str, ...]:
    """Digests of plain pictures, the last without LoRAs, so that none is applied afterwards."""
    return tuple(draw(host, prompt=prompt, **SMALL).sha1 for prompt in (TAGGED, PROMPT))


def tensors(host: WebUI) -> int:
    """How many are alive in the server."""
    return int(host.get("/probe/tensors").json())


def look(host: WebUI) -> Before:
    """The host as it is."""
    plain = pictures(host)
    return Before(plain, counts(host), tensors(host))


def composed_before(host: WebUI) -> Before:
    """The host as it is after a composed job: what of it is kept until the next is there."""
    compose(host, {"show_masks": True}, **SMALL)
    return look(host)


def points(host: WebUI) -> list[Point]:
    """Every fault for every function of ours that a composed job calls, but for what only a first job reads."""
    compose(host, {"show_masks": True}, **SMALL)
    host.post("/probe/faults/watch").raise_for_status()
    compose(host, {"show_masks": True}, **SMALL)
    seen: dict[str, int] = host.get("/probe/faults/watch").json()
    names = [name for name in seen if name.rpartition(":")[2] not in CLEANING and "<" not in name]
    return [Point(name, 1 if where == "first" else seen[name], kind) for kind, where in KINDS for name in sorted(names)]


def spread(found: Sequence[Point], most: int) -> list[Point]:
    """Some of the points, evenly over all of them."""
    step = max(1, len(found) // max(1, most))
    return list(found[::step])[:most]


def inject(host: WebUI, point: Point, before: Before) -> str | None:
    """One fault. Gives the words of the refusal, or None for a picture; raises ``AssertionError`` for what is lost."""
    host.post("/probe/faults/arm", {"name": point.name, "call": point.call, "kind": point.kind}).raise_for_status()
    told = None
    try:
        compose(host, {"show_masks": True}, **SMALL)
    except WebUIError as error:
        told = str(error)
    assert host.get("/probe/faults/arm").json(), f"the job did not come to {point.name}"
    causes = (MESSAGE, "memory") if point.kind == "memory" else (MESSAGE,)
    assert told is None or any(cause in told for cause in causes), f"the cause is not told: {told}"
    left = {**counts(host), "worn": []}
    assert left == before.counts, f"left behind: {left}, before: {before.counts}"
    assert pictures(host) == before.plain, "the next plain picture is another one"
    assert counts(host) == before.counts, "the next plain picture leaves something behind"
    assert (alive := tensors(host)) <= before.tensors, f"{alive} tensors are alive, {before.tensors} were before"
    return told


def tally(host: WebUI, chosen: Sequence[Point], before: Before) -> Iterator[tuple[Point, Tally]]:
    """Inject one after the other, and give the tally so far."""
    now = Tally()
    for point in chosen:
        try:
            now.refused += inject(host, point, before) is not None
            now.survived += 1
        except (AssertionError, WebUIError) as error:
            now.lost.append(f"{point}: {error}")
        yield point, now


def resident(host: WebUI) -> int:
    """Bytes of the server's resident memory, of its children too, without what is free and not yet given back."""
    host.post("/probe/trim").raise_for_status()
    server = psutil.Process(host.pid)
    return sum(process.memory_info().rss for process in (server, *server.children(recursive=True)))


def run(most: int) -> int:
    """Boot, inject, print what came of it; the exit status."""
    from tests.webui.conftest import CHECKOUT, OVERRIDDEN, PROBE
    from tests.webui.parity import random_model

    webui = _webui()
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(Path(folder))
        with WebUI(Setup(webui, model, ui=False, settings=OVERRIDDEN)) as plain:
            expected = pictures(plain)
        with WebUI(Setup(webui, model, (CHECKOUT, PROBE), ui=False, settings=OVERRIDDEN)) as host:
            found = points(host)
            before = composed_before(host)
            if before.plain != expected:
                print("Before any fault, a plain picture is not that of a WebUI without the extension.")
                return 1
            return _told(host, spread(found, most), len(found), before)


def _webui() -> Path:
    from tests.webui.server import find_webui

    webui = find_webui()
    if webui is None:
        raise SystemExit("No WebUI here: set WEBUI_DIR to a checkout of AUTOMATIC1111 WebUI 1.10.1.")
    return webui


def _told(host: WebUI, chosen: Sequence[Point], of: int, before: Before) -> int:
    grown, start, now = [0.0], resident(host), Tally()
    for point, now in tally(host, chosen, before):
        came = "lost" if now.lost and now.lost[-1].startswith(str(point)) else "survived"
        grown.append((resident(host) - start) / 2**20)
        print(f"{point}: {came}, {grown[-1]:+.0f} MB", flush=True)
    for line in now.lost:
        print(line)
    print(
        f"faults: {len(chosen)} injected of {of} there are, {now.survived} survived ({now.refused} with a sentence, "
        f"the others with a picture), {len(now.lost)} lost; resident memory {grown[-1]:+.0f} MB at the end, "
        f"{max(grown):+.0f} MB at the most"
    )
    return 1 if now.lost or max(grown) > MOST_GROWN else 0


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=10**6, help="at most so many, evenly over all")
    return run(parser.parse_args().points)


if __name__ == "__main__":
    sys.exit(main())
