"""What a prompt leaves open is asked of one LoRA, with all answers that fit; and words that it lacks are told."""

from typing import Any

import pytest

from clora_ext.prompt import Binding, LoraFacts, LoraRow, Question, add_words, inspect, parse_bindings
from clora_ext.prompt.grammar import prompt_text
from clora_ext.prompt.grammar.edits import apply_edits

FACTS = {
    facts.name: facts
    for facts in (
        LoraFacts("tuxcat", triggers=("vako cat",)),
        LoraFacts("browndog"),
        LoraFacts("cat_ball"),
        LoraFacts("tigercat"),
        LoraFacts("xq"),
        LoraFacts("ballgown", labels=("clothing",)),
        LoraFacts("lineart", triggers=("frizu style",)),
    )
}
BOTH = "<lora:tuxcat:1> <lora:browndog:1>"


def question(prompt: str, bindings: str = "") -> Question:
    problem = inspect(prompt, FACTS, parse_bindings(bindings)).problem
    assert isinstance(problem, Question)
    return problem


def row_of(lora: str, prompt: str, bindings: str = "") -> LoraRow:
    rows = inspect(prompt, FACTS, parse_bindings(bindings)).rows
    return next(row for row in rows if row.lora == lora)


def chosen(prompt: str, row: LoraRow) -> list[Any]:
    """The words that a row is asked for, with their numbers."""
    words = inspect(prompt, FACTS).words
    return [(" ".join(words[at].text for at in span), words[span[0]].occurrence) for span in row.choices]


@pytest.mark.parametrize(
    ("prompt", "bindings", "asked"),
    [
        ("a house <lora:xq:1> and a dog <lora:browndog:1>", "", "What does “xq” draw?"),
        ("a cat, a ball and a dog <lora:cat_ball:1> <lora:browndog:1>", "", "Is “cat_ball” the “cat” or the “ball”?"),
        (f"a cat, a cat and a dog {BOTH}", "", "“cat”, which “tuxcat” draws, stands in 2 places."),
        ("a cat <lora:tuxcat:1> <lora:tigercat:1>", "", "“tuxcat” and “tigercat” want to draw the same “cat”."),
        (f"a cat and a dog {BOTH}", "tuxcat: dog", "What does “browndog” draw? “tuxcat” has its “dog”."),
        ("a cat and a dog <lora:ballgown:1>" + BOTH, "", "Whose clothes does “ballgown” draw?"),
    ],
)
def test_a_question_is_short_and_says_how_to_answer_in_writing(prompt: str, bindings: str, asked: str):
    told = question(prompt, bindings)
    assert "".join(told.asked) == asked
    assert told.message.startswith(f"{asked} ")
    assert "bind=" in told.message or "occurrence=" in told.message


def test_only_words_that_fit_are_offered():
    prompt = "a cat, a ball and a dog <lora:cat_ball:1> <lora:browndog:1>"
    row = row_of("cat_ball", prompt)
    assert row.asks
    assert chosen(prompt, row) == [("cat", 1), ("ball", 1)]
    twice = f"a cat, a cat and a dog {BOTH}"
    assert chosen(twice, row_of("tuxcat", twice)) == [("cat", 1), ("cat", 2)]
    assert not row_of("browndog", twice).asks
    open_to_all = row_of("xq", "a house <lora:xq:1> and a dog <lora:browndog:1>")
    assert (open_to_all.asks, open_to_all.choices) == (True, ())


def test_who_said_a_word_has_it_and_the_other_is_asked():
    prompt = f"a cat and a dog {BOTH}"
    winner, loser = inspect(prompt, FACTS, [Binding("tuxcat", subject="dog")]).rows
    assert (winner.subject, winner.said, winner.asks) == ("dog", True, False)
    assert (loser.subject, loser.words, loser.asks) == (None, (), True)
    assert question(prompt, "tuxcat: dog").lora == "browndog"


def test_of_several_cats_the_loser_takes_the_one_that_is_left():
    prompt = "a cat and a cat <lora:tuxcat:1> <lora:tigercat:1>"
    seen = inspect(prompt, FACTS, parse_bindings("tuxcat: cat #2"))
    assert [(row.lora, row.occurrence, row.said) for row in seen.rows] == [("tuxcat", 2, True), ("tigercat", 1, False)]


