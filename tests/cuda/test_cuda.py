"""What differs on a GPU: half precision, autocast, fused attention, memory that runs out."""

import gc
import threading
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clora_ext.core.schedule import SamplingPoint
from clora_ext.engine.cuda_graphs import CudaGraphs
from clora_ext.engine.device import free_bytes
from clora_ext.engine.graphs import GraphKeeps
from clora_ext.lora.deltas import LowRank
from clora_ext.settings.profiles import build_settings
from tests import toy
from tests.engine.fake_graphs import Guard
from tests.engine.setup import running

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
K = 3


@pytest.fixture
def fused(monkeypatch):
    """The toy's attention by torch's fused kernels, as WebUI's --opt-sdp-attention has it."""

    def forward(self, x, context=None):
        context = x if context is None else context
        parts = [to(of) for to, of in ((self.to_q, x), (self.to_k, context), (self.to_v, context))]
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    monkeypatch.setattr(toy.Attention, "forward", forward)


def _loras(unet: nn.Module, dtype: torch.dtype) -> dict[str, dict[nn.Module, LowRank]]:
    generator = torch.Generator().manual_seed(5)
    random = lambda *shape: torch.randn(*shape, generator=generator).to(dtype)  # noqa: E731
    layers = [layer for layer in unet.modules() if isinstance(layer, nn.Linear)]
    return {
        f"L{b}": {layer: LowRank(random(2, layer.in_features), random(layer.out_features, 2), 0.02) for layer in layers}
        for b in range(1, K + 1)
    }


class CudaHost(toy.ToyHost):
    """The toy host, where torch tells what is free."""

    def free_bytes(self) -> float | None:
        return free_bytes(self.device)


class Run:
    """Some steps of a composition on ``device``; the same weights, texts and latent on every device."""

    def __init__(
        self,
        profile,
        device,
        dtype=torch.float32,
        *,
        side=24,
        width=64,
        context=None,
        prepare=None,
        guard=None,
        steps=5,
        **knobs,
    ):
        unet = toy.ToyUNet(width=width).to(device, dtype)
        texts = {row: text.to(device, dtype) for row, text in toy.texts(1, K + 1, tokens=12).items()}
        start = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(7)).to(device)
        self.start = latent = start.to(dtype)
        host = CudaHost(unet, _loras(unet, dtype), texts)
        host.device = torch.device(device)
        wanted = build_settings(profile, **knobs)
        started = running(host, wanted, K, guard=guard)
        with context or nullcontext(), started as (composition, denoiser), torch.no_grad():
            if prepare:
                prepare(composition.tools.memory)
            for index in range(steps):
                move = composition.before(SamplingPoint(index, 2 * steps, 0.95 - 0.5 * index / steps), latent, denoiser)
                self.fused = composition.after(composition.predict(move.predict_from))
                latent = move.latent - 0.01 * self.fused.cond.to(move.latent.dtype)
        self.latent, self.tools = latent, composition.tools
        self.steps = composition.report.steps

    @property
    def moved(self) -> torch.Tensor:
        """How far the latent came, float32 on the CPU."""
        return (self.latent.float() - self.start.float()).cpu()


def _alike(one: Run, other: Run, least: float) -> None:
    assert torch.isfinite(one.moved).all()
    assert one.moved.abs().max() > 0.0
    assert float(F.cosine_similarity(one.moved.flatten(), other.moved.flatten(), dim=0)) > least
    assert one.steps[0].losses == pytest.approx(other.steps[0].losses, rel=1.0 - least)


@pytest.mark.parametrize("profile", ["authors", "balanced", "fast"])
def test_the_gpu_does_what_the_cpu_does(profile):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    _alike(Run(profile, "cuda"), Run(profile, "cpu"), 0.999)


