"""What people type into the real WebUI: the forecast reads what the job reads, and nothing is plain without a word."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.webui.conftest import CHECKOUT, OVERRIDDEN
from tests.webui.jobs import SMALL, draw, fields, last
from tests.webui.server import Model, Setup, WebUI
from tests.webui.test_routes import ask

BOUND = "<lora:tinyA:1:bind=cat> <lora:tinyB:1:bind=dog>"
STYLES = f'name,prompt,negative_prompt\nboth,"{{prompt}} {BOUND}",\nmore,"{{prompt}} <lora:tinyA:0.5>",\n'
DRAWER = """
import re
from modules import scripts

class Draw(scripts.Script):
    def title(self):
        return "Dynamic Prompts"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def process(self, p, *args):
        p.all_prompts = [re.sub(r"[{]([^|}]*)[|][^}]*[}]", r"\\1", prompt) for prompt in p.all_prompts]
"""
"""Draws the first of ``{one|other}``, as Dynamic Prompts would at random."""


@pytest.fixture(scope="module")
def host(webui_dir: Path, parity_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebUI]:
    """The API of a WebUI with this extension, two styles, two textual inversions and something that draws words."""
    drawer = tmp_path_factory.mktemp("extensions") / "sd-dynamic-prompts"
    (drawer / "scripts").mkdir(parents=True)
    (drawer / "scripts" / "draw.py").write_text(DRAWER, encoding="utf-8")
    styles = tmp_path_factory.mktemp("styles") / "styles.csv"
    styles.write_text(STYLES, encoding="utf-8")
    flags = ("--styles-file", str(styles))
    with WebUI(Setup(webui_dir, parity_model, (CHECKOUT, drawer), ui=False, flags=flags, settings=OVERRIDDEN)) as webui:
        (webui.data_dir / "embeddings").mkdir(exist_ok=True)
        for name, vectors in (("zzcat", 3), ("zz_pup-v1.5", 2)):
            made = {"name": name, "num_vectors_per_token": vectors, "init_text": "cat", "overwrite_old": True}
            answer = webui.post("/sdapi/v1/create/embedding", made)
            assert answer.status_code == 200, answer.text
        yield webui


def compose(host: WebUI, prompt: str, **payload: Any) -> str:
    return draw(host, prompt=prompt, **SMALL, **fields(), **payload).sha1


@pytest.mark.row("Prompts", "told by forecast, answer and infotext", name="a comment that hides LoRAs")
def test_a_comment_that_hides_loras_is_told_by_forecast_and_job(host: WebUI):
    prompt = f"a cat and a dog # {BOUND}"
    told = ask(host, "tokenize", prompt=prompt)
    assert told["rows"] == []
    assert "tinyA, tinyB" in told["line"]
    assert "#" in told["line"]
    assert [word["text"] for word in told["words"]] == ["a", "cat", "and", "a", "dog"]
    drawn = draw(host, prompt=prompt, **SMALL, **fields())
    assert "tinyA, tinyB" in drawn.info["extra_generation_params"]["CLoRA plain"]
    assert "CLoRA plain:" in drawn.infotexts[0]
    assert not last(host)["composed"]
    assert drawn.sha1 == draw(host, prompt="a cat and a dog", **SMALL).sha1


@pytest.mark.row("Prompts", "works", name="a comment elsewhere")
def test_a_comment_elsewhere_changes_nothing(host: WebUI):
    prompt = f"a cat # a bunny\nand a dog {BOUND}"
    assert [row["subject"] for row in ask(host, "tokenize", prompt=prompt)["rows"]] == ["cat", "dog"]
    assert "CLoRA plain" not in draw(host, prompt=prompt, **SMALL, **fields()).infotexts[0]
    assert last(host)["composed"]


@pytest.mark.row("Prompts", "works", name="LoRAs in WebUI's styles")
def test_styles_are_read_by_forecast_and_job(host: WebUI):
    told = ask(host, "tokenize", prompt="a cat and a dog", styles=["both"])
    assert [row["subject"] for row in told["rows"]] == ["cat", "dog"]
    estimate = ask(host, "estimate", prompt="a cat and a dog", styles=["both"])["estimate"]
    assert estimate["ratio"] > 1
    assert compose(host, "a cat and a dog", styles=["both"]) == compose(host, f"a cat and a dog {BOUND}")
    assert last(host)["composed"]


@pytest.mark.row("Prompts", "WebUI's own picture", name="one LoRA alone")
@pytest.mark.parametrize("prompt", ["a cat", "a landscape with mountains"])
def test_a_lora_alone_is_the_hosts_own_picture(host: WebUI, prompt: str):
    alone = f"{prompt} <lora:tinyA:0.7>"
    assert ask(host, "tokenize", prompt=alone)["problems"] == []
    drawn = draw(host, prompt=alone, **SMALL, **fields())
    assert drawn.sha1 == draw(host, prompt=alone, **SMALL).sha1
    assert drawn.info["extra_generation_params"]["CLoRA plain"]


@pytest.mark.row("Prompts", "adds up as in WebUI", name="a LoRA that is there twice")
def test_a_lora_that_is_there_twice_adds_up_as_in_the_host(host: WebUI):
    for twice in (
        {"prompt": "a cat <lora:tinyA:0.3> <lora:tinyA:0.5>"},
        {"prompt": "a cat <lora:tinyA:0.4>", "styles": ["more"]},
    ):
        assert draw(host, **twice, **SMALL, **fields()).sha1 == draw(host, **twice, **SMALL).sha1
    twice = "a cat <lora:tinyA:0.3:bind=cat> and a dog <lora:tinyB:1:bind=dog> <lora:tinyA:0.5:bind=cat>"
    (cat, _) = ask(host, "tokenize", prompt=twice)["rows"]
    assert cat["weight"] == 1.0, "the host gives its one network the last weight, and adds it twice"
    assert compose(host, twice) == compose(host, "a cat <lora:tinyA:1:bind=cat> and a dog <lora:tinyB:1:bind=dog>")


@pytest.mark.row("Prompts", "works", name="alias, file name, folder, capitals, ending")
def test_a_lora_is_its_file_by_whatever_name(host: WebUI):
    names = "a cat and a dog <lora:TINYA:1:bind=cat> <lora:pets/tinyB.safetensors:1:bind=dog>"
    assert ask(host, "tokenize", prompt=names)["problems"] == []
    assert compose(host, names) == compose(host, f"a cat and a dog {BOUND}")
    told = ask(host, "tokenize", prompt="a cat <lora:TINYAA:1>")
    assert "tinyA" in told["line"]


@pytest.mark.row("Prompts", "works", name="one LoRA for two subjects")
def test_one_file_draws_two_subjects(host: WebUI):
    prompt = "a cat and a dog <lora:tinyA:1:bind=cat> <lora:tinyA:0.5:bind=dog>"
    rows = ask(host, "tokenize", prompt=prompt)["rows"]
    assert [(row["lora"], row["subject"], row["weight"]) for row in rows] == [
        ("tinyA", "cat", 1),
        ("tinyA", "dog", 0.5),
    ]
    assert compose(host, prompt) != draw(host, prompt=prompt, **SMALL).sha1
    assert last(host)["composed"]


@pytest.mark.row("Prompts", "works", name="a LoRA file added since the start")
def test_a_file_that_came_since_the_start_is_known(host: WebUI):
    folder = host.data_dir / "models" / "Lora"
    assert ask(host, "tokenize", prompt="a cat <lora:newcomer:1>")["problems"]
    shutil.copy(folder / "tinyA.safetensors", folder / "newcomer.safetensors")
    assert ask(host, "tokenize", prompt="a cat <lora:newcomer:1>")["problems"] == []


@pytest.mark.row("Prompts", "works", name="a textual inversion of {vectors} vectors as subject")
@pytest.mark.parametrize(("name", "vectors"), [("zzcat", 3), ("zz_pup-v1.5", 2)])
def test_a_textual_inversion_is_a_subject_with_all_its_vectors(host: WebUI, name: str, vectors: int):
    prompt = f"a ({name}:1.1) and a dog <lora:tinyA:1:bind={name}> <lora:tinyB:1:bind=dog>"
    told = ask(host, "tokenize", prompt=prompt)
    assert told["problems"] == []
    columns = [word["columns"] for word in told["words"]]
    assert columns[1] == list(range(2, 2 + vectors))
    assert columns[-1] == [2 + vectors + 2], "what follows is as many columns further"
    compose(host, prompt)
    assert last(host)["composed"]


@pytest.mark.row("Prompts", "works; the forecast says that it is not known yet", name="words drawn when the job starts")
def test_what_is_drawn_when_the_job_starts_is_said_to_be_unknown(host: WebUI):
    prompt = f"a {{cat|bunny}} and a dog {BOUND}"
    assert "sd-dynamic-prompts draws parts of the prompt" in ask(host, "tokenize", prompt=prompt)["line"]
    told = ask(host, "tokenize", prompt=f"a {{cow|bunny}} and a dog {BOUND}")
    assert told["problems"] == []
    assert told["notes"]
    assert compose(host, prompt) == compose(host, f"a cat and a dog {BOUND}")
    assert last(host)["composed"]
    assert ask(host, "tokenize", prompt=f"a cat and a dog {BOUND}")["notes"] == []
