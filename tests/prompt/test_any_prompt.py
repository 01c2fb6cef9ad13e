"""What must hold for any prompt."""

import re
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from clora_ext.errors import CLoRAError
from clora_ext.prompt import Binding, LoraFacts, bind, remove_tags
from tests.prompt.binding_table import FACTS
from tests.prompt.checks import check_places, steady

NOUNS = ("cat", "dog", "bunny", "flower", "ball", "house")
NOISE = st.lists(
    st.sampled_from(
        (
            "a",
            " ",
            ",",
            ", ",
            " and ",
            "(",
            ")",
            "[",
            "]",
            ":1.2)",
            ":0.5]",
            "|",
            " BREAK ",
            "\n",
            "_",
            "\\(",
            "'s",
            "zorv",
            "qix ",
            " fluffy ",
            "in the grass",
            "<lora:aaa:1>",
            "<hypernet:x:1>",
            "sitting",
            "1girl",
            "-",
            ".",
        )
    ),
    max_size=5,
).map("".join)
CORES = st.sampled_from(
    (
        "<lora:zorv:0.5>(zorv) cat",
        "a zorv cat and a qix dog<lora:zorv:1><lora:qd:1>",
        "((zorv)), cat, <lora:zorv:1:bind=cat> qix, <lora:qd:1:bind=dog> dog",
        "hatsune miku, sks_cat<lora:miku:1><lora:cat_sks:1>",
        "a <lora:aaa:1> ball <lora:bbb:1:bind=dog:trigger=sks> dog",
        "vela, 1girl, silver hair, cat <lora:vela:1> <lora:tuxcat:1>",
    )
)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(NOISE, CORES, NOISE)
def test_any_prompt_is_bound_soundly_or_refused(before, core, after):
    prompt = before + core + after
    try:
        bound = bind(prompt, FACTS)
    except CLoRAError:
        return
    check_places(bound)
    plain = remove_tags(prompt)
    for own, text in enumerate(bound.texts, -1):
        triggers = [Counter(words_of(subject.trigger or "")) for subject in bound.subjects]
        mine = triggers[own] if own >= 0 else Counter()
        others = sum((words for index, words in enumerate(triggers) if index != own), Counter())
        before_words, after_words = Counter(words_of(plain)), Counter(words_of(text))
        assert after_words - before_words <= mine
        gone = before_words - after_words
        assert gone <= others
        if not mine & others:
            assert gone == others & before_words
        if not gone and after_words == before_words:
            assert text == plain
        assert depth(text) == depth(plain)


@steady
@given(st.permutations(NOUNS), st.integers(2, 6), st.booleans(), st.booleans(), st.data())
def test_binding_does_not_depend_on_where_tags_stand(nouns, count, in_place, emphasis, data):
    nouns = nouns[:count]
    facts = {f"my_{noun}": LoraFacts(f"my_{noun}", triggers=(f"{noun[::-1]}x",)) for noun in NOUNS}
    scene = [f"a ({noun[::-1]}x {noun}:1.2)" if emphasis else f"a {noun[::-1]}x {noun}" for noun in nouns]
    tags = [f"<lora:my_{noun}:1>" for noun in nouns]
    if in_place:
        prompt = " and ".join(f"{tag}{words}" for tag, words in zip(tags, scene, strict=True))
    else:
        prompt = " and ".join(scene) + "".join(data.draw(st.permutations(tags)))
    bound = bind(prompt, facts)
    assert {subject.lora: subject.words for subject in bound.subjects} == {f"my_{noun}": noun for noun in nouns}
    assert bound.base == " and ".join(f"a ({noun}:1.2)" if emphasis else f"a {noun}" for noun in nouns)
    check_places(bound)


@steady
@given(st.integers(1, 5), st.data())
def test_repeated_words_are_told_apart_by_number(count, data):
    prompt = " and ".join(["a cat"] * count)
    chosen = data.draw(st.integers(1, count))
    bound = bind(prompt, FACTS, (Binding("aaa", subject="cat", occurrence=chosen, trigger="sks"),))
    parts = ["a cat"] * count
    parts[chosen - 1] = "a sks cat"
    assert bound.branches == (" and ".join(parts),)
    assert bound.places[0][0].subject == (
        (8 * chosen - 8 + 2 + (chosen - 1) * 2, 8 * chosen - 8 + 5 + (chosen - 1) * 2),
    )


def words_of(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", re.sub(r":\s*[\d.]+\s*(?=[)\]])", "", text))


def depth(text: str) -> tuple[int, int]:
    """How many round and square brackets are left open; escaped ones are letters."""
    plain = re.sub(r"\\.", "", text)
    return plain.count("(") - plain.count(")"), plain.count("[") - plain.count("]")
