"""Every knob is in the panel, the infotext, the API's schema and the plot, from its one definition."""

from typing import Any

from clora_ext.request import key, read, to_infotext
from clora_ext.settings import KNOBS, METHODS, PROFILES, Knob
from tests.webui.server import WebUI


def another(knob: Knob) -> Any:
    """A value that is not the default."""
    if isinstance(knob.default, bool):
        return not knob.default
    if knob.choices:
        return next(choice for choice in knob.choices if choice != knob.default)
    if knob.listed is not None:
        return (knob.listed or ("7",))[0]
    return knob.high if knob.default != knob.high else knob.low


def test_four_lists_are_one(webui: WebUI):
    scripts = {(s["name"], s["is_img2img"]): s for s in webui.get("/sdapi/v1/script-info").json()}
    panel = [arg["label"] for arg in scripts["clora", False]["args"]]
    axes = scripts["x/y/z plot", False]["args"][0]["choices"]
    schema = webui.get("/clora/v1/schema").json()["properties"]
    written = to_infotext(read({knob.name: another(knob) for knob in KNOBS}))
    for knob in KNOBS:
        assert knob.help.endswith("."), f"{knob.name} has no help sentence"
        assert panel.count(knob.label) == 1
        assert axes.count(f"[CLoRA] {knob.label}") == 1
        assert schema[knob.name]["description"] == knob.help
        assert key(knob.name) in written
    assert [label for label in panel if label in {knob.label for knob in KNOBS}] == [knob.label for knob in KNOBS]
    assert set(schema) - {knob.name for knob in KNOBS} == {"enabled", "show_masks", "profile", "method", "bindings"}
    assert len([label for label in axes if label.startswith("[CLoRA]")]) == len(KNOBS) + 5


def test_the_panel_explains_every_profile_method_and_knob(webui: WebUI):
    components = {each["props"].get("elem_id"): each["props"] for each in webui.get("/config").json()["components"]}
    told = {name: components[f"clora_txt2img_{name}"]["info"] for name in ("profile", "method")}
    assert all(f"{profile}:" in told["profile"] or f"{profile}," in told["profile"] for profile in PROFILES)
    assert all(f"{method}: {text}" in told["method"] for method, text in METHODS.items())
    for knob in KNOBS:
        assert components[f"clora_txt2img_{knob.name}"]["info"] == knob.help
