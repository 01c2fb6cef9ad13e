"""Seconds on the CPU: of one UNet call of each kind, summed by the schedule."""

import multiprocessing
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from statistics import median

import torch
from torch import nn

from bench.parent import end_with_parent
from bench.speed.cases import Case, effective
from bench.speed.count import brief, often, schedule, settled, visits_for
from bench.speed.meter import meta_as_gpu
from bench.speed.models import MODELS, loras, unet
from bench.speed.stage import Call, Visit, compose
from clora_ext.batch.rows import Row
from clora_ext.settings.knobs import Settings
from clora_ext.settings.profiles import build_settings

REPEATS = 3
PLAIN = build_settings(method="merge")


class CpuClock:
    """Times UNet calls, with all that the engine does around them, in float32.

    Seconds are the process's own, of all threads: other work on the machine does not count. The UNet has weights only
    in the calls that are timed; the calls that lead to them are made on the meta device.
    """

    def __init__(self, model: str, repeats: int = REPEATS) -> None:
        self.model, self.repeats = model, repeats
        self.network = unet(MODELS[model].config, "cpu", torch.float32)
        self._real = {place: place[0]._parameters[place[1]] for place in _places(self.network)}
        self._none = {place: nn.Parameter(part.to("meta"), False) for place, part in self._real.items()}
        self._seconds: dict[Call, list[float]] = defaultdict(list)
        self._tried: dict[tuple[tuple[Row, ...], bool], int] = defaultdict(int)
        self._timing = False

    def seconds(self, wanted: Settings, concepts: int, rank: int, steps: int) -> float:
        """One picture's UNet and engine. Raises ``RuntimeError`` when a run does not follow its schedule."""
        wanted = effective(wanted, concepts)
        concepts, rank = (0, 0) if wanted.method == "merge" else (concepts, rank)
        self._put(real=False)
        size = MODELS[self.model].pixels
        self._bounds = settled(self.network, size, wanted, concepts, rank)
        visits = schedule(self.model, size, wanted, concepts, steps, self._bounds)
        self._time(brief(wanted), concepts, rank, steps, visits)
        times = often(visits)
        if any(call not in self._seconds for call in times):
            msg = f"“{wanted.profile}” with {concepts} LoRAs made other calls than its schedule says."
            raise RuntimeError(msg)
        return sum(median(self._seconds[call]) * number for call, number in times.items())

    def _time(self, wanted: Settings, concepts: int, rank: int, steps: int, visits: Sequence[Visit]) -> None:
        self._tried.clear()
        for call, found in self._seconds.items():
            self._tried[call.rows, call.gradient] += len(found) * (call in often(visits))
        indices = set(visits_for(visits))
        for call in often(visits):
            indices |= {visit.index for visit in [visit for visit in visits if call in visit.calls][: self.repeats]}
        self._put(real=True)
        deltas = loras(self.network, concepts, rank)
        with meta_as_gpu():
            size, order = MODELS[self.model].pixels, sorted(indices)
            compose(self.network, size, wanted, deltas, steps, order, self._mark, self._enter, self._bounds)

    def _enter(self, rows: Sequence[Row]) -> None:
        key = tuple(rows), torch.is_grad_enabled()
        self._tried[key] += 1
        self._timing = self._tried[key] <= self.repeats + key[1]  # the first gradient pass is not cut short
        self._put(real=self._timing or any(row.routed for row in rows))
        self._since = time.process_time()

    def _mark(self, calls: Sequence[Call]) -> None:
        if calls and self._timing:
            self._seconds[calls[-1]].append(time.process_time() - self._since)
            self._timing = False

    def _put(self, *, real: bool) -> None:
        for (module, name), part in (self._real if real else self._none).items():
            module._parameters[name] = part


class Beside:
    """A ``CpuClock`` in a process of its own with one thread, which takes seconds while this one counts."""

    def __init__(self, model: str) -> None:
        self._executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _start, (model,))

    def seconds(self, wanted: Settings, concepts: int, rank: int, steps: int) -> "Future[float]":
        """What ``CpuClock.seconds`` will find, one question after the other."""
        return self._executor.submit(_ask, wanted, concepts, rank, steps)

    def close(self) -> None:
        """End the process once the question under way is answered; those that wait are dropped."""
        self._executor.shutdown(cancel_futures=True)


_clocks: list[CpuClock] = []


def _start(model: str) -> None:
    end_with_parent()
    torch.set_num_threads(1)
    _clocks.append(CpuClock(model))


def _ask(wanted: Settings, concepts: int, rank: int, steps: int) -> float:
    return _clocks[0].seconds(wanted, concepts, rank, steps)


def _places(network: nn.Module) -> list[tuple[nn.Module, str]]:
    return [
        (module, name) for module in network.modules() for name, part in module._parameters.items() if part is not None
    ]


def timed(case: Case, seconds: float, plain_seconds: float) -> Case:
    """``case`` with its seconds."""
    return replace(
        case, seconds=round(seconds, 3), plain_seconds=round(plain_seconds, 3), ratio=round(seconds / plain_seconds, 4)
    )
