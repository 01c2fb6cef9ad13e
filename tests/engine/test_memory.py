"""However few rows run at once, the step stays the same."""

import logging

import pytest
import torch
from torch import nn

from clora_ext.batch.context import ForwardContext
from clora_ext.batch.rows import BranchLoras
from clora_ext.core.schedule import SamplingPoint
from clora_ext.engine.checkpointing import checkpointed, inner_layers
from clora_ext.engine.graphs import GraphKeeps, GraphMemory
from clora_ext.engine.memory import (
    GIB,
    GRAPH,
    PLAIN,
    Memory,
    extra_bytes,
    plain_bytes,
    room_bytes,
    row_bytes,
    split_evenly,
)  # fmt: skip
from clora_ext.errors import HostError
from clora_ext.settings.profiles import build_settings
from tests.engine.setup import random_loras, running, setup
from tests.toy import ToyDenoiser, ToyHost, ToyUNet


class Small(ToyDenoiser):
    """A model whose memory ends at ``most`` rows, with or without a graph."""

    most = 99

    def predict(self, latent, rows, condition):
        if len(rows) > self.most:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return super().predict(latent, rows, condition)


def _context() -> ForwardContext:
    return ForwardContext(BranchLoras({0: ()}))


def _memory(limit: float, unet: nn.Module) -> Memory:
    return Memory(limit, GraphMemory(unet, _context()))


def _step(wanted, *, graph_rows=None, plain_rows=None, keeps=GraphKeeps.ALL, most=99, images=2, longer=0, free=None):
    unet, conditions, latent = setup(3, (16, 16), images=images)
    conditions = {row: torch.cat([text, text[-1:].expand(longer * row.half, -1)]) for row, text in conditions.items()}
    host = ToyHost(unet, random_loras(unet, 3), conditions, free)
    with running(host, wanted, 3, images) as (composition, toy), torch.no_grad():
        denoiser, memory = Small(unet, toy.encoded), composition.tools.memory
        denoiser.most = most
        if graph_rows:
            memory.fit((16, 16), images)
            memory._room = None  # nothing is surveyed
            memory.graph_rows, memory.plain_rows, memory.keeps = graph_rows, plain_rows, keeps
        for index in range(2):
            move = composition.before(SamplingPoint(index, 10, 0.95 - 0.1 * index), latent, denoiser)
            fused = composition.after(composition.predict(move.predict_from))
            latent = move.latent - 0.01 * fused.cond
    return composition, latent, fused


@pytest.mark.parametrize("profile", ["authors", "paper", "balanced", "fast"])
@pytest.mark.parametrize("rows", [1, 3])
def test_rows_at_once_change_nothing(profile, rows):
    _few_are_as_good_as_all(build_settings(profile, rounds=1), rows)


@pytest.mark.parametrize(("profile", "rows"), [("balanced", 1), ("balanced", 3), ("fast", 1)])
def test_rows_at_once_change_nothing_where_a_row_is_taken_along(profile, rows):
    _few_are_as_good_as_all(build_settings(profile, rounds_at="0", rounds=1, uncond="joined"), rows)