def test_whose_clothes_these_are_is_asked_of_their_row():
    row = row_of("ballgown", "a cat and a dog <lora:ballgown:1>" + BOTH)
    assert (row.asks, row.words) == (True, ())


@pytest.mark.parametrize(
    ("prompt", "lora", "bindings", "told"),
    [
        (f"a cat and a dog {BOTH}", "tuxcat", "", ("vako cat", "vako")),
        (f"a house and a dog {BOTH}", "tuxcat", "tuxcat: house", ("vako cat", "vako cat")),
        (f"in the grass {BOTH}", "tuxcat", "", ("vako cat", "vako cat")),
        (f"a cat and a dog {BOTH} <lora:lineart:1>", "lineart", "", ("frizu style", "frizu style")),
        (f"a vako cat and a dog {BOTH}", "tuxcat", "", None),
        (f"a [vako cat|cow] and a dog {BOTH}", "tuxcat", "", None),
        (f"a cat and a dog {BOTH}", "tuxcat", "tuxcat: cat, trigger=zorv", None),
        (f"a cat and a dog {BOTH}", "browndog", "", None),
        ("a cat and a dog <lora:tuxcat:0> <lora:browndog:1>", "tuxcat", "", None),
        (f"a cat and a dog {BOTH} <lora:lineart:1>", "lineart", "lineart: style on dog", None),
    ],
)
def test_an_activation_text_that_is_not_in_the_prompt_is_told(
    prompt: str, lora: str, bindings: str, told: tuple[str, str] | None
):
    unwritten = row_of(lora, prompt, bindings).unwritten
    assert (None if unwritten is None else (unwritten.text, unwritten.add)) == told


@pytest.mark.parametrize(
    ("trigger", "add"),
    [
        ("zorv cat, white paws", "zorv"),
        ("(zorv, cat:1.2)", "(zorv, cat:1.2)"),
        ("zorv \\(series\\), 1girl", "zorv \\(series\\)"),
        ("catzorv cat", "catzorv"),
        (", zorv", "zorv"),
    ],
)
def test_of_an_activation_text_its_first_part_is_added_without_the_subject(trigger: str, add: str):
    (row,) = inspect("a cat <lora:tuxcat:bind=cat:1>", {"tuxcat": LoraFacts("tuxcat", triggers=(trigger,))}).rows
    assert row.unwritten is not None
    assert row.unwritten.add == add


@pytest.mark.parametrize(
    ("prompt", "subject", "occurrence", "added"),
    [
        (f"a cat and a dog {BOTH}", "cat", 1, f"a zorv cat and a dog {BOTH}"),
        ("<lora:tuxcat:1>cat, (cat:1.2) <lora:x:1>", "cat", 1, "<lora:tuxcat:1>zorv cat, (cat:1.2) <lora:x:1>"),
        ("<lora:tuxcat:1>cat, (cat:1.2) <lora:x:1>", "cat", 2, "<lora:tuxcat:1>cat, (zorv cat:1.2) <lora:x:1>"),
        ("a cat and a cat", "cat", 7, "a cat and a zorv cat"),
        (f"in the grass, {BOTH}", None, None, f"in the grass, zorv, {BOTH}"),
        (f"in the grass {BOTH}", "cow", 1, f"in the grass, zorv {BOTH}"),
        (BOTH, None, None, f"zorv {BOTH}"),
        ("", None, None, "zorv "),
        ("a cat # a dog", None, None, "a cat, zorv # a dog"),
        ("a cat <lora:a:1> # it", None, None, "a cat, zorv <lora:a:1> # it"),
        ("# no cat\na cat\n# end", "cat", 1, "# no cat\na zorv cat\n# end"),
        ("# all", None, None, "zorv # all"),
    ],
)  # fmt: skip
def test_words_are_added_before_a_subject_or_at_the_end(prompt: str, subject: Any, occurrence: Any, added: str):
    assert apply_edits(prompt, [add_words(prompt, "zorv", subject, occurrence)]) == added


def test_a_prompt_is_read_once_however_often_it_is_asked_about(monkeypatch):
    read: list[str] = []
    lex = prompt_text.lex
    monkeypatch.setattr(prompt_text, "lex", lambda string: read.append(string) or lex(string))
    inspect("a prompt that nobody has read <lora:tuxcat:1> of a cat", FACTS)
    assert len(read) == len(set(read))
