"""Knobs, profiles, requests and infotext."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clora_ext.errors import BindingError, SettingsError
from clora_ext.knobs import from_text, to_text
from clora_ext.request import from_infotext, json_schema, read, to_infotext
from clora_ext.settings import KNOB, KNOBS, METHODS, PROFILES, settings


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("method", METHODS)
def test_every_profile_and_method_is_complete_and_unchanged(profile: str, method: str):
    made = settings(profile, method)
    assert set(made.values) == set(KNOB)
    assert made.changed == {}
    assert made.masked == (method in ("clora", "masks"))


def test_the_profiles_say_what_was_published():
    authors, paper = settings("authors"), settings("paper")
    expected = {"update_until": 30.0, "step_size": 20.0, "mask_threshold": 0.3, "maps_from": "both", "refresh": False}
    assert {name: authors[name] for name in expected} == expected
    assert authors.rounds_at == ()
    assert (paper.rounds_at, paper["rounds"], paper["update_until"]) == ((0.0, 10.0, 20.0), 20, 25.0)
    assert (paper["uncond"], paper["maps_from"], paper["count_by"]) == ("shared", "cond", "step50")
    assert settings()["count_by"] == "noise"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("step_size", "far", "a number"), ("step_size", -1, "between 0 and 200"), ("step_size", True, "a number"),
        ("step_size", float("nan"), "a number"), ("rounds", 1.5, "a whole number"), ("rounds", None, "whole number"),
        ("refresh", "maybe", "true or false"), ("overlap", "none", "average, strongest, soft"),
        ("rounds_at", "0, ten", "a list of numbers"), ("morphology", "melt", "dilate, erode, open, close"),
        ("nonsense", 1, "known are"), ("method", "magic", "clora, masks"), ("profile", 3, "balanced, fast, authors"),
        ("step_size", 10**400, "a number"),
    ],
)  # fmt: skip
def test_bad_values_name_the_field_and_the_choices(name: str, value: object, words: str):
    with pytest.raises(SettingsError, match=words) as caught:
        settings(**{name: value})
    assert caught.value.field == name
    assert caught.value.status_code == 422
    assert name in caught.value.detail


def test_values_of_every_kind_are_understood():
    made = settings(step_size="7.5", rounds=3.0, refresh="True", rounds_at=[0, 10], morphology="open,close")
    assert (made["step_size"], made["rounds"], made["refresh"]) == (7.5, 3, True)
    assert made.rounds_at == (0.0, 10.0)
    assert made.morphology == ("open", "close")
    assert set(made.changed) == {"step_size", "rounds", "refresh", "rounds_at", "morphology"}


def _values(knob):
    if knob.listed is not None:
        return st.lists(st.sampled_from(knob.listed or ("0", "5", "12.5")), max_size=2).map(", ".join)
    if knob.choices:
        return st.sampled_from(knob.choices)
    if isinstance(knob.default, bool):
        return st.booleans()
    if isinstance(knob.default, int):
        return st.integers(int(knob.low), int(knob.high))
    return st.floats(knob.low, knob.high)


@given(
    st.fixed_dictionaries({}, optional={knob.name: _values(knob) for knob in KNOBS}), st.sampled_from(list(PROFILES))
)
def test_infotext_round_trip_of_every_knob(knobs: dict, profile: str):
    request = read({"profile": profile, **knobs, "bindings": [{"lora": "a, b:c", "subject": "cat", "weight": 0.7}]})
    assert read(from_infotext(to_infotext(request))) == request


@given(st.fixed_dictionaries({}, optional={knob.name: _values(knob) for knob in KNOBS}))
def test_round_trip_of_every_knob_as_text(knobs: dict):
    text = to_text(knobs)
    assert text.count("\n") == max(len(knobs) - 1, 0)
    for same in (text, text.replace("\n", ", "), f"\n{text}\n , "):
        assert from_text(same) == {name: KNOB[name].parse(value) for name, value in knobs.items()}


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("step_sise = 4", "step_sise", "known are"), ("temperature = 900", "temperature", "between 0.01 and 5"),
        ("temperature: 0.4", "advanced", "for example"), ("temperature = 1, temperature = 2", "temperature", "twice"),
        ("overlap = soft\nsoft", "advanced", "“soft” is no setting"), ("refresh = maybe", "refresh", "true or false"),
        ("rounds_at = 0, 10, ten, rounds = 3", "rounds_at", "list of numbers"), ("= 4", "", "no setting “”"),
    ],
)  # fmt: skip
def test_a_bad_text_of_knobs_names_what_is_wrong(text: str, field: str, words: str):
    with pytest.raises(SettingsError, match=words) as caught:
        from_text(text)
    assert caught.value.field == field


def test_lists_keep_their_commas_in_a_text():
    assert from_text("rounds_at = 0, 10, 20, morphology = open, dilate") == {
        "rounds_at": "0, 10, 20", "morphology": "open, dilate",
    }  # fmt: skip


def test_an_infotext_without_us_says_nothing():
    assert from_infotext({"Steps": "20"}) is None


def test_requests():
    assert read({}).enabled
    assert not read({"enabled": False}).enabled
    assert read({"bindings": "tuxcat: cat"}).bindings[0].subject == "cat"
    assert read({"bindings": None}).bindings == ()
    with pytest.raises(SettingsError, match="known are"):
        read({"colour": 1})
    with pytest.raises(SettingsError, match="true or false"):
        read({"enabled": "yes"})
    with pytest.raises(BindingError, match="fields"):
        read({"bindings": [{"lora": "a", "colour": "red"}]})


def test_the_schema_names_every_field():
    properties = json_schema()["properties"]
    assert set(properties) == {"enabled", "show_masks", "bindings", "profile", "method", *KNOB}
    assert properties["mask_threshold"]["minimum"] == 0.0
    assert properties["overlap"]["enum"] == ["average", "strongest", "soft"]
    assert all(properties[name]["description"] for name in KNOB)
