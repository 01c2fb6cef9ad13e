"""What WebUI shows a merge of the loaded model's layers: as the embedded host, of SD 1.x, 2.x and SDXL."""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from clora_ext.hosts.diffusers.checkpoint import load
from clora_ext.hosts.diffusers.merging import DrawnFeatures
from clora_ext.merge.inputs import Ingredient, read_ingredients
from clora_ext.merge.joint import Joint
from clora_ext.merge.methods import MERGE_METHODS
from clora_ext.merge.prompts import PROMPTS
from clora_ext.merge.refusals import checked
from clora_ext.merge.run import Merge
from clora_ext.merge.store import Store
from tests.models.kinds import sd2, sdxl, v_prediction
from tests.slow import needs_time
from tests.webui.conftest import CHECKOUT, OVERRIDDEN, PROBE
from tests.webui.exact import largest
from tests.webui.jobs import PROMPT, draw, with_model
from tests.webui.server import Model, Setup, WebUI
from tests.webui.world import tiny_world

LARGEST = {"text": 1e-6, "cross": 2e-5}
"""How far moments may be apart in the two hosts, as a share, by stage."""

JOINT_STEPS = 2


@dataclass(frozen=True)
class Case:
    """A model with two of its LoRAs and their triggers, and how they are merged. Side in pixels."""

    model: Model
    loras: tuple[str, str]
    triggers: tuple[str, str]
    side: int
    method: str
    steps: int = 1
    largest: float = 1e-4
    """How far moments of pictures may be apart; a random model magnifies a last bit."""
    joint: float = 0.02
    """How far the first loss of joint steps may be apart, as a share."""


@dataclass(frozen=True)
class Done:
    """A merge in WebUI, what the probe told of it, and the folder with its features."""

    case: Case
    told: dict[str, Any]
    folder: Path
    out: str
    """The name of the file."""


@pytest.fixture(scope="module")
def cases() -> Iterator[dict[str, Case]]:
    with tempfile.TemporaryDirectory(prefix="models-") as name:
        folder = Path(name)
        yield {
            "SD1": Case(tiny_world(), ("tuxcat", "browndog"), ("vako cat", "pleko dog"), 128, "unrestricted", 3, 1e-3),
            "SD2-v": Case(v_prediction(sd2(folder), folder), ("v2A", "v2B"), ("cat", "dog"), 64, "ssr"),
            "SDXL": Case(sdxl(folder), ("xlA", "xlB"), ("cat", "dog"), 64, "ssr", largest=0.02, joint=0.15),
        }


@pytest.fixture(scope="module")
def host(webui_dir: Path, cases: dict[str, Case]) -> Iterator[WebUI]:
    """Its log tells which keys of a LoRA fit no layer; it makes whole timesteps of noise levels, as diffusers does."""
    first, *more = (case.model for case in cases.values())
    settings, flags = {**OVERRIDDEN, "enable_quantization": True}, ("--loglevel", "DEBUG")
    setup = Setup(webui_dir, first, (CHECKOUT, PROBE), ui=False, flags=flags, settings=settings, more=tuple(more))
    with WebUI(setup) as started:
        yield started


def merging(host: WebUI, case: Case, folder: Path, **more: object) -> dict[str, Any]:
    """What the probe tells of a merge in WebUI."""
    wanted = {"loras": case.loras, "triggers": case.triggers, "checkpoint": case.model.name, "folder": str(folder)}
    how = {"method": case.method, "steps": case.steps, "size": [case.side] * 2}
    answer = host.post("/probe/merge", {**wanted, **how, **more})
    answer.raise_for_status()
    return answer.json()


