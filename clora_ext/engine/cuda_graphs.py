"""Calls that a device can run again without Python: what a replay asks of torch, and CUDA graphs, which do it."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch

from clora_ext.engine.fixed import Tree, UnfitError

Call = Callable[[], Tree]
_log = logging.getLogger(__name__)


@runtime_checkable
class CapturedCall(Protocol):
    """A call's kernels, on the same tensors for ever."""

    output: Tree
    """Where every replay leaves what the call gives."""

    def replay(self) -> None:
        """Run the kernels again."""
        ...

    def free(self) -> None:
        """Let go of them, and of the memory that they work in."""
        ...


@runtime_checkable
class GraphBackend(Protocol):
    """What can capture calls."""

    def warm(self, call: Call) -> Tree:
        """Make the call as one that will be captured: all that is done once is done then."""
        ...

    def capture(self, call: Call) -> CapturedCall:
        """Take down the call's kernels; only a replay runs them. Raises ``UnfitError`` where it can not be done."""
        ...

    def free(self) -> None:
        """Give back to the device what captured calls have worked in, once they are free."""
        ...


def graphs_on(device: torch.device) -> GraphBackend:
    """What captures calls on ``device``. Raises ``UnfitError`` where nothing does."""
    if device.type != "cuda" or torch.version.hip is not None:
        raise UnfitError("that takes a GPU of NVIDIA's")
    return CudaGraphs(device)


class CudaGraphs:
    """CUDA graphs, by what torch 2.1 has. Raises ``UnfitError`` where one has failed in this process before.

    A capture that fails may leave torch's allocator and its random numbers behind as if it went on. So a first failure
    is the last.
    """

    _failed = ""
    _streams: dict[torch.device, torch.cuda.Stream] = {}  # noqa: RUF012 - one for the process: each keeps a workspace

    def __init__(self, device: torch.device) -> None:
        if CudaGraphs._failed:
            raise UnfitError(f"that failed before ({CudaGraphs._failed}); start anew to try again")
        self._device = device
        self._stream = self._streams.get(device) or torch.cuda.Stream(device)
        self._streams[device] = self._stream

    def warm(self, call: Call) -> Tree:
        """On the stream that captures, which has a workspace of its own then."""
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream), _no_cache_of_casts():
            found = call()
        here.wait_stream(self._stream)
        return found

    def capture(self, call: Call) -> CapturedCall:
        """In a pool of its own. Other threads, live previews say, may do on the device what they like meanwhile."""
        here = torch.cuda.current_stream(self._device)
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        try:
            with (
                _no_cache_of_casts(),
                torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                output = call()
        except Exception as error:  # torch raises whatever the driver says, and what it says itself
            torch.cuda.set_stream(here)  # which torch's own block leaves as it is where its end fails
            if isinstance(error, torch.cuda.OutOfMemoryError):
                raise
            CudaGraphs._failed = _named(error)
            self._end_random_numbers()
            raise UnfitError(f"capturing failed ({_named(error)})") from error
        return _CudaGraph(graph, output, self._device)

    def free(self) -> None:
        """What the pool has held."""
        torch.cuda.empty_cache()

    def _end_random_numbers(self) -> None:
        """A capture of nothing that ends well: torch's random numbers wait for the end of the one that failed."""
        here = torch.cuda.current_stream(self._device)
        try:
            with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=self._stream, capture_error_mode="thread_local"):
                pass
        except RuntimeError as error:
            _log.warning("CLoRA: a capture could not be ended: %s", _named(error))
        finally:
            torch.cuda.set_stream(here)


class _CudaGraph:
    def __init__(self, graph: Any, output: Tree, device: torch.device) -> None:
        self._graph, self._device = graph, device
        self.output = output

    def replay(self) -> None:
        """On the stream that is current."""
        self._graph.replay()

    def free(self) -> None:
        """The pool is free once nobody has a tensor of it, and no kernel may be at work in it."""
        torch.cuda.synchronize(self._device)
        self.output = None
        self._graph.reset()


@contextmanager
def _no_cache_of_casts() -> Generator[None, None, None]:
    """While inside, autocast keeps no weights that it has cast: in a graph they would be another's memory."""
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(cached)


def _named(error: Exception) -> str:
    """An error in one line."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
