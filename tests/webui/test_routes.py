"""The REST routes that tell what a prompt will do, keep presets and hand out masks; nothing of them draws."""

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from tests.webui.jobs import BINDINGS, SMALL, TAGGED, compose, draw, fields, last
from tests.webui.server import WebUI, pixel_sha1

ON = {"bindings": list(BINDINGS)}
HOSTILE = (
    '<img src=x onerror="document.title=1">',
    "\"quotes\" 'and' `ticks`\\",
    "x" * 10_000,
    "bell\x07 null\x00 escape\x1b[31m",
    "\u202eright to left \u05d0\u05d1",
    "\U0001f431\U0001f436",
)


def ask(host: WebUI, route: str, **body: Any) -> dict[str, Any]:
    answer = host.post(f"/clora/v1/{route}", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


BREAKING = "a (cat:1.2) BREAK a dog and a dog <lora:tinyA:0.7> <lora:tinyB:1:bind=dog:occurrence=2>"


def test_tokenize_tells_words_columns_and_bindings(webui: WebUI):
    told = ask(webui, "tokenize", prompt=BREAKING, clora={"bindings": [{"lora": "tinyA", "subject": "cat"}]})
    assert told["problems"] == []
    assert [(row["lora"], row["weight"], row["subject"], row["occurrence"]) for row in told["rows"]] == [
        ("tinyA", 0.7, "cat", 1), ("tinyB", 1.0, "dog", 2),
    ]  # fmt: skip
    words = told["words"]
    assert [word["text"] for word in words] == ["a", "cat", "a", "dog", "and", "a", "dog"]
    cat, first, second = (words[index]["columns"] for index in (1, 3, 6))
    assert cat
    assert cat[0] == 2
    assert first[0] >= 78, "BREAK begins a new chunk of 77"
    assert second[0] > first[0]
    assert [word["row"] for word in words] == [None, 0, None, None, None, None, 1]


def test_more_than_75_tokens_have_columns_of_the_next_chunk(webui: WebUI):
    told = ask(webui, "tokenize", prompt="very " * 80 + "cat <lora:tinyA:1:bind=cat>")
    (cat,) = (word for word in told["words"] if word["text"] == "cat")
    assert cat["columns"][0] >= 78


def test_estimate_counts_what_the_job_then_does(webui: WebUI):
    wanted = {"bindings": list(BINDINGS), "profile": "authors"}
    told = ask(webui, "estimate", prompt="a cat and a dog", steps=3, clora=wanted)["estimate"]
    compose(webui, wanted, **SMALL | {"steps": 3}, sampler_name="Euler")
    assert told["rows"] + told["gradient_rows"] == last(webui)["unet_rows"]
    assert told["ratio"] > 1


def test_the_estimate_tells_the_memory_of_the_size_and_the_limit(webui: WebUI):
    def told(**asked: Any) -> int:
        answer = ask(webui, "estimate", prompt="a cat and a dog", **asked)
        amount = answer["estimate"]["extra_memory_bytes"]
        assert (
            f", {amount / 2**20:.0f} MiB more" in answer["line"] or f", {amount / 2**30:.1f} GiB more" in answer["line"]
        )
        return amount

    free = {**ON, "profile": "balanced", "memory": 0}
    small, large = told(clora=free), told(clora=free, width=2048, height=1024)
    assert large == pytest.approx(8 * small, rel=0.01)
    assert told(clora={**free, "memory": 0.01}, width=2048, height=1024) < large / 2
    assert told(clora={**free, "method": "masks"}) < small


def test_the_settings_page_says_how_much_memory_where_nobody_else_does(webui: WebUI):
    def used(**wanted: Any) -> float:
        compose(webui, wanted, **SMALL, override_settings={"clora_memory": 3})
        return last(webui)["settings"]["memory"]

    assert (used(), used(memory=2), used(profile="authors")) == (3.0, 2.0, 0.0)


def test_problems_are_answers(webui: WebUI):
    told = ask(webui, "estimate", prompt="a cat <lora:tinyZ:1>")
    assert told["estimate"] is None
    assert "tinyZ" in told["line"]
    assert ask(webui, "tokenize", prompt="a cat", clora={"profile": "x"})["problems"][0]["field"] == "profile"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(webui: WebUI, text: str):
    told = ask(webui, "tokenize", prompt=f"a cat {text} <lora:{text}:1>", clora={"bindings": text})
    assert told["problems"]
    answer = webui.put(f"/clora/v1/presets/{text[:50].encode().hex()}", {"profile": text})
    assert answer.status_code == 422
    assert "profile" in answer.json()["detail"]
    refused = webui.post("/sdapi/v1/txt2img", {"prompt": text, **SMALL, **fields(bindings=[{"lora": text}])})
    assert refused.status_code == 422
    assert draw(webui, **SMALL).images


def test_presets_are_kept_checked_and_forgotten(webui: WebUI):
    assert webui.get("/clora/v1/presets").json() == {}
    kept = webui.put("/clora/v1/presets/mine", {"profile": "authors", "step_size": 3, "mask_threshold": 0.3})
    assert kept.json() == {"profile": "authors", "method": "clora", "step_size": 3.0}
    assert webui.get("/clora/v1/presets").json() == {"mine": kept.json()}
    assert webui.put("/clora/v1/presets/mine", {"step_sise": 3}).status_code == 422
    assert webui.put(f"/clora/v1/presets/{'n' * 101}", {}).status_code == 422
    assert webui.delete("/clora/v1/presets/other").status_code == 422
    assert webui.delete("/clora/v1/presets/mine").json() == {}


def test_masks_are_shown_on_request_and_change_nothing(webui: WebUI):
    plain = compose(webui, **SMALL)
    shown = compose(webui, {"show_masks": True}, **SMALL)
    assert len(plain.images) == 1
    assert len(shown.images) == len(shown.infotexts) == 2
    assert shown.sha1 == plain.sha1
    assert shown.images[1].height > shown.images[0].height, "a legend stands below"
    assert shown.images[1].width == 3 * 256, "masks and two subjects' attention; a small picture is enlarged"
    found = webui.get("/clora/v1/masks").json()
    assert [(mask["image"], mask["lora"], mask["words"]) for mask in found] == [
        (0, "tinyA", "cat"),
        (0, "tinyB", "dog"),
    ]
    picture = Image.open(io.BytesIO(base64.b64decode(found[0]["png"])))
    assert picture.mode == "L"
    assert picture.size == (8, 8)
    heat = [Image.open(io.BytesIO(base64.b64decode(mask["attention"]))) for mask in found]
    assert [seen.getextrema()[1] for seen in heat] == [255, 255], "white at the peak"
    assert heat[0].tobytes() != heat[1].tobytes()


def test_masks_of_a_batch_stand_behind_all_its_images(webui: WebUI):
    made = compose(webui, {"show_masks": True}, **SMALL, batch_size=2, n_iter=2)
    assert [image.height > 64 for image in made.images] == [False] * 4 + [True] * 4
    assert len({pixel_sha1(image) for image in made.images}) == 8
    assert [mask["image"] for mask in webui.get("/clora/v1/masks").json()] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_methods_without_masks_show_none(webui: WebUI):
    assert len(compose(webui, {"show_masks": True, "method": "composite"}, **SMALL).images) == 1


def test_masks_are_saved_if_the_settings_say_so(webui: WebUI):
    def saved() -> set[str]:
        return {path.name for path in webui.data_dir.rglob("*-masks.png")}

    wanted = {"save_images": True, "override_settings": {"samples_save": True}}
    compose(webui, {"show_masks": True}, **SMALL, **wanted)
    assert saved() == set()
    wanted["override_settings"] = {"samples_save": True, "clora_save_masks": True}
    compose(webui, {"show_masks": True}, **SMALL, **wanted)
    assert len(saved()) == 1
    compose(webui, **SMALL, **wanted)
    assert len(saved()) == 1


DONE = ("separating subjects", "drawing inside frozen masks", "finding masks")
TOLD = {f"CLoRA: step 2 of 2, {done}" for done in DONE}
"""What may be said of the last step of a small job."""


def test_the_progress_text_says_what_runs(webui: WebUI):
    compose(webui, **SMALL)
    assert webui.get("/sdapi/v1/progress").json()["textinfo"] in TOLD
    draw(webui, **SMALL)
    assert "CLoRA" not in str(webui.get("/sdapi/v1/progress").json()["textinfo"])


def _previews(host: WebUI, batch: int = 1, **options: Any) -> set[tuple[int, int]]:
    """The sizes of the live previews of a job."""
    shown = {"show_progress_every_n_steps": 1, "show_progress_type": "Approx cheap", "live_previews_enable": True}
    wanted = {"steps": 16, "batch_size": batch, "override_settings": {**shown, **options, "return_grid": False}}
    sizes = set()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(compose, host, **SMALL | wanted)
        while not job.done():
            seen = host.get("/sdapi/v1/progress").json().get("current_image")
            if seen:
                sizes.add(Image.open(io.BytesIO(base64.b64decode(seen))).size)
        job.result()
    return sizes


@pytest.mark.parametrize("batch", [1, 2])
def test_the_live_preview_shows_masks_beside_the_picture_if_the_settings_say_so(webui: WebUI, batch: int):
    plain = _previews(webui, batch)
    assert len(plain) == 1
    ((width, height),) = plain
    assert _previews(webui, batch, clora_preview_masks=True) - plain == {(2 * width, height)}
    assert _previews(webui, batch) == plain, "nothing stays behind"


def test_the_apis_infotext_makes_the_picture_again(webui: WebUI):
    wanted = {"profile": "authors", "mask_threshold": 0.41, "morphology": "open", "text_encoder": False}
    made = compose(webui, wanted, **SMALL)
    answer = webui.post("/sdapi/v1/txt2img", {"infotext": made.infotexts[0]})
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.json()["info"])["infotexts"] == list(made.infotexts)
    assert last(webui)["settings"]["mask_threshold"] == 0.41
    picture = Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0]))).convert("RGB")
    assert pixel_sha1(picture) == made.sha1
    plain = draw(webui, **SMALL)
    answer = webui.post("/sdapi/v1/txt2img", {"infotext": plain.infotexts[0]})
    assert json.loads(answer.json()["info"])["infotexts"] == list(plain.infotexts)


