"""An update begins everything and waits for nothing: a GPU that is faster than Python is not asked on the way."""

from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clora_ext.core.schedule import SamplingPoint
from clora_ext.engine import step, telling
from clora_ext.settings.profiles import build_settings
from tests.engine.setup import predicted, random_loras, running, setup
from tests.toy import ToyHost

READ = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim")
"""Operations whose result Python, or the size of a tensor, depends on: float(), bool(), item()."""
SENT = ("lift_fresh",)
"""A tensor made of Python's numbers, an index by a list among them."""


class Waits(TorchDispatchMode):
    """Names what a device would be waited for, while active."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        tolist = Tensor.tolist
        self._tolist = mock.patch.object(Tensor, "tolist", lambda tensor: self.found.append("tolist") or tolist(tensor))

    def __enter__(self) -> "Waits":
        self._tolist.start()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._tolist.stop()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name.startswith("index") and any(_is_mask(each) for each in args)
        if name in READ or name in SENT or masks:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def _is_mask(argument: object) -> bool:
    parts = argument if isinstance(argument, list | tuple) else [argument]
    return any(isinstance(part, Tensor) and part.dtype == torch.bool for part in parts)


@pytest.mark.parametrize(
    "asked",
    [
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).all()),
        lambda x: x.tolist(),
        lambda x: x[x > 0],
        lambda x: x[[0, 1]],
        lambda x: torch.tensor([1, 2]),
        torch.unique,
    ],
)
def test_waits_are_found(asked):
    with Waits() as waits:
        asked(torch.rand(3))
    assert waits.found


def _waits(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, profile: str, **knobs: object) -> list[list[str]]:
    """What is waited for in every call of a function, in three steps."""
    found: list[list[str]] = []
    original = getattr(module, name)

    def watched(*args: Any, **kwargs: Any) -> Any:
        with Waits() as waits:
            result = original(*args, **kwargs)
        found.append(waits.found)
        return result

    monkeypatch.setattr(module, name, watched)
    unet, conditions, latent = setup(2, (16, 16), images=2)
    wanted = build_settings(profile, lock_steady=0.0, **knobs)
    with running(ToyHost(unet, random_loras(unet, 2), conditions), wanted, 2, 2) as (composition, denoiser):
        for index in range(3):
            with torch.no_grad():
                move = composition.before(SamplingPoint(index, 20, 1.0 - index / 20), latent, denoiser)
                composition.after(predicted(denoiser, composition.open_step().rows, move.predict_from))
    assert len(found) == 3
    return found


@pytest.mark.parametrize("profile", ["authors", "paper", "balanced"])
def test_an_update_waits_for_nothing_but_what_it_finds_out_once(profile, monkeypatch):
    first, *later = _waits(monkeypatch, step, "update_latent", profile, presence=0.5, rounds_at="")
    assert first
    assert later == [[], []]


def test_the_numbers_of_a_step_are_read_by_one_copy(monkeypatch):
    assert _waits(monkeypatch, telling, "Readings", "balanced") == [["tolist"]] * 3


def test_masks_that_are_locked_are_read_once(monkeypatch):
    locked, *later = _waits(monkeypatch, telling, "Readings", "balanced", method="masks", lock_at=1e-9)
    assert locked == ["tolist"]
    assert later[-1] == []


def test_an_update_that_draws_by_region_waits_only_to_learn_how_large_the_regions_are(monkeypatch):
    *_, last = _waits(monkeypatch, step, "update_latent", "fast")
    assert last.count("tolist") <= 2  # levels of the toy UNet at which pixels are packed
    assert not {"_local_scalar_dense", "nonzero", "masked_select"} & set(last)
