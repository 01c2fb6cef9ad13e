"""Explicit bindings: both written forms, and errors that name the field."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clora_ext.errors import BindingError
from clora_ext.prompt import BINDING_FIELDS, ROLES, Binding, format_bindings, parse_bindings, read_bindings
from tests.prompt.checks import steady

PANEL = """
tuxcat: cat
browndog: dog #2, trigger=zorv, weight=0.8

watercolor: style
sketch: style on cat
ink: style on cat #2, weight=0.5
"a:b": "x, y", trigger=""
plain:
late: weight=2, subject=red ball, occurrence=3
"""
READ = (
    Binding("tuxcat", subject="cat"),
    Binding("browndog", subject="dog", occurrence=2, trigger="zorv", weight=0.8),
    Binding("watercolor", role="style"),
    Binding("sketch", role="style_on", on="cat"),
    Binding("ink", role="style_on", on="cat", occurrence=2, weight=0.5),
    Binding("a:b", subject="x, y", trigger=""),
    Binding("plain"),
    Binding("late", weight=2.0, subject="red ball", occurrence=3),
)


def test_the_panel_is_read_line_by_line():
    assert parse_bindings(PANEL) == READ
    assert parse_bindings(PANEL.replace("\n", "\r\n")) == READ
    assert parse_bindings(" \n") == ()


def test_what_people_type_is_written_as_they_type_it():
    text = "tuxcat: cat\nbrowndog: dog #2, weight=0.8, trigger=zorv\nwatercolor: style\nsketch: style on cat"
    assert format_bindings(parse_bindings(text)) == text


def test_json_says_the_same():
    entries = [{name: value for name, value in asdict(binding).items() if value is not None} for binding in READ]
    assert parse_bindings(json.dumps(entries)) == READ
    assert parse_bindings(json.dumps([asdict(binding) for binding in READ])) == READ
    assert read_bindings(tuple(entries)) == READ


WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
NAMED = WORDS.map(lambda text: f"{text}x")
MAYBE = {
    "weight": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "subject": st.none() | NAMED | st.sampled_from(("style", "style on cat", "cat #2", "[cat]", '"cat"')),
    "occurrence": st.none() | st.integers(1, 99),
    "trigger": st.none() | st.sampled_from(("", "sks", "sks, (zorv:1.2)", "a=b", "style", " x ")),
    "role": st.none() | st.sampled_from(ROLES),
    "on": st.none() | NAMED,
}


@steady
@given(st.lists(st.builds(Binding, lora=NAMED, **MAYBE), max_size=3))
def test_both_forms_round_trip(bindings):
    assert parse_bindings(format_bindings(bindings)) == tuple(bindings)
    assert read_bindings(json.loads(json.dumps([asdict(binding) for binding in bindings]))) == tuple(bindings)


@steady
@given(st.text(st.sampled_from('ab:,=#" \n[]{}\\1style on'), max_size=20))
def test_any_text_is_read_or_refused_with_a_sentence(text):
    try:
        bindings = parse_bindings(text)
    except BindingError as problem:
        field, sentence = problem.field, problem.message
    else:
        assert parse_bindings(format_bindings(bindings)) == bindings
        return
    assert field.startswith("bindings")
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("tuxcat cat", "bindings[0]", ("Line 1", "no colon")),
        ("\ntuxcat: cat, colour=red", "bindings[0].colour", ("Line 2", "colour", ", ".join(BINDING_FIELDS))),
        ("tuxcat: cat, weight=heavy", "bindings[0].weight", ("heavy", "a number")),
        ("tuxcat: cat, weight=nan", "bindings[0].weight", ("nan", "a number")),
        ("tuxcat: cat #0", "bindings[0].occurrence", ("0", "whole number from 1")),
        ("tuxcat: cat #two", "bindings[0].occurrence", ("two", "whole number")),
        ("tuxcat: cat, occurrence=1.5", "bindings[0].occurrence", ("1.5", "whole number")),
        ("tuxcat: cat, subject=dog", "bindings[0].subject", ("subject", "twice")),
        ("tuxcat: cat #1, occurrence=2", "bindings[0].occurrence", ("twice",)),
        ("a: cat\ntuxcat: cat, role=paint", "bindings[1].role", ("Line 2", "paint", ", ".join(ROLES))),
        ("tuxcat: style on", "bindings[0].on", ("style on cat",)),
        ("tuxcat: cat, dog", "bindings[0]", ("“dog” is not a field",)),
        ("tuxcat: cat, weight=", "bindings[0].weight", ("no value",)),
        ('tuxcat: "cat" dog', "bindings[0]", ("comma is missing",)),
        ("tuxcat: cat, =3", "bindings[0]", ("can not be read",)),
        (": cat", "bindings[0].lora", ("name of a LoRA",)),
        ("tuxcat: !!!", "bindings[0].subject", ("words of the prompt",)),
        ("tuxcat: cat, on=...", "bindings[0].on", ("words of a subject",)),
        ("tuxcat: cat, trigger=(zorv", "bindings[0].trigger", ("bracket",)),
        ("tuxcat: cat, trigger=(zorv]", "bindings[0].trigger", ("bracket",)),
        ("tuxcat: cat, trigger=<lora:x:1> y", "bindings[0].trigger", ("no tag",)),
        ('tuxcat: "\\q"', "bindings[0]", ("quoted as in JSON",)),
        ("[{]", "bindings", ("JSON list",)),
        ("[1]", "bindings[0]", ("object", ", ".join(BINDING_FIELDS))),
        ('[{"subject": "cat"}]', "bindings[0].lora", ("no “lora”",)),
        ('[{"lora": 3}]', "bindings[0].lora", ("3", "text")),
        ('[{"lora": "a", "weight": true}]', "bindings[0].weight", ("True", "a number")),
        ('[{"lora": "a", "weight": "0.8"}]', "bindings[0].weight", ("'0.8'", "a number")),
        ('[{"lora": "a"}, {"lora": "b", "name": "x"}]', "bindings[1].name", ("“name”", ", ".join(BINDING_FIELDS))),
    ],
)
def test_a_wrong_binding_is_refused_by_name(text: str, field: str, words: tuple[str, ...]):
    with pytest.raises(BindingError) as caught:
        parse_bindings(text)
    assert caught.value.field == field
    assert all(word in caught.value.message for word in words)
    assert caught.value.status_code == 422


@pytest.mark.parametrize("value", [None, "tuxcat: cat", {"lora": "a"}, 3])
def test_bindings_must_be_a_list(value: object):
    with pytest.raises(BindingError, match="must be a list of objects"):
        read_bindings(value)
