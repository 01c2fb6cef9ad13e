"""A few of the mixed jobs of ``python -m tests.webui.soak``, in two orders, and that its figures tell what they say."""

from tests.webui.faults import counts
from tests.webui.jobs import SMALL, draw
from tests.webui.server import WebUI
from tests.webui.soak import Soaked, mixed_jobs, soak, told

SOME = ("clora 1", "plain with LoRAs 1", "refused", "UniPC", "broken", "plain 1")


def test_jobs_draw_the_same_whatever_was_drawn_before(webui_probed: WebUI):
    draw(webui_probed, **SMALL)
    before, jobs = counts(webui_probed), mixed_jobs()
    expected = {name: jobs[name](webui_probed) for name in SOME}
    assert len(set(expected.values())) == len(SOME)
    found = soak(webui_probed, [*reversed(SOME), *SOME[::2]], expected, before)
    assert found.wrong == []
    assert len(found.seconds) == len(found.memory) == 9
    wrong = soak(webui_probed, ["plain 1"], {"plain 1": ("other",)}, before | {"trainable": 0}).wrong
    assert [line.split(" (")[0] for line in wrong] == ["job 0", "job 0"]


def test_drift_and_slowness_are_told():
    steady = Soaked([1.0] * 100, [1000] * 100)
    assert (steady.drift, steady.slower) == (0.0, 1.0)
    growing = Soaked([1.0 + job for job in range(100)], [1000 + job for job in range(100)])
    assert growing.drift > 0.05
    assert growing.slower > 2
    assert told(growing).startswith("soak: 100 jobs, 0 wrong, resident memory +")
