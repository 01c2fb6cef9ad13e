"""When and how far the latent moves."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clora_ext.core import guidance
from clora_ext.core.schedule import SamplingPoint, count_updates, position_of, step_size_at


def _run(total: int, count_by: str, until: float, marks: list[float], rounds: int) -> list[int]:
    before, counts = None, []
    for index in range(total):
        here = position_of(SamplingPoint(index, total, 1.0 - index / total), count_by)
        counts.append(count_updates(here, before, until, marks, rounds))
        before = here
    return counts


def test_the_papers_schedule_makes_85_updates_in_50_steps():
    counts = _run(50, "step50", 25.0, [0.0, 10.0, 20.0], 20)
    assert sum(counts) == 85
    assert [i for i, n in enumerate(counts) if n == 21] == [0, 10, 20]


@pytest.mark.parametrize("total", [10, 20, 30, 100])
def test_the_papers_schedule_scales_and_keeps_its_three_rounds(total: int):
    counts = _run(total, "step50", 25.0, [0.0, 10.0, 20.0], 20)
    assert sum(1 for n in counts if n == 21) == 3
    assert sum(1 for n in counts if n) == total // 2


def test_the_authors_schedule_counts_steps():
    assert _run(50, "step", 30.0, [], 20) == [1] * 30 + [0] * 20
    assert _run(10, "step", 30.0, [], 20) == [1] * 10


def test_noise_decides_whatever_the_number_of_steps():
    assert sum(_run(10, "noise", 40.0, [], 20)) == 4
    assert sum(_run(100, "noise", 40.0, [], 20)) == 40


def test_a_run_that_starts_late_gets_only_what_is_left():
    assert count_updates(position_of(SamplingPoint(0, 10, 0.3), "noise"), None, 40.0, [], 0) == 0


def test_step_sizes():
    assert step_size_at(20.0, "constant", SamplingPoint(9, 10, 0.1)) == 20.0
    assert step_size_at(20.0, "sqrt", SamplingPoint(0, 50, 1.0)) == 20.0
    assert step_size_at(20.0, "sqrt", SamplingPoint(49, 50, 0.0)) == pytest.approx(14.142, abs=1e-3)
    with pytest.raises(ValueError, match="sine"):
        step_size_at(1.0, "sine", SamplingPoint(0, 1, 1.0))
    with pytest.raises(ValueError, match="colour"):
        position_of(SamplingPoint(0, 1, 1.0), "colour")


def test_a_step_goes_down_the_gradient_and_the_bound_holds_per_image():
    latent, gradient = torch.zeros(2, 4, 3, 3), torch.ones(2, 4, 3, 3)
    gradient[1] *= 0.001
    assert (guidance.move_latent(latent, gradient, 2.0)[0] == -2.0).all()
    bounded = guidance.move_latent(latent, gradient, 2.0, clip=0.5)
    torch.testing.assert_close(bounded[0], torch.full((4, 3, 3), -0.5))
    torch.testing.assert_close(bounded[1], torch.full((4, 3, 3), -0.002))


@given(st.floats(1.0, 30.0), st.floats(1.1, 30.0))
def test_guidance_counts_a_lora_as_often_as_it_is_told(emphasis: float, cfg_scale: float):
    share = guidance.uncond_share(emphasis, cfg_scale)
    assert 0.0 <= share <= 1.0
    cond, uncond = 1.0, share  # how far a LoRA moves either half
    assert uncond + cfg_scale * (cond - uncond) == pytest.approx(min(emphasis, cfg_scale))
    assert guidance.uncond_share(1.0, cfg_scale) == 1.0


def test_without_guidance_there_is_nothing_to_count():
    assert guidance.uncond_share(3.0, 1.0) == guidance.uncond_share(3.0, 0.5) == 1.0
