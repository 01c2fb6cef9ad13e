"""What is worked out once and then looked up: a LoRA's triggers in a prompt, the phrase of a word."""

import pytest

from clora_ext.prompt import bind, remove_tags
from clora_ext.prompt.grammar.prompt_text import read_prompt_text
from clora_ext.prompt.rules import evidence
from tests.prompt.binding_table import CASES, FACTS, Case


def test_a_prompts_triggers_are_matched_once_for_each_lora(monkeypatch: pytest.MonkeyPatch):
    matched = []
    match_triggers = evidence.match_triggers

    def count(text: object, triggers: tuple[str, ...]) -> object:
        matched.append(triggers)
        return match_triggers(text, triggers)

    monkeypatch.setattr(evidence, "match_triggers", count)
    bind("a zorv cat and a qix dog, in lineart <lora:zorv:1><lora:qd:1:bind=dog><lora:lineart:1:on=dog>", FACTS)
    assert matched == [("zorv",), ("qix",), ()]


@pytest.mark.parametrize("case", [case for case in CASES if " AND " not in case.prompt], ids=lambda case: case.prompt)
def test_every_word_is_in_the_phrase_that_the_table_gives(case: Case):
    text = read_prompt_text(remove_tags(case.prompt))
    for index in range(len(text.words)):
        (holding,) = (phrase for phrase in text.phrases if phrase.first <= index < phrase.stop)
        assert text.phrase_at(index) == holding
