"""Others redraw parts of a picture that was composed: with the LoRA of the subject that is there."""

import base64
import io
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.webui.beside import compose, plain
from tests.webui.conftest import CHECKOUT, HERE, OVERRIDDEN
from tests.webui.jobs import BINDINGS, TAGGED, fields, last
from tests.webui.others import details
from tests.webui.server import ENVIRONMENT, Model, Result, Setup, WebUI, find_python

BRANCHES = "a sks cat and a dog <lora:tinyA:1> [SEP] a cat and a sks dog <lora:tinyB:1>"
"""What the two subjects of ``TAGGED`` have as texts, by ``BINDINGS``."""
ALONE = "with LoRA {} alone, whose subject is there"
SIZE: Mapping[str, Any] = {"width": 64, "height": 64, "steps": 4, "prompt": TAGGED}
QUIET = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}


def half(left: int) -> str:
    """A picture, white from ``left`` on for half of its width."""
    kept = io.BytesIO()
    picture = Image.new("L", (64, 64))
    picture.paste(255, (left, 0, left + 32, 64))
    picture.save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode()


APART = [{**binding, "mask": half(left)} for binding, left in zip(BINDINGS, (0, 32), strict=True)]
"""The cat left, the dog right."""


def composed(host: WebUI, scripts: Mapping[str, Any] | None = None, **payload: Any) -> Result:
    asked = fields(bindings=APART)["alwayson_scripts"]
    return compose(host, {**asked, **(scripts or {})}, **{**SIZE, **payload})


def redrawn(host: WebUI) -> list[dict[str, Any]]:
    return last(host)["redrawn"]


# -- whoever does it ---------------------------------------------------------------------------------------------------


@pytest.fixture
def does(webui_probed: WebUI) -> Iterator[Callable[..., None]]:
    """Tells the probe what to do to jobs."""

    def ask(*wanted: str) -> None:
        webui_probed.post("/probe/neighbour", {"does": list(wanted)}).raise_for_status()

    yield ask
    ask()


def test_a_part_is_drawn_with_its_subjects_lora(webui_probed: WebUI, does: Callable[..., None]):
    before = composed(webui_probed).sha1
    does("part")
    found = composed(webui_probed, batch_size=2)
    notes = [f"probe_extension redrew a part of picture {number} {ALONE.format('tinyA')}" for number in (1, 2)]
    assert [each["note"] for each in redrawn(webui_probed)] == notes
    assert [each["image"] for each in redrawn(webui_probed)] == [0, 1]
    assert all("CLoRA redrawn: tinyA" in text for text in found.infotexts[-2:])
    does()
    assert composed(webui_probed).sha1 == before
    assert redrawn(webui_probed) == []


@pytest.mark.parametrize(("what", "why"), [("whole", "no mask"), ("other", "another picture")])
def test_in_doubt_a_part_is_drawn_as_the_host_does(webui_probed: WebUI, does: Callable[..., None], what: str, why: str):
    does("part", what)
    found = composed(webui_probed)
    (told,) = redrawn(webui_probed)
    assert told["lora"] is None
    assert f"with all its LoRAs, as WebUI does: it {'has' if what == 'whole' else 'is of'} {why}" in told["note"]
    assert "CLoRA redrawn: all" in found.infotexts[0]


def test_nobodys_part_is_drawn_as_the_host_does(webui_probed: WebUI, does: Callable[..., None]):
    """Both subjects have as much of it."""
    does("part")
    both = [{**binding, "mask": half(0)} for binding in BINDINGS]
    composed(webui_probed, fields(bindings=both)["alwayson_scripts"])
    assert "no subject has most of that part" in redrawn(webui_probed)[0]["note"]


def test_a_fault_of_ours_is_told(webui_probed: WebUI, does: Callable[..., None]):
    does("part")
    broken = {"name": "clora_ext.hosts.webui.redrawing.owner", "call": 1}
    webui_probed.post("/probe/function", broken).raise_for_status()
    composed(webui_probed)
    assert "with all its LoRAs, as WebUI does: RuntimeError; see the log" in redrawn(webui_probed)[0]["note"]
    composed(webui_probed)
    assert redrawn(webui_probed)[0]["lora"] == "tinyA"