@pytest.mark.parametrize("profile", ["authors", "balanced", "fast"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_moves_the_latent_the_same_way(profile, dtype):
    """Gradients of maps are around 1e-4: without the loss scale half precision loses them."""
    half = Run(profile, "cuda", dtype)
    assert half.tools.loss_scale > 1.0
    assert not any(step.notes for step in half.steps)
    _alike(half, Run(profile, "cuda"), 0.98 if dtype is torch.float16 else 0.9)


@pytest.mark.parametrize("profile", ["authors", "balanced", "fast"])
def test_autocast_over_whole_weights(profile):
    cast = Run(profile, "cuda", context=torch.autocast("cuda", torch.float16))
    assert not any(step.notes for step in cast.steps)
    _alike(cast, Run(profile, "cuda"), 0.98)


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("backend", ["FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH"])
def test_fused_attention_keeps_gradients_and_maps(backend):
    attention = pytest.importorskip("torch.nn.attention")
    kernel = attention.sdpa_kernel(getattr(attention.SDPBackend, backend))
    by_kernel = Run("balanced", "cuda", torch.float16, width=128, context=kernel)
    assert not any(step.notes for step in by_kernel.steps)
    _alike(by_kernel, Run("balanced", "cuda", width=128), 0.97)


def _peak(**memory) -> SimpleNamespace:
    """The most bytes that a run took, in all and beyond its weights, LoRAs and texts, and what it came to."""
    given = 0

    def prepare(found):
        nonlocal given
        if memory:
            found.fit((28, 28), 1)
            memory["_room"] = None  # nothing is surveyed
        for name, value in memory.items():
            setattr(found, name, value)
        torch.cuda.reset_peak_memory_stats()
        given = torch.cuda.memory_allocated()

    _forget()
    before = torch.cuda.memory_allocated()
    run = Run("paper", "cuda", torch.float16, side=28, width=1024, prepare=prepare, rounds=1, memory=0)
    peak = torch.cuda.max_memory_allocated()
    return SimpleNamespace(moved=run.moved, steps=run.steps, whole=peak - before, own=peak - given)


def _forget() -> None:
    """Give back what earlier runs had: a piece of a block that is in use would keep the whole block."""
    gc.collect()
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("fused")
def test_fewer_rows_at_once_take_less_memory_and_change_nothing():
    run, *less = _peak(), *(_peak(graph_rows=1, keeps=keeps) for keeps in GraphKeeps)
    for one in less:
        _alike(one, run, 0.999)
    by_row, by_inputs, away = (one.own for one in less)
    assert by_row < 0.7 * run.own
    assert by_inputs < by_row
    assert away < by_row


@contextmanager
def _a_card_of(size: int):
    """While inside, this process may take ``size`` bytes more than it has."""
    _forget()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + size) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("fused")
def test_when_the_card_is_full_it_goes_on_with_fewer_rows():
    run = _peak()
    with _a_card_of(run.whole - int(0.3 * run.own)):
        small = _peak()
    assert small.whole < run.whole
    assert any("memory ran out" in note for step in small.steps for note in step.notes)
    _alike(small, run, 0.999)


def test_what_is_free_bounds_the_rows():
    free = Run("balanced", "cuda", torch.float16, memory=0).tools.memory
    limited = Run("balanced", "cuda", torch.float16, memory=0.05).tools.memory
    assert 1 <= limited.graph_rows < free.graph_rows


# -- late steps as a CUDA graph ----------------------------------------------------------------------------------------

LATE = {"steps": 12, "lock_at": 6.0, "update_until": 6.0}
"""Masks are locked in the second step."""


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("profile", ["balanced", "fast"])
@pytest.mark.parametrize(
    ("dtype", "cast"), [(torch.float32, None), (torch.float16, None), (torch.float32, torch.float16)]
)
def test_replayed_steps_are_those_that_are_called(profile, dtype, cast):
    def context():
        return None if cast is None else torch.autocast("cuda", cast)

    called = Run(profile, "cuda", dtype, context=context(), **LATE)
    replayed = Run(profile, "cuda", dtype, context=context(), guard=Guard(), **LATE)
    assert not any(step.notes for step in replayed.steps)
    assert sum(step.replayed for step in replayed.steps) >= 6
    _alike(replayed, called, 0.999)


def test_a_replays_memory_is_given_back():
    _forget()
    before = torch.cuda.memory_reserved()
    run = Run("balanced", "cuda", torch.float16, width=256, guard=Guard(), **LATE)
    assert any(step.replayed for step in run.steps)
    del run
    _forget()
    assert torch.cuda.memory_reserved() <= before + 64 * 2**20  # the workspace of the stream that captures stays


def test_other_work_on_the_gpu_does_not_end_a_capture():
    """A live preview, in a thread of its own."""
    done = threading.Event()

    def preview():
        while not done.is_set():
            torch.randn(64, 64, device="cuda").sum().item()

    thread = threading.Thread(target=preview)
    thread.start()
    try:
        run = Run("balanced", "cuda", torch.float16, guard=Guard(), **LATE)
    finally:
        done.set()
        thread.join()
    assert any(step.replayed for step in run.steps)


def test_a_capture_that_fails_leaves_the_gpu_as_it_was(monkeypatch):
    """A wait for the device can not be captured."""
    monkeypatch.setattr(CudaGraphs, "_failed", "")

    def waiting(self, x, context=None):
        float(x.sum())
        return attend(self, x, context)

    attend = toy.Attention.forward
    monkeypatch.setattr(toy.Attention, "forward", waiting)
    run = Run("balanced", "cuda", torch.float16, guard=Guard(), **LATE)
    assert not any(step.replayed for step in run.steps)
    assert any("capturing failed" in note for step in run.steps for note in step.notes)
    assert torch.isfinite(torch.randn(8, device="cuda").cumsum(0)).all()
    _alike(run, Run("balanced", "cuda", torch.float16, **LATE), 0.999)
