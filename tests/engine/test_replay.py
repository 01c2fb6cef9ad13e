"""Late steps replayed: the same pictures, and a way back wherever something is unknown, differs or fails."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clora_ext.core.schedule import SamplingPoint
from clora_ext.engine import replay as module
from clora_ext.engine.cuda_graphs import CudaGraphs, graphs_on
from clora_ext.engine.fixed import FixedTree, UnfitError, form_of
from clora_ext.engine.report import StepReport
from clora_ext.settings.profiles import build_settings
from tests.engine.fake_graphs import FakeGraphs, Guard
from tests.engine.setup import random_loras, running, setup
from tests.toy import ToyDenoiser, ToyHost, ToyUNet

K, STEPS = 2, 9
EDITED = 6
"""A step at which something is changed behind the first replays."""
OUT_OF_MEMORY = torch.cuda.OutOfMemoryError("no bytes are left")


@pytest.fixture
def graphs(monkeypatch) -> FakeGraphs:
    made = FakeGraphs()
    monkeypatch.setattr(module, "graphs_on", made.open)
    return made


class Drawn:
    """A run of some steps: ``at_step`` may do what it likes before each, with the composition and the UNet."""

    def __init__(
        self,
        guard: Guard | None,
        profile: str = "balanced",
        at_step: Callable[[int, Any, ToyUNet], None] = lambda index, composition, unet: None,
        *,
        images: int = 1,
        method: str = "masks",
        **knobs: object,
    ) -> None:
        unet, texts, latent = setup(K, (8, 8), images=images)
        self.host = host = ToyHost(unet, random_loras(unet, K), texts)
        wanted = build_settings(profile, method, **{"lock_at": 5.0, **knobs})
        self.composition = None
        with torch.no_grad(), running(host, wanted, K, images, guard=guard) as (composition, denoiser):
            self.composition = composition
            for index in range(STEPS):
                at_step(index, composition, unet)
                latent = _step(composition, denoiser, index, latent)
        self.latent, self.steps = latent, host.steps
        assert "forward" not in vars(unet)

    @property
    def replayed(self) -> list[int]:
        return [step.index for step in self.steps if step.replayed]

    @property
    def notes(self) -> list[str]:
        return [note for step in self.steps for note in step.notes]


@cache
def _plain() -> Drawn:
    return Drawn(None)


def _step(composition: Any, denoiser: ToyDenoiser, index: int, latent: Tensor) -> Tensor:
    point = SamplingPoint(index, STEPS, 1.0 - index / STEPS, index)
    move = composition.before(point, latent, denoiser)
    fused = composition.after(composition.predict(move.predict_from))
    return move.latent - 0.05 * (fused.uncond + 2.0 * (fused.cond - fused.uncond))


def _first_late(steps: list[StepReport]) -> int:
    return next(step.index for step in steps if step.locked) + 1


@pytest.mark.parametrize(("profile", "images"), [("balanced", 2), ("fast", 1)])
def test_replayed_steps_draw_the_same_to_the_last_bit(profile, images, graphs):
    plain = Drawn(None, profile, images=images, method="clora", update_until=10.0)
    replayed = Drawn(Guard(), profile, images=images, method="clora", update_until=10.0)
    assert torch.equal(plain.latent, replayed.latent)
    assert plain.replayed == plain.notes == replayed.notes == []
    first = replayed.replayed[0]
    assert replayed.replayed == list(range(first, STEPS))
    assert len(graphs.calls) == 1
    assert graphs.replays == len(replayed.replayed) + 1  # one was compared
    assert graphs.freed


def test_nothing_is_captured_before_the_lock(graphs):
    seen: list[tuple[int, int]] = []

    def look(index: int, composition: Any, unet: ToyUNet) -> None:
        seen.append((len(graphs.calls), sum(image.locked for image in composition.masks)))

    Drawn(Guard(), "balanced", look)
    assert (0, 0) in seen
    assert all(locked for calls, locked in seen if calls)


def test_masks_that_are_never_locked_are_never_replayed(graphs):
    assert Drawn(Guard(), lock_at=0.0, lock_steady=0.0).replayed == []
    assert graphs.calls == []


def test_branches_are_not_replayed(graphs):
    assert Drawn(Guard(), "paper").replayed == []
    assert graphs.calls == []


def test_off_there_is_no_wrapper_and_nothing_is_asked(graphs):
    Drawn(None, at_step=lambda index, composition, unet: _assert_own_forward(unet))
    assert graphs.warmed == 0


def _assert_own_forward(unet: ToyUNet) -> None:
    assert "forward" not in vars(unet)


def _after(step: int, action: Callable[[Any, ToyUNet], None]) -> Callable[[int, Any, ToyUNet], None]:
    return lambda index, composition, unet: action(composition, unet) if index == step else None


def _assert_falls_back(drawn: Drawn, plain: Drawn, graphs: FakeGraphs, why: str) -> None:
    assert torch.equal(drawn.latent, plain.latent)
    assert drawn.notes == [f"late steps are not replayed: {why}"]
    assert all(call.output is None for call in graphs.calls)


class _ToldError(RuntimeError):
    pass


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"off": 0.5}, "a replay came out differently"),
        ({"off": float("nan")}, "a replay came out differently"),
        ({"capture_fails": UnfitError("capturing failed (RuntimeError: x)")}, "capturing failed (RuntimeError: x)"),
        ({"capture_fails": OUT_OF_MEMORY}, "memory ran out"),
        ({"warm_fails": OUT_OF_MEMORY}, "memory ran out"),
        ({"replay_fails": OUT_OF_MEMORY}, "memory ran out"),
    ],
)
def test_what_fails_is_left_alone(broken, why, graphs):
    for name, value in broken.items():
        setattr(graphs, name, value)
    drawn = Drawn(Guard())
    _assert_falls_back(drawn, _plain(), graphs, why)
    assert drawn.replayed == []
    assert graphs.freed


def test_rounding_alone_is_no_difference(graphs):
    graphs.off = 1e-15
    assert Drawn(Guard()).notes == []


def test_what_a_host_says_is_in_the_way_is(graphs):
    guard = Guard()
    guard.in_the_way = "a hypernetwork is at work"
    _assert_falls_back(Drawn(guard), _plain(), graphs, guard.in_the_way)
    assert graphs.warmed == 0


def _hooked(kind: str) -> Callable[[Any, ToyUNet], None]:
    def put(composition: Any, unet: ToyUNet) -> None:
        layer = unet.middle_block.attn1.to_q
        own = layer.forward

        def somebodys(*given: Any) -> Any:
            return own(*given) if kind == "forward" else None

        if kind == "forward":
            layer.forward = somebodys
        else:
            getattr(layer, kind)(somebodys)

    return put


@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook", "forward"])
def test_somebody_elses_hand_in_a_layer_is_known_before_and_seen_after(kind, graphs):
    guard = Guard()
    guard.strangers = {"somebodys": "somebody"}
    plain = _plain()
    before = Drawn(guard, at_step=_after(0, _hooked(kind)))
    _assert_falls_back(before, plain, graphs, "somebody has a hand in the UNet's layers")
    assert graphs.warmed == 0
    late = Drawn(Guard(), at_step=_after(EDITED, _hooked(kind)))
    _assert_falls_back(late, plain, graphs, "hooks or weights of the UNet have changed")
    assert late.replayed[-1] == EDITED - 1


def test_hooks_on_every_module_are_seen(graphs):
    handles: list[Any] = []

    def put(composition: Any, unet: ToyUNet) -> None:
        handles.append(nn.modules.module.register_module_forward_hook(lambda *_: None))

    try:
        drawn = Drawn(Guard(), at_step=_after(EDITED, put))
    finally:
        handles[0].remove()
    _assert_falls_back(drawn, _plain(), graphs, "hooks or weights of the UNet have changed")


def test_weights_that_move_are_seen(graphs):
    def move(composition: Any, unet: ToyUNet) -> None:
        layer = unet.middle_block.attn1.to_q
        layer.weight = nn.Parameter(layer.weight.clone(), requires_grad=False)

    drawn = Drawn(Guard(), at_step=_after(EDITED, move))
    _assert_falls_back(drawn, _plain(), graphs, "hooks or weights of the UNet have changed")
    assert drawn.replayed[-1] == EDITED - 1


def test_strengths_that_change_are_seen(graphs):
    def weigh(composition: Any, unet: ToyUNet) -> None:
        composition.weigh({"L1@1": 0.5})

    drawn = Drawn(Guard(), at_step=_after(EDITED, weigh))
    plain = Drawn(None, at_step=_after(EDITED, weigh))
    _assert_falls_back(drawn, plain, graphs, "masks, or the strength of a LoRA, have changed")


def test_what_layers_read_of_the_host_is_seen(graphs):
    guard = Guard()

    def change(composition: Any, unet: ToyUNet) -> None:
        guard.now = 1

    drawn = Drawn(guard, at_step=_after(EDITED, change))
    _assert_falls_back(drawn, _plain(), graphs, "what the UNet's layers do has changed")


def _edited(tokens: int) -> Callable[[int, Any, ToyUNet], None]:
    """From step `EDITED` on every text is another one, of so many tokens."""

    def edit(index: int, composition: Any, unet: ToyUNet) -> None:
        if index == EDITED:
            texts = composition.tools.host.texts
            for row, text in list(texts.items()):
                texts[row] = text.flip(0)[:tokens].contiguous()

    return edit


def test_other_texts_of_the_same_length_are_drawn_by_a_replay(graphs):
    replayed, plain = Drawn(Guard(), at_step=_edited(9)), Drawn(None, at_step=_edited(9))
    assert replayed.notes == []
    assert replayed.replayed[-1] == STEPS - 1
    assert torch.equal(replayed.latent, plain.latent)
    assert not torch.equal(plain.latent, _plain().latent)


def test_texts_of_another_length_are_not(graphs):
    drawn, plain = Drawn(Guard(), at_step=_edited(7)), Drawn(None, at_step=_edited(7))
    why = "the UNet is called with another size, or in another way, than before"
    _assert_falls_back(drawn, plain, graphs, why)


def test_a_limit_of_memory_is_kept(graphs):
    guard, plain = Guard(), _plain()
    drawn = Drawn(guard, at_step=lambda index, composition, unet: _set_room(composition, 3.0))
    why = "that takes as much memory again as a step, and so much may not be taken"
    _assert_falls_back(drawn, plain, graphs, why)
    assert Drawn(guard, at_step=lambda index, composition, unet: _set_room(composition, 4.0)).replayed


def _set_room(composition: Any, rows: float) -> None:
    memory = composition.tools.memory
    memory._room, memory._plain_row = rows, 1.0


def test_rows_in_several_calls_are_not_replayed(graphs):
    def split(index: int, composition: Any, unet: ToyUNet) -> None:
        composition.tools.memory.plain_rows = 1 if composition.masks[0].locked else None

    drawn = Drawn(Guard(), at_step=split)
    assert drawn.notes == ["late steps are not replayed: the rows of a step are drawn by several calls of the UNet"]


def test_a_run_that_ends_soon_is_not_worth_it(graphs, monkeypatch):
    monkeypatch.setattr(module, "LEAST_STEPS", STEPS)
    assert Drawn(Guard()).notes == []
    assert graphs.warmed == 0


class _InterruptedError(BaseException):
    pass


@pytest.mark.parametrize("error", [_ToldError, _InterruptedError])
def test_all_is_given_back_where_a_run_ends_early(error, graphs):
    def stop(composition: Any, unet: ToyUNet) -> None:
        assert graphs.replays > 1
        raise error

    with pytest.raises(error):
        Drawn(Guard(), at_step=_after(STEPS - 1, stop))
    assert graphs.freed


def test_nothing_that_hooks_keep_holds_a_free_graphs_memory(graphs):
    drawn = Drawn(Guard())
    assert drawn.composition.context._met == {}


def test_an_error_in_the_first_call_is_its_own(graphs):
    graphs.warm_fails = _ToldError("a layer failed")
    with pytest.raises(_ToldError):
        Drawn(Guard())
    assert graphs.freed


def test_no_processor_captures():
    with pytest.raises(UnfitError, match="GPU of NVIDIA"):
        graphs_on(torch.device("cpu"))
    drawn = Drawn(Guard())
    assert drawn.notes == ["late steps are not replayed: that takes a GPU of NVIDIA's"]
    assert torch.equal(drawn.latent, _plain().latent)


def test_plain_values_are_kept_and_unknown_things_refused():
    kept = FixedTree(((torch.zeros(2), 3), {"y": None, "z": [torch.ones(1)]}))
    kept.fill(((torch.ones(2), 3), {"y": None, "z": [torch.zeros(1)]}))
    (first, number), named = kept.shown()
    assert (first.tolist(), number, named["y"], named["z"][0].item()) == ([1.0, 1.0], 3, None, 0.0)
    with pytest.raises(UnfitError, match="another size"):
        kept.fill(((torch.ones(2), 4), {"y": None, "z": [torch.zeros(1)]}))
    with pytest.raises(UnfitError, match="a object"):
        form_of({"control": object()})


# -- what is asked of torch --------------------------------------------------------------------------------------------


class _FakeCuda:
    """The part of ``torch.cuda`` that captures, as a list of what was asked."""

    def __init__(self, fails: str = "") -> None:
        self.told: list[str] = []
        self.fails = fails

    def stream(self, device: Any) -> Any:
        told = self.told

        class Stream:
            def wait_stream(self, other: Any) -> None:
                told.append("wait")

        return Stream()

    def graph(self, graph: Any, *, stream: Any, capture_error_mode: str, pool: Any = None) -> Any:
        told, fails = self.told, self.fails

        class Block:
            def __enter__(self) -> None:
                told.append(f"begin {capture_error_mode}")

            def __exit__(self, *error: object) -> None:
                told.append("end")
                if fails and pool is not None:
                    raise RuntimeError(fails)

        return Block()


@pytest.fixture
def cuda(monkeypatch) -> _FakeCuda:
    fake = _FakeCuda()
    monkeypatch.setattr(CudaGraphs, "_failed", "")
    monkeypatch.setattr(CudaGraphs, "_streams", {})
    monkeypatch.setattr(torch.cuda, "Stream", fake.stream)
    monkeypatch.setattr(torch.cuda, "current_stream", fake.stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: torch.no_grad())
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: fake.told.append("back"))
    monkeypatch.setattr(torch.cuda, "graph", fake.graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: fake.told.append("done"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: fake.told.append("empty"))

    class Graph:
        def replay(self) -> None:
            fake.told.append("replay")

        def reset(self) -> None:
            fake.told.append("reset")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    return fake


def test_a_cuda_graph_is_warmed_captured_replayed_and_freed(cuda):
    backend = graphs_on(torch.device("cuda"))
    assert backend.warm(lambda: 5) == 5
    captured = backend.capture(lambda: 7)
    assert captured.output == 7
    captured.replay()
    captured.free()
    backend.free()
    assert cuda.told == ["wait", "wait", "begin thread_local", "end", "replay", "done", "reset", "empty"]
    assert captured.output is None
    assert graphs_on(torch.device("cuda"))._stream is backend._stream


def test_a_capture_that_fails_is_ended_and_the_last_of_its_process(cuda):
    cuda.fails = "operation not permitted when stream is capturing\nmore"
    backend = graphs_on(torch.device("cuda"))
    with pytest.raises(UnfitError, match=r"capturing failed \(RuntimeError: operation not permitted"):
        backend.capture(lambda: 7)
    assert cuda.told == ["begin thread_local", "end", "back", "begin thread_local", "end", "back"]
    with pytest.raises(UnfitError, match="that failed before"):
        graphs_on(torch.device("cuda"))


def test_memory_that_runs_out_while_capturing_is_no_failure_of_graphs(cuda):
    def full() -> None:
        raise OUT_OF_MEMORY

    with pytest.raises(torch.cuda.OutOfMemoryError):
        graphs_on(torch.device("cuda")).capture(full)
    assert graphs_on(torch.device("cuda"))


def test_casts_of_weights_are_not_kept_in_a_graph(cuda):
    assert torch.is_autocast_cache_enabled()
    backend = graphs_on(torch.device("cuda"))
    assert backend.warm(torch.is_autocast_cache_enabled) is False
    assert backend.capture(torch.is_autocast_cache_enabled).output is False
    assert torch.is_autocast_cache_enabled()
