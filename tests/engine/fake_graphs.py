"""A capture that anybody's processor can do: it keeps the call, and makes it again into the same tensors."""

from collections.abc import Callable
from typing import Any

import torch

from clora_ext.engine.fixed import leaves


class FakeCall:
    """A captured call, and whether it is free."""

    def __init__(self, graphs: "FakeGraphs", call: Callable[[], Any]) -> None:
        self.graphs, self.call = graphs, call
        self.output = call()
        self.runs = 0

    def replay(self) -> None:
        assert not self.graphs.freed
        self.runs += 1
        if self.graphs.replay_fails is not None:
            raise self.graphs.replay_fails
        for into, found in zip(leaves(self.output), leaves(self.call()), strict=True):
            into.copy_(found + self.graphs.off)

    def free(self) -> None:
        self.output = None


class FakeGraphs:
    """Meets ``GraphBackend``; ``off`` by which a replay differs, and the errors of captures and replays, can be set."""

    def __init__(self) -> None:
        self.calls: list[FakeCall] = []
        self.warmed = 0
        self.freed = False
        self.off = 0.0
        self.capture_fails: Exception | None = None
        self.warm_fails: Exception | None = None
        self.replay_fails: Exception | None = None

    def open(self, device: torch.device) -> "FakeGraphs":
        return self

    def warm(self, call: Callable[[], Any]) -> Any:
        self.warmed += 1
        if self.warm_fails is not None:
            raise self.warm_fails
        return call()

    def capture(self, call: Callable[[], Any]) -> FakeCall:
        assert self.warmed == 1, "first-time work is done before"
        if self.capture_fails is not None:
            raise self.capture_fails
        self.calls.append(FakeCall(self, call))
        return self.calls[-1]

    def free(self) -> None:
        assert all(call.output is None for call in self.calls)
        self.freed = True

    @property
    def replays(self) -> int:
        return sum(call.runs for call in self.calls)


class Guard:
    """A host that knows all that there is, unless a test says otherwise."""

    def __init__(self) -> None:
        self.in_the_way: str | None = None
        self.strangers: dict[str, str] = {}
        self.now: object = 0

    def obstacle(self) -> str | None:
        return self.in_the_way

    def stranger(self, function: Callable[..., Any]) -> str | None:
        return self.strangers.get(function.__name__)

    def state(self) -> Any:
        return self.now