def test_a_picture_that_was_not_composed_is_nobodys_business(webui_probed: WebUI, does: Callable[..., None]):
    composed(webui_probed)
    told = last(webui_probed)
    does("part")
    plain(webui_probed, **SIZE)
    assert last(webui_probed) == told


# -- ADetailer ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detailer(webui_dir: Path, parity_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebUI]:
    """A WebUI with this extension, the real ADetailer, and a detector that was never trained."""
    named = os.environ.get("NEIGHBOURS")
    if not named or not (Path(named).expanduser() / "adetailer").is_dir():
        pytest.skip("Set NEIGHBOURS to a folder with the repository adetailer.")
    folder, models = Path(named).expanduser(), tmp_path_factory.mktemp("detectors")
    environment = {**QUIET, "PYTHONPATH": str(folder / "site-packages"), "YOLO_CONFIG_DIR": str(models)}
    command = [str(find_python(webui_dir)), str(HERE / "data" / "make_detector.py"), str(models / "halves.pt")]
    subprocess.run(command, env={**os.environ, **ENVIRONMENT, **environment}, check=True, capture_output=True)
    settings = {
        **OVERRIDDEN,
        "ad_extra_models_dir": str(models),
        "ad_only_selected_scripts": True,
        "clora_redraw": True,
    }
    extensions = (CHECKOUT, folder / "adetailer")
    setup = Setup(webui_dir, parity_model, extensions, settings=settings, environment=environment)
    with WebUI(setup) as host:
        yield host


def with_settings(**values: Any) -> dict[str, Any]:
    return {"override_settings": values}


@pytest.mark.row("Other extensions", "works, each part with its subject's LoRA", name="ADetailer")
def test_each_part_is_drawn_with_its_subjects_lora(detailer: WebUI):
    before = composed(detailer).sha1
    mark = detailer.log_mark()
    found = composed(detailer, details())
    assert [each["lora"] for each in redrawn(detailer)] == ["tinyA", "tinyB"]
    assert redrawn(detailer)[1]["note"] == f"adetailer redrew a part of picture 1 {ALONE.format('tinyB')}"
    assert "CLoRA redrawn: tinyA, tinyB" in found.infotexts[0].replace('"', "")
    assert "CLoRA method: clora" in found.infotexts[0]
    assert found.sha1 == composed(detailer, details(ad_prompt=BRANCHES)).sha1
    assert redrawn(detailer) == []
    assert len({before, found.sha1, composed(detailer, details(), **with_settings(clora_redraw=False)).sha1}) == 3
    assert redrawn(detailer) == []
    assert composed(detailer).sha1 == before
    assert "Traceback" not in detailer.log(mark)


def test_every_picture_of_a_job_has_its_own_parts(detailer: WebUI):
    found = composed(detailer, details(), n_iter=2, batch_size=2)
    assert [each["image"] for each in redrawn(detailer)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [each["lora"] for each in redrawn(detailer)] == ["tinyA", "tinyB"] * 4
    texts = [text.replace('"', "") for text in found.infotexts[-4:]]
    assert [text.count("CLoRA redrawn: tinyA, tinyB,") for text in texts] == [1] * 4


def test_we_compose_no_part(detailer: WebUI):
    """Not even where ADetailer is told to take all scripts along."""
    mark = detailer.log_mark()
    composed(detailer, details(), **with_settings(ad_only_selected_scripts=False))
    assert [each["lora"] for each in redrawn(detailer)] == ["tinyA", "tinyB"]
    assert len(last(detailer)["batches"]) == 1
    assert "Traceback" not in detailer.log(mark)


def test_a_prompt_for_one_lora_is_the_users_choice(detailer: WebUI):
    """Both parts with the LoRA that the prompt for them names, whoever is there."""
    chosen = "a sks dog <lora:tinyB:1>"
    found = composed(detailer, details(ad_prompt=chosen))
    assert redrawn(detailer) == []
    assert found.sha1 != composed(detailer, details()).sha1


def test_alone_it_does_what_it_does(detailer: WebUI):
    """Off, and after a composed job, nothing of ours is in its parts."""
    before = plain(detailer, details(), **SIZE).sha1
    composed(detailer, details())
    assert plain(detailer, details(), **SIZE).sha1 == before
