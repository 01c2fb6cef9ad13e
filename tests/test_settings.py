"""Knobs, profiles, requests and infotext."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clora_ext.errors import BindingError, SettingsError
from clora_ext.settings.infotext import from_infotext, to_infotext
from clora_ext.settings.kinds import NumberList, WholeNumber, WordList
from clora_ext.settings.knobs import KNOB, KNOBS, Settings, plain_values, values_of
from clora_ext.settings.profiles import METHODS, PROFILES, build_settings, changed_values
from clora_ext.settings.request import json_schema, read_request
from clora_ext.settings.retired import RETIRED, retired_note
from clora_ext.settings.text import format_text, parse_text


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("method", METHODS)
def test_every_profile_and_method_is_complete_and_unchanged(profile: str, method: str):
    made = build_settings(profile, method)
    assert set(values_of(made)) == set(KNOB)
    assert changed_values(made) == {}
    assert made.masked == (method in ("clora", "masks"))


def test_the_profiles_say_what_was_published():
    authors, paper = build_settings("authors"), build_settings("paper")
    expected = {"update_until": 30.0, "step_size": 20.0, "mask_threshold": 0.3, "maps_from": "both", "route": False}
    assert {name: getattr(authors, name) for name in expected} == expected
    assert authors.rounds_at == ()
    assert (paper.rounds_at, paper.rounds, paper.update_until) == ((0.0, 10.0, 20.0), 20, 25.0)
    assert (paper.uncond, paper.maps_from, paper.count_by) == ("shared", "cond", "step50")
    assert build_settings().count_by == "noise"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("step_size", "far", "a number"), ("step_size", -1, "between 0 and 200"), ("step_size", True, "a number"),
        ("step_size", float("nan"), "a number"), ("rounds", 1.5, "a whole number"), ("rounds", None, "whole number"),
        ("route", "maybe", "true or false"), ("overlap", "none", "average, strongest, soft"),
        ("rounds_at", "0, ten", "a list of numbers"), ("morphology", "melt", "dilate, erode, open, close"),
        ("nonsense", 1, "known are"), ("method", "magic", "clora, masks"), ("profile", 3, "fast, balanced, authors"),
        ("step_size", 10**400, "a number"),
    ],
)  # fmt: skip
def test_bad_values_name_the_field_and_the_choices(name: str, value: object, words: str):
    with pytest.raises(SettingsError, match=words) as caught:
        build_settings(**{name: value})
    assert caught.value.field == name
    assert caught.value.status_code == 422
    assert name in caught.value.detail


def test_values_of_every_kind_are_understood():
    made = build_settings(step_size="7.5", rounds=3.0, route="False", rounds_at=[0, 10], morphology="open,close")
    assert (made.step_size, made.rounds, made.route) == (7.5, 3, False)
    assert made.rounds_at == (0.0, 10.0)
    assert made.morphology == ("open", "close")
    assert set(changed_values(made)) == {"step_size", "rounds", "route", "rounds_at", "morphology"}


def _values(knob):
    kind = knob.kind
    if isinstance(kind, WordList):
        return st.lists(st.sampled_from(kind.words), max_size=2).map(", ".join)
    if isinstance(kind, NumberList):
        return st.lists(st.sampled_from(("0", "5", "12.5")), max_size=2).map(", ".join)
    if kind.options:
        return st.sampled_from(kind.options).map(knob.parse)
    whole = isinstance(kind, WholeNumber)
    return st.integers(int(kind.low), int(kind.high)) if whole else st.floats(kind.low, kind.high)


@given(
    st.fixed_dictionaries({}, optional={knob.name: _values(knob) for knob in KNOBS}), st.sampled_from(list(PROFILES))
)
def test_infotext_round_trip_of_every_knob(knobs: dict, profile: str):
    bindings = [{"lora": "a, b:c", "subject": "cat", "weight": 0.7}]
    request = read_request({"profile": profile, **knobs, "bindings": bindings})
    assert read_request(from_infotext(to_infotext(request))) == request


@given(st.fixed_dictionaries({}, optional={knob.name: _values(knob) for knob in KNOBS}))
def test_round_trip_of_every_knob_as_text(knobs: dict):
    text = format_text({name: KNOB[name].parse(value) for name, value in knobs.items()})
    assert text.count("\n") == max(len(knobs) - 1, 0)
    for same in (text, text.replace("\n", ", "), f"\n{text}\n , "):
        assert parse_text(same) == {name: KNOB[name].parse(value) for name, value in knobs.items()}


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("step_sise = 4", "step_sise", "known are"), ("temperature = 900", "temperature", "between 0.01 and 5"),
        ("temperature: 0.4", "advanced", "for example"), ("temperature = 1, temperature = 2", "temperature", "twice"),
        ("overlap = soft\nsoft", "advanced", "“soft” is no setting"), ("route = maybe", "route", "true or false"),
        ("rounds_at = 0, 10, ten, rounds = 3", "rounds_at", "list of numbers"), ("= 4", "", "no setting “”"),
    ],
)  # fmt: skip
def test_a_bad_text_of_knobs_names_what_is_wrong(text: str, field: str, words: str):
    with pytest.raises(SettingsError, match=words) as caught:
        parse_text(text)
    assert caught.value.field == field


def test_lists_keep_their_commas_in_a_text():
    assert parse_text("rounds_at = 0, 10, 20, morphology = open, dilate") == {
        "rounds_at": (0.0, 10.0, 20.0), "morphology": ("open", "dilate"),
    }  # fmt: skip


def test_an_infotext_without_us_says_nothing():
    assert from_infotext({"Steps": "20"}) is None


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"CLoRA profile": "lost"}, "profile"),
        ({"CLoRA bindings": "[{"}, "bindings"),
        ({"CLoRA overlap": "x"}, "overlap"),
    ],
)
def test_an_infotext_that_can_not_be_read_is_refused_by_field(changed: dict, field: str):
    with pytest.raises(SettingsError if field != "bindings" else BindingError) as caught:
        read_request(from_infotext(to_infotext(read_request({})) | changed))
    assert caught.value.field == field


def test_requests():
    assert read_request({}).enabled
    assert not read_request({"enabled": False}).enabled
    assert read_request({"bindings": "tuxcat: cat"}).bindings[0].subject == "cat"
    assert read_request({"bindings": None}).bindings == ()
    with pytest.raises(SettingsError, match="known are"):
        read_request({"colour": 1})
    with pytest.raises(SettingsError, match="true or false"):
        read_request({"enabled": "yes"})
    with pytest.raises(BindingError, match="fields"):
        read_request({"bindings": [{"lora": "a", "colour": "red"}]})


def test_the_schema_names_every_field():
    properties = json_schema()["properties"]
    assert set(properties) == {"enabled", "show_masks", "bindings", "masks", "profile", "method", *KNOB}
    assert properties["mask_threshold"]["minimum"] == 0.0
    assert properties["overlap"]["enum"] == ["average", "strongest", "soft"]
    assert all(properties[name]["description"] for name in KNOB)


# -- knobs that were -------------------------------------------------------------------------------------------------


def test_retired_knobs_are_read_told_and_ignored():
    request = read_request({"refresh": True, "mask_from": 10, "temperature": 0.4})
    assert request.retired == ("refresh", "mask_from")
    assert request.settings == build_settings(temperature=0.4)
    assert "no setting any more" in retired_note("refresh")
    assert not set(RETIRED) & set(KNOB)
    assert not set(RETIRED) & set(json_schema()["properties"])


def test_an_old_infotext_keeps_its_retired_knobs_by_name():
    words = {"CLoRA profile": "balanced", "CLoRA temperature": "0.4", "CLoRA rounds enough": "0.4"}
    found = from_infotext(words)
    assert found["rounds_enough"] == "0.4"
    assert read_request(found).retired == ("rounds_enough",)
    assert parse_text("refresh = true, overlap = soft") == {"refresh": "true", "overlap": "soft"}
    assert format_text({"refresh": "true"}) == "refresh = true"


def test_every_knob_has_a_field_that_is_read():
    assert list(KNOB) == [name for name in Settings.__dataclass_fields__ if name not in ("profile", "method")]
    assert plain_values(build_settings("paper"))["rounds_at"] == "0, 10, 20"
