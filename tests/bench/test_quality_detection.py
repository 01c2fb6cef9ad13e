"""What counts as right, on things made up for it."""

import pytest

from bench.quality.detection import judged, of_subject, wanted_of
from bench.quality.prompts import Prompt, Style
from tiny_world.judge import Found, kind_of

TWO = Prompt("a", "two", "", {"tuxcat": "tuxcat", "browndog": "browndog"}, ("ball",))


def _thing(name: str, *, mixed: bool = False) -> Found:
    return Found(name, kind_of(name), name != kind_of(name), mixed, 0.9, (0, 0, 10, 10), (5, 5))


def _judged(names: str, prompt: Prompt = TWO, style: dict | None = None, *, base: bool = False) -> dict:
    things = [_thing(name.strip("*"), mixed=name.endswith("*")) for name in names.split()]
    return judged(things, prompt, wanted_of(prompt, "base" if base else "composed"), style or {}, base=base)


@pytest.mark.parametrize(
    ("names", "success", "statuses"),
    [
        ("tuxcat browndog ball", True, "present, present, present"),
        ("tuxcat browndog ball house", True, "present, present, present"),
        ("tuxcat browndog", False, "present, present, absent"),
        ("tuxcat tuxcat browndog ball", False, "duplicated, present, present"),
        ("cat browndog ball", False, "wrong identity, present, present"),
        ("cat* browndog ball", False, "mixed, present, present"),
        ("tuxcat browndog dog ball", False, "present, present, present"),
    ],
)
def test_success_is_strict(names: str, success: bool, statuses: str):
    line = _judged(names)
    assert line["all"] is success
    assert [status for _, status in line["subjects"]] == statuses.split(", ")


def test_the_base_model_is_asked_for_classes_and_count():
    assert _judged("tuxcat dog ball", base=True)["all"]
    assert not _judged("cat cat dog ball", base=True)["all"]
    assert not _judged("cat ball", base=True)["all"]


def test_styles_replace_identity_where_three_tones_hide_it():
    everywhere = Prompt("a", "style_global", "", TWO.subjects, (), Style("lineart"))
    assert _judged("cat dog", everywhere, {"right": True})["all"]
    assert not _judged("cat dog", everywhere, {"right": False})["all"]
    assert not _judged("cat", everywhere, {"right": True})["all"]
    on_cat = Prompt("a", "style_on_one", "", TWO.subjects, (), Style("lineart", "tuxcat"))
    assert _judged("cat browndog", on_cat, {"right": True})["all"]
    assert not _judged("tuxcat dog", on_cat, {"right": True})["all"]


def test_one_lora_alone_wants_its_own_subject_and_plain_others():
    assert wanted_of(TWO, "single", "tuxcat") == ("tuxcat", "dog", "ball")
    assert wanted_of(TWO, "single") == ("cat", "dog", "ball")


def test_a_thing_stands_for_a_subject_only_if_nobody_else_wants_it():
    things = [_thing("tigercat"), _thing("cat")]
    assert of_subject(things, "tigercat", ("tuxcat", "tigercat")) is things[0]
    assert of_subject(things, "tuxcat", ("tuxcat", "tigercat")) is things[1]
    assert of_subject(things, "browndog", ("browndog",)) is None
