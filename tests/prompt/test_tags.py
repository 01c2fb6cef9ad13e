"""Tags: WebUI's grammar, and nothing but tags taken out."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clora_ext.errors import PromptError
from clora_ext.prompt import find_tags, remove_tags
from tests.prompt.checks import steady


@pytest.mark.parametrize(
    ("text", "name", "te", "unet", "dyn"),
    [
        ("<lora:cat>", "cat", 1.0, 1.0, None),
        ("<lora:cat:0.8>", "cat", 0.8, 0.8, None),
        ("<lora:cat:0.8:0.5>", "cat", 0.8, 0.5, None),
        ("<lora:cat:0.8:0.5:16>", "cat", 0.8, 0.5, 16),
        ("<lora:my cat v2:-1e-1>", "my cat v2", -0.1, -0.1, None),
        ("<lora:cat:te=0.3>", "cat", 0.3, 0.3, None),
        ("<lora:cat:unet=0.3>", "cat", 1.0, 0.3, None),
        ("<lora:cat:0.9:unet=0.3:dyn=4>", "cat", 0.9, 0.3, 4),
        ("<lora:cat:0.9:0.8:te=0.1>", "cat", 0.1, 0.8, None),
        ("<lora:bind=dog:cat:0.5>", "cat", 0.5, 0.5, None),  # named arguments take no position
        ("<lyco:cat:0.5>", "cat", 0.5, 0.5, None),
    ],
)
def test_weights_are_read_as_webui_does(text: str, name: str, te: float, unet: float, dyn: int | None):
    (tag,) = find_tags(f"a {text} b")
    assert (tag.name, tag.te, tag.unet, tag.dyn, tag.span) == (name, te, unet, dyn, (2, 2 + len(text)))
    assert tag.kind == text[1:5]


def test_named_arguments_are_kept_also_those_of_other_extensions():
    (tag,) = find_tags("<lora:cat:1:lbw=MIDD:stop=10:bind=fluffy cat:role=subject>")
    assert dict(tag.arguments) == {"lbw": "MIDD", "stop": "10", "bind": "fluffy cat", "role": "subject"}


def test_tags_of_other_kinds_are_taken_out_but_not_read():
    assert find_tags("<hypernet:x:1> <LORA:y:1>") == ()
    assert remove_tags("a <hypernet:x:1>b") == "a b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<lora:cat:strong>", ("<lora:cat:strong>", "te", "strong")),
        ("<lora:cat:1:nan>", ("unet", "nan")),
        ("<lora:cat:inf>", ("te", "inf")),
        ("<lora:cat:>", ("te", "number")),
        ("<lora:cat:1:1:2.5>", ("dyn", "2.5")),
        ("<lora:cat:dyn=0>", ("dyn", "whole number from 1")),
        ("<lora:cat:a=b=c>", ("te", "a=b=c")),
        ("<lora: :1>", ("names no LoRA",)),
        ("<lora:te=1>", ("names no LoRA",)),
        ("<lora:cat:1:Bind=dog>", ("Bind=", "bind=")),
        ("<lora:cat:1:triger=x>", ("triger=", "trigger=")),
    ],
)
def test_a_tag_that_can_not_be_read_is_named(text: str, words: tuple[str, ...]):
    with pytest.raises(PromptError) as caught:
        find_tags(f"a cat {text}")
    assert all(word in caught.value.message for word in words)
    assert caught.value.field == "prompt"


TEXT = st.text(st.sampled_from("ab ,()[]:|\n\\_<>.é1"), max_size=12).filter(lambda text: not re.search(r"<\w+:", text))
WEIGHT = st.floats(-4, 4, allow_nan=False).map(lambda weight: round(weight, 3))


@steady
@given(st.lists(st.tuples(TEXT, st.sampled_from(("lora", "lyco")), WEIGHT, WEIGHT), max_size=4), TEXT)
def test_removing_tags_alters_nothing_else(parts, end):
    prompt = "".join(f"{text}<{kind}:n{index}:{te}:{unet}>" for index, (text, kind, te, unet) in enumerate(parts)) + end
    tags = find_tags(prompt)
    assert [(tag.kind, tag.te, tag.unet) for tag in tags] == [part[1:] for part in parts]
    assert [tag.name for tag in tags] == [f"n{index}" for index in range(len(parts))]
    assert all(prompt[slice(*tag.span)].startswith(f"<{tag.kind}:{tag.name}:") for tag in tags)
    assert remove_tags(prompt) == "".join(text for text, *_ in parts) + end
