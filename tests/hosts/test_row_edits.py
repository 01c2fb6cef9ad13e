"""What the page's script is told to change after a click in a row."""

from collections.abc import Mapping
from typing import Any

from clora_ext.hosts.webui.page.row_edits import edit_row, move_bindings

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
