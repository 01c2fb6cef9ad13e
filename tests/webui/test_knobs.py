"""Every knob is in the panel, the infotext, the API's schema and the plot, from its one definition."""

import json
from typing import Any

from clora_ext.settings.infotext import infotext_key, to_infotext
from clora_ext.settings.kinds import NumberList, WordList
from clora_ext.settings.knobs import KNOBS, Knob
from clora_ext.settings.profiles import DEFAULT, METHODS, PROFILES, profile_value
from clora_ext.settings.request import read_request
from tests.webui.jobs import SMALL, compose
from tests.webui.server import WebUI


def another(knob: Knob) -> Any:
    """A value that is not the default profile's."""
    kind, default = knob.kind, knob.parse(profile_value(DEFAULT, knob.name))
    if kind.options:
        return next(value for value in map(knob.parse, kind.options) if value != default)
    if isinstance(kind, WordList):
        return kind.words[0]
    if isinstance(kind, NumberList):
        return "7"
    return kind.high if default != kind.high else kind.low


MAIN = ("step_size", "update_until", "mask_threshold", "lock_at")
"""The knobs with a slider of their own."""
FEWEST = 12
"""Components of one tab's panel; each slows the page down."""


def components(host: WebUI) -> dict[str, dict[str, Any]]:
    """The properties of the page's components by their ids."""
    return {each["props"].get("elem_id"): each["props"] for each in host.get("/config").json()["components"]}


def test_four_lists_are_one(webui: WebUI):
    scripts = {(s["name"], s["is_img2img"]): s for s in webui.get("/sdapi/v1/script-info").json()}
    axes = scripts["x/y/z plot", False]["args"][0]["choices"]
    schema = webui.get("/clora/v1/schema").json()["properties"]
    drawn = json.loads(components(webui)["clora_txt2img_view"]["value"])["knobs"]
    written = to_infotext(read_request({knob.name: another(knob) for knob in KNOBS}))
    for knob in KNOBS:
        assert knob.help.endswith("."), f"{knob.name} has no help sentence"
        assert drawn[knob.name]["title"] == knob.label
        assert drawn[knob.name]["main"] == (knob.name in MAIN)
        assert axes.count(f"[CLoRA] {knob.term}") == 1
        assert schema[knob.name]["description"] == knob.help
        assert infotext_key(knob.name) in written
    assert list(drawn) == [knob.name for knob in KNOBS]
    others = {"enabled", "show_masks", "profile", "method", "bindings", "masks"}
    assert set(schema) - {knob.name for knob in KNOBS} == others
    assert len([label for label in axes if label.startswith("[CLoRA]")]) == len(KNOBS) + 5


def test_the_panel_explains_every_profile_method_and_knob(webui: WebUI):
    drawn = json.loads(components(webui)["clora_txt2img_view"]["value"])
    profiles, methods = drawn["about_profiles"], drawn["about_methods"]
    assert all(f"{profile}:" in profiles or f"{profile}," in profiles for profile in PROFILES)
    assert all(f"{method}: {text}" in methods for method, text in METHODS.items())
    assert set(drawn["values"]) == set(PROFILES)
    for knob in KNOBS:
        assert drawn["knobs"][knob.name]["description"] == knob.help
        for profile, values in drawn["values"].items():
            assert values[knob.name] == profile_value(profile, knob.name)


def test_the_page_has_few_components_of_ours(webui: WebUI):
    """About 3 ms each; the tab that merges and both panels are drawn by scripts."""
    page = webui.get("/config").json()
    kept = {each["id"]: each["props"].get("elem_id") or "" for each in page["components"]}
    found = {name: _count_below(page["layout"], kept, name) for name in ("clora_txt2img_enabled", "tab_clora_merge")}
    assert 0 < found["clora_txt2img_enabled"] <= FEWEST
    assert 0 < found["tab_clora_merge"] <= FEWEST / 2
    loading = [each for each in page["dependencies"] if each["trigger"] == "load"]
    assert not [number for each in loading for number in each["outputs"] if kept[number].startswith("clora_")]


def _count_below(node: dict[str, Any], kept: dict[int, str], name: str) -> int:
    """Of the component ``name``, itself included."""
    below = node.get("children") or []
    if kept.get(node["id"]) == name:
        return _size(node)
    return sum(_count_below(child, kept, name) for child in below)


def _size(node: dict[str, Any]) -> int:
    return 1 + sum(map(_size, node.get("children") or []))


def test_a_retired_knob_is_told_and_ignored(webui: WebUI):
    expected, mark = compose(webui, **SMALL), webui.log_mark()
    found = compose(webui, {"refresh": True}, **SMALL)
    assert found.sha1 == expected.sha1
    assert found.infotexts == expected.infotexts
    assert "“refresh” is no setting any more and was ignored" in webui.log(mark)