@pytest.fixture(scope="module", params=["SD1", pytest.param("SD2-v", marks=needs_time), "SDXL"])
def done(
    host: WebUI, cases: dict[str, Case], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Done:
    """A merge after a picture that has left a LoRA in the weights."""
    case, folder = cases[request.param], tmp_path_factory.mktemp("theirs")
    draw(host, prompt=f"a cat <lora:{case.loras[0]}:1>", width=64, height=64, steps=1, **with_model(case.model.name))
    out = f"six-{request.param}"
    return Done(case, merging(host, case, folder, out=out, joint_steps=JOINT_STEPS), folder, out)


def merged_here(host: WebUI, case: Case, folder: Path) -> dict[str, Any]:
    """What the probe tells, by the embedded host; all features stay in the folder."""
    config = host.data_dir / "models" / "Stable-diffusion" / f"{case.model.name}.yaml"
    model = load(case.model.checkpoint, config, case.model.tokenizer)
    prompts = replace(PROMPTS, pictured=("a {}",))
    source = DrawnFeatures(model, case.triggers, prompts, case.steps, (case.side, case.side))
    source.is_quick = False  # the embedded host would learn in bfloat16
    weights = {name: layer.weight.detach() for name, layer in source.modules.items()}
    files = {path.stem: path for path in case.model.loras}
    asked = [Ingredient(files[name]) for name in case.loras]
    loras = read_ingredients(asked, model.family.value, weights)
    store = Store(folder, {})
    store.drop_features = lambda *_: None
    found = Merge(loras, source, MERGE_METHODS[case.method], store).run()
    _, joint = Joint(loras, source, store, JOINT_STEPS, 2**30).run(found)
    columns, end = source.concept(f"a photo of a {case.triggers[0]}", case.triggers[0])
    return {
        "calls": case.steps * len(loras),
        "errors": {name: solved.error for name, solved in found.items()},
        "notes": list(checked(loras, model.family.value)),
        "concept": [list(columns), end],
        "joint": asdict(joint),
    }


def kept(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the features in a store."""
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.features")):
        found |= {f"{path.stem}.{name}": tensor.float() for name, tensor in load_file(path).items()}
    return found


def apart(one: Tensor, other: Tensor) -> float:
    """How far, as a share of the first."""
    return float((one - other).norm() / one.norm())


def solved(path: Path) -> Tensor:
    """A layer's merged delta."""
    parts = load_file(path)
    return parts["matrix"] if "matrix" in parts else parts["up"] @ parts["down"]


def test_layers_are_given_what_the_embedded_host_gives_them(host: WebUI, done: Done, tmp_path: Path):
    told = merged_here(host, done.case, tmp_path)
    errors, joint = told.pop("errors"), told.pop("joint")
    assert done.told["joint"]["before"] == pytest.approx(joint["before"], rel=done.case.joint)
    assert done.told["errors"].keys() == errors.keys()
    assert {name: done.told[name] for name in told} == told
    ours, theirs = kept(tmp_path), kept(done.folder)
    assert ours.keys() == theirs.keys()
    for name, moments in ours.items():
        assert apart(moments, theirs[name]) < LARGEST.get(name.split("-")[0], done.case.largest), name
    merged = [apart(*(solved(folder / f"{name}.merged") for folder in (tmp_path, done.folder))) for name in errors]
    assert median(merged) < 1e-3  # of a random model, a few layers could as well have another ridge


def test_joint_steps_reach_every_layer(done: Done):
    told, kept_last = done.told["joint"], load_file(done.folder / "joint.kept")
    assert told["steps"] == JOINT_STEPS and told["after"] <= told["before"]
    reached = [bool(tensor.any()) for name, tensor in kept_last.items() if name.startswith("momentum-")]
    least = 1.0 if done.case.model.name == "tiny-world" else 0.8  # a text encoder's last block may not be read
    assert len(reached) > 30 and sum(reached) >= least * len(reached)


def test_the_merged_file_is_read_whole_and_draws(host: WebUI, done: Done):
    host.post("/sdapi/v1/refresh-loras").raise_for_status()
    case, before = done.case, host.log_mark()
    small = {"width": 64, "height": 64, "steps": 1, "prompt": PROMPT, **with_model(case.model.name)}
    plain = draw(host, **small)
    merged = draw(host, **{**small, "prompt": f"{PROMPT} <lora:{done.out}:1>"})
    assert largest(merged, plain) > 5
    assert "didn't match keys" not in host.log(before)
    assert "Traceback" not in host.log(before)


def test_ended_in_the_middle_it_leaves_nothing_in_the_model(host: WebUI, cases: dict[str, Case], tmp_path: Path):
    case = cases["SDXL"]
    plain = draw(host, steps=1, **with_model(case.model.name))
    before = host.get("/probe/state").json()
    assert merging(host, case, tmp_path, stop_at=1) == {"calls": 1}
    assert host.get("/probe/state").json() == before
    assert draw(host, steps=1, **with_model(case.model.name)).sha1 == plain.sha1