def _few_are_as_good_as_all(wanted, rows):
    whole, few = _step(wanted), _step(wanted, graph_rows=rows, plain_rows=rows)
    torch.testing.assert_close(few[1], whole[1], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(few[2].cond, whole[2].cond, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(few[2].uncond, whole[2].uncond, rtol=1e-9, atol=1e-11)
    assert few[0].report.steps[0].losses == pytest.approx(whole[0].report.steps[0].losses)


@pytest.mark.parametrize("longer", [0, 3])
@pytest.mark.parametrize("profile", ["balanced", "fast"])
def test_a_row_is_taken_along_where_one_call_can_see_its_text(profile, longer, monkeypatch):
    """Texts of other lengths need another call, and a graph would go on in the first to its end."""
    ends = _ends(monkeypatch)
    _step(build_settings(profile, uncond="joined"), longer=longer)
    compared = 2 if profile == "fast" else 8  # of two images
    assert [rows for rows, _ in ends][-2 if longer else -1 :] == ([2, compared] if longer else [compared + 2])
    assert not any(graph for _, graph in ends[1:])


@pytest.mark.parametrize("profile", ["authors", "paper", "balanced", "fast"])
def test_no_graph_goes_beyond_the_last_map(profile, monkeypatch):
    """But for the survey of one row, which finds out where that is and keeps nothing."""
    ends = _ends(monkeypatch)
    _step(build_settings(profile, rounds=1))
    assert ends[0][0] == 1
    assert not any(graph for _, graph in ends[1:])


def _ends(monkeypatch) -> list[tuple[int, bool]]:
    """The rows of every call that comes to its end, and whether a graph goes as far."""
    ends = []

    def predict(self, latent, rows, condition):
        out = ToyDenoiser.predict(self, latent, rows, condition)
        ends.append((len(rows), torch.is_grad_enabled()))
        return out

    monkeypatch.setattr(Small, "predict", predict)
    return ends


@pytest.mark.parametrize("profile", ["authors", "balanced", "fast"])
@pytest.mark.parametrize("keeps", [GraphKeeps.INPUTS, GraphKeeps.AWAY])
@pytest.mark.parametrize("rows", [1, 8])
def test_a_graph_that_keeps_less_gives_the_same_gradient(profile, keeps, rows):
    whole, less = _step(build_settings(profile)), _step(build_settings(profile), keeps=keeps, graph_rows=rows)
    torch.testing.assert_close(less[1], whole[1], rtol=1e-9, atol=1e-11)


def test_when_memory_runs_out_it_goes_on_with_half(caplog):
    wanted = build_settings("balanced", uncond="branches")
    whole = _step(wanted)
    with caplog.at_level(logging.WARNING):
        few = _step(wanted, most=3)
    torch.testing.assert_close(few[1], whole[1], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(few[2].cond, whole[2].cond, rtol=1e-9, atol=1e-11)
    assert few[0].tools.memory.graph_rows <= 3
    assert few[0].tools.memory.plain_rows <= 3
    assert "memory ran out" in caplog.text
    assert any("memory ran out" in note for note in few[0].report.steps[0].notes)
    assert few[0].report.steps[1].notes == ()


def test_one_row_that_does_not_fit_is_an_error():
    with pytest.raises(HostError, match="make the picture smaller"):
        _step(build_settings("balanced"), most=0)


def test_parts_are_equal_and_small():
    assert split_evenly("abcdefg", 3) == ["ab", "cd", "efg"]
    assert split_evenly("abc", None) == ["abc"]
    assert split_evenly("", 2) == []
    for rows in range(1, 20):
        for most in range(1, 8):
            parts = split_evenly(range(rows), most)
            assert [row for part in parts for row in part] == list(range(rows))
            assert max(map(len, parts)) <= most
            assert len(parts) == -(-rows // most)


def test_the_estimate_follows_size_and_limit():
    unet = ToyUNet()
    unit = row_bytes(unet, (64, 64))
    assert unit == 8 * 64 * 64 * 4
    memory = _memory(3 * GRAPH * unit / GIB, unet)
    assert memory.graph_rows is None  # nothing is known yet
    memory.fit((64, 64), 1)
    assert memory.graph_rows == int(3 + 2 * PLAIN / GRAPH)
    memory.fit((128, 128), 1)
    assert memory.graph_rows == 1
    unbound = _memory(0.0, unet)
    unbound.fit((64, 64), 1)
    assert unbound.graph_rows is None  # the CPU's memory has no bound of ours
    free = Memory(0.0, GraphMemory(unet, _context()), free_bytes=lambda: 5.5 * GRAPH * unit)
    free.fit((64, 64), 1)
    assert free.graph_rows == 5


@pytest.mark.parametrize(
    ("limit", "share", "free", "room"),
    [
        (1.0, 0.5, None, 1.25),  # nobody tells what is free
        (1.0, 0.5, 8.0, 4.0),
        (1.0, 0.0, 8.0, 1.25),  # a limit and nothing else
        (3.0, 0.5, 4.0, 3.25),
        (3.0, 0.5, 2.0, 2.0),  # no more than there is
        (0.0, 0.5, 8.0, 8.0),
        (0.0, 0.5, None, None),
    ],
)
def test_the_room_that_there_is(limit: float, share: float, free: float | None, room: float | None):
    """In GiB, of which a plain picture takes a quarter."""
    found = room_bytes(limit, share, 0.25 * GIB, None if free is None else free * GIB)
    assert found == (None if room is None else pytest.approx(room * GIB))


def test_where_much_is_free_all_rows_are_differentiated_at_once():
    tight = {"memory": 0.0005, "memory_share": 0.5}
    few, many = (_step(build_settings("balanced", **tight), free=free) for free in (0.001 * GIB, 8.0 * GIB))
    assert few[0].tools.memory.graph_rows < 8 <= many[0].tools.memory.graph_rows
    torch.testing.assert_close(few[1], many[1], rtol=1e-9, atol=1e-11)
    limited = _step(build_settings("balanced", **tight | {"memory_share": 0.0}), free=8.0 * GIB)
    assert limited[0].tools.memory.graph_rows < 8


def test_what_is_free_is_asked_again_when_the_unet_has_come_to_the_device():
    """A host may bring it there for its first call, which takes of what was free before."""
    layer, told = nn.Conv2d(4, 8, 1), [8.0 * GIB]
    memory = Memory(1.0, GraphMemory(layer, _context()), free_bytes=lambda: told[-1], share=0.5)
    memory.fit((32, 32), 1)
    before = memory.graph_rows

    def forward(on_map):
        told.append(0.002 * GIB)
        layer(torch.randn(1, 4, 32, 32, requires_grad=True))
        on_map()

    memory.survey(forward)
    assert before > 100
    assert memory.graph_rows == int(0.002 * GIB / ((4 * 32 * 32 + PLAIN * 8 * 32 * 32) * 4))


def _survey(limit: float) -> Memory:
    """What a linear layer and two sigmoids save before the last map, and after it."""
    layer = nn.Conv2d(4, 8, 1)
    memory = _memory(limit, layer)
    memory.fit((32, 32), 1)

    def forward(on_map):
        out = layer(torch.randn(1, 4, 32, 32, requires_grad=True)).sigmoid()
        on_map()
        out = out.sigmoid()
        on_map()
        assert out.requires_grad
        with pytest.raises(Exception, match=r"None|hook"):  # nothing was kept for it
            torch.autograd.grad(out.exp().sum(), layer.bias)

    memory.survey(forward)
    return memory


def test_what_a_graph_saves_up_to_its_last_map_is_known_before_there_is_one():
    """The layer's input and what two sigmoids give; neither weights nor what comes after the map."""
    memory, layer = _survey(1.0), nn.Conv2d(4, 8, 1)
    unit = row_bytes(layer, (32, 32))
    row = (4 + 8 + 8) * 32 * 32 * 4
    assert memory.keeps is GraphKeeps.ALL
    assert memory.graph_rows == int((GIB + 2 * PLAIN * unit) / (row + PLAIN * unit))
    assert memory.take_notes() == []


def test_a_row_that_is_larger_than_the_limit_is_told():
    memory = _survey(-0.01)
    assert (memory.keeps, memory.graph_rows) == (GraphKeeps.INPUTS, 1)
    assert "more than there is to be taken" in memory.take_notes()[0]


def test_where_no_row_fits_inner_layers_run_again():
    assert _step(build_settings("balanced", memory=1e-6))[0].tools.memory.keeps is GraphKeeps.INPUTS
    unet, x = ToyUNet(), torch.randn(1, 4, 16, 16, requires_grad=True)
    graphs = GraphMemory(unet, _context())
    whole, inputs = (
        graphs.saved_bytes(lambda on_map: (unet(x, torch.randn(1, 9, 6)), on_map()), keeps)
        for keeps in (GraphKeeps.ALL, GraphKeeps.INPUTS)
    )
    assert inputs < 0.8 * whole


def test_layers_are_as_they_were_after_running_again():
    unet = ToyUNet()
    layers = inner_layers(unet)
    assert len(layers) == 3  # the self-attention of every block
    with checkpointed(unet, _context()):
        assert all("forward" in layer.__dict__ for layer in layers)
        with torch.no_grad():
            unet(torch.randn(1, 4, 8, 8), torch.randn(1, 9, 6))
    assert not any("forward" in layer.__dict__ for layer in layers)


def test_a_limit_holds_from_the_first_pass_on():
    wanted = build_settings("balanced", memory=0.0005)
    few, whole = _step(wanted), _step(build_settings("balanced"))
    torch.testing.assert_close(few[1], whole[1], rtol=1e-9, atol=1e-11)
    assert few[0].tools.memory.graph_rows < 8
    assert whole[0].tools.memory.graph_rows > 8


@pytest.mark.parametrize(
    ("rows", "graph_rows", "limit", "more"),
    [(6, 3, 0.0, 1350 - 70), (6, 3, 1.0, 900 - 70), (6, 3, 0.001, 450 - 70), (6, 0, 0.0, 210 - 70), (2, 0, 1.0, 0)],
)
def test_what_composing_takes_beyond_a_plain_picture(rows: int, graph_rows: int, limit: float, more: int):
    """Of a unit of 1 MiB a row takes 35 to predict and 450 to differentiate; one of each at least."""
    assert extra_bytes(2.0**20, rows, graph_rows, _room_of(limit)) == pytest.approx(more * 2**20)


def _room_of(limit: float) -> float | None:
    return room_bytes(limit, 0.0, plain_bytes(2.0**20), None)


@pytest.mark.parametrize(
    ("limit", "replayed", "more"), [(0.0, 2, 140 - 70), (0.0, 4, 280 - 70), (0.01, 2, 0), (1.0, 2, 140 - 70)]
)
def test_a_replay_takes_as_much_again_as_its_step(limit: float, replayed: int, more: int):
    """Where no limit forbids it: then late steps are called."""
    assert extra_bytes(2.0**20, 2, 0, _room_of(limit), replayed) == pytest.approx(more * 2**20)