def test_an_object_wins_over_the_apis_infotext(webui: WebUI):
    made = compose(webui, {"mask_threshold": 0.41}, **SMALL)
    answer = webui.post("/sdapi/v1/txt2img", {"infotext": made.infotexts[0], **fields(**ON, mask_threshold=0.2)})
    assert answer.status_code == 200, answer.text
    assert last(webui)["settings"]["mask_threshold"] == 0.2


# -- the plot ------------------------------------------------------------------------------------------------------


def axes(host: WebUI) -> list[str]:
    scripts = host.get("/sdapi/v1/script-info").json()
    (plot,) = (script for script in scripts if script["name"] == "x/y/z plot" and not script["is_img2img"])
    return plot["args"][0]["choices"]


def plot(host: WebUI, axis: str, values: str, **wanted: Any) -> list[str]:
    """Digests of the cells of a plot along one axis."""
    x = axes(host).index(axis)
    args = [x, values, [], 0, "", [], 0, "", [], False, True, False, False, False, False, False, 0, True]
    result = host.txt2img(
        prompt=TAGGED, **SMALL, script_name="x/y/z plot", script_args=args, **(fields(**wanted) if wanted else {})
    )
    return list(result.sha1s[1:])


@pytest.mark.parametrize(
    ("axis", "values", "name", "meant"),
    [
        ("[CLoRA] Method", "clora,merge,masks", "method", ("clora", "merge", "masks")),
        ("[CLoRA] Mask threshold (lambda)", "0.2,0.6", "mask_threshold", (0.2, 0.6)),
        ("[CLoRA] LoRAs' text encoders", "False,True", "text_encoder", (False, True)),
        ("[CLoRA] Enabled", "True,False,True", "enabled", (True, False, True)),
    ],
)
def test_cells_are_the_pictures_of_their_own_jobs(webui: WebUI, axis: str, values: str, name: str, meant: tuple):
    def alone(value: Any) -> str:
        return draw(webui, prompt=TAGGED, **SMALL, **fields(**ON, **{name: value})).sha1

    before = draw(webui, prompt=TAGGED, **SMALL, **fields(**ON)).sha1
    assert plot(webui, axis, values, **ON) == [alone(value) for value in meant]
    assert draw(webui, prompt=TAGGED, **SMALL, **fields(**ON)).sha1 == before


def test_weights_and_bindings_are_axes(webui: WebUI):
    def weighted(weight: float) -> str:
        bindings = [{**BINDINGS[0], "weight": weight}, BINDINGS[1]]
        return draw(webui, prompt=TAGGED, **SMALL, **fields(bindings=bindings)).sha1

    assert plot(webui, "[CLoRA] Weight, as LoRA: number", "tinyA: 0.5,tinyA: 1.5", **ON) == [
        weighted(0.5),
        weighted(1.5),
    ]
    cells = plot(webui, "[CLoRA] Bindings, lines set off by ;", "tinyA: cat; tinyB: dog,tinyA: dog; tinyB: cat", **ON)
    assert cells[0] != cells[1]


def test_a_bad_value_of_an_axis_is_refused_before_anything_is_drawn(webui: WebUI):
    x = axes(webui).index("[CLoRA] Temperature (tau)")
    args = [x, "0.5,900", [], 0, "", [], 0, "", [], False, True, False, False, False, False, False, 0, True]
    answer = webui.post(
        "/sdapi/v1/txt2img", {"prompt": TAGGED, **SMALL, "script_name": "x/y/z plot", "script_args": args}
    )
    assert answer.status_code == 422
    assert "between 0.01 and 5" in answer.json()["detail"]
