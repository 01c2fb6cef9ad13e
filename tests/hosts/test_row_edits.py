"""What the page's script is told to change after a click in a row."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest

from clora_ext.hosts.webui.page.row_edits import edit_row, move_bindings
from clora_ext.prompt import LoraFacts, inspect, parse_bindings

BOTH = "a cat and a dog <lora:tuxcat:1> <lora:browndog:1>"
NOTHING = {"subject": None, "occurrence": None}


def after(prompt: str, bindings: str, wanted: Mapping[str, Any]) -> tuple[str, str]:
    """Both fields, edited as the script does it."""
    told = edit_row(wanted, prompt, bindings)
    for edit in told["texts"]:
        assert edit["was"] in prompt
        prompt = prompt.replace(edit["was"], edit["now"], 1)
    if told["bindings"] is None:
        return prompt, bindings
    assert told["bindings"]["was"] == bindings
    return prompt, told["bindings"]["now"]


def row(lora: str, changes: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"lora": lora, "names": [lora], "number": 0, "changes": changes, **more}


def test_a_word_that_was_said_moves_from_one_binding_to_another():
    taking = row("tuxcat", {"subject": "dog", "occurrence": None}, losers=[row("browndog", NOTHING)])
    assert after(BOTH, "browndog: dog", taking) == (BOTH, "tuxcat: dog")
    assert after(BOTH, "browndog: dog, weight=0.5", taking) == (BOTH, "browndog: weight=0.5\ntuxcat: dog")


SIX = "a vako cat and a pleko dog in the grass <lora:six:1>"
PARTS = ("vako cat", "pleko dog")
FACTS = {"six": LoraFacts("six", triggers=PARTS, parts=PARTS)}


def row_of(number: int, lines: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """A change of one of the rows of ``SIX``, as the page sends it."""
    shared = inspect(SIX, FACTS, parse_bindings(lines)).rows[number].shared
    assert shared is not None
    return row("six", changes, number=number, shared=json.loads(json.dumps(asdict(shared))))


@pytest.mark.parametrize(
    ("number", "lines", "changes", "now"),
    [
        (1, "", {"subject": "dog", "occurrence": None}, "six: dog"),
        (1, "", {"weight": 0.5}, "six: dog, weight=0.5"),
        (1, "", {"trigger": "pleko"}, "six: dog, trigger=pleko"),
        (1, "", {"subject": "grass", "occurrence": None}, "six: grass, trigger=pleko dog"),
        (1, "", {"role": "style", "subject": None}, "six: style"),
        (0, "six: pleko dog", {"weight": 0.5}, "six: pleko dog\nsix: cat, weight=0.5"),
        (1, "six: pleko dog", {"weight": 0.5}, "six: pleko dog, weight=0.5"),
        (1, "six: vako cat\nsix: dog", {"subject": None, "occurrence": None}, "six: vako cat"),
        (1, "six: dog, weight=0.5", {"subject": None, "occurrence": None}, ""),
        (0, "six: weight=0.5", {"subject": "cat"}, "six: weight=0.5\nsix: cat, weight=0.5"),
        (0, "", {"subject": None, "occurrence": None}, ""),
    ],
)
def test_a_change_of_one_subject_of_a_tag_is_a_line_of_its_own(number: int, lines: str, changes: dict, now: str):
    assert after(SIX, lines, row_of(number, lines, changes)) == (SIX, now)
    rows = inspect(SIX, FACTS, parse_bindings(now)).rows
    other = next((each for each in rows if each.subject == ("cat" if number else "dog")), None)
    assert (other is None) == (changes.get("role") == "style")


def test_a_subject_that_waits_for_an_answer_is_meant_by_its_trigger():
    rows = inspect(SIX.replace("grass", "grass, a pleko dog"), FACTS).rows
    assert [each.shared.says.trigger for each in rows if each.shared] == [None, "pleko dog"]
    assert [each.asks for each in rows] == [False, True]


def test_a_word_moves_from_tag_to_tag_too():
    prompt = "a cat and a dog <lora:tuxcat:bind=cat:1> <lora:browndog:bind=dog:1>"
    taking = row("tuxcat", {"subject": "dog", "occurrence": None}, losers=[row("browndog", NOTHING)])
    assert after(prompt, "", taking) == (BOTH, "tuxcat: dog")


def test_words_are_added_to_what_stands_in_the_prompt():
    adding = row("tuxcat", {}, add="vako", subject="cat", occurrence=1)
    assert after(BOTH, "", adding) == (BOTH.replace("cat and", "vako cat and"), "")
    second = row("tuxcat", {}, add="vako", subject="cat", occurrence=2)
    assert after("a cat, a cat", "tuxcat: cat #2", second) == ("a cat, a vako cat", "tuxcat: cat #2")
    nowhere = row("tuxcat", {}, add="vako cat", subject=None, occurrence=None)
    assert after("<lora:tuxcat:1>", "", nowhere) == ("vako cat <lora:tuxcat:1>", "")


def test_a_binding_goes_with_its_tag_and_comes_back():
    gone = move_bindings({"names": ["tuxcat"]}, "tuxcat: cat #2\nbrowndog: dog")
    assert gone == {
        "bindings": {"was": "tuxcat: cat #2\nbrowndog: dog", "now": "browndog: dog"}, "gone": "tuxcat: cat #2",
    }  # fmt: skip
    back = move_bindings({"back": gone["gone"]}, "browndog: dog")
    assert back["bindings"]["now"] == "browndog: dog\ntuxcat: cat #2"
    assert move_bindings({"back": "tuxcat: cat"}, "tuxcat: house") == {"bindings": None}
    stays = "six: cat, weight=0.5"
    gone = move_bindings({"names": ["six"]}, f"{stays}\nsix: dog")["gone"]
    assert move_bindings({"back": gone}, stays)["bindings"]["now"] == f"{stays}\nsix: dog"
