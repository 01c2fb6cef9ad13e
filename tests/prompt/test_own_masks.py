"""Own masks in bindings: what is said of a LoRA, who gets it, and what is refused."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from clora_ext.errors import BindingError, CLoRAError
from clora_ext.prompt import Binding, LoraFacts, bind, bind_or_merge, format_bindings, parse_bindings
from clora_ext.settings.infotext import from_infotext, named_masks, to_infotext
from clora_ext.settings.request import json_schema, read_request

MASK, OTHER = "aGFsbG8=", "data:image/png;base64,d2VsdA=="
FACTS = {name: LoraFacts(name) for name in ("tuxcat", "browndog", "cat_style")}
PROMPT = "a cat and a dog <lora:tuxcat:1:bind=cat> <lora:browndog:1:bind=dog>"


def test_a_subject_has_the_mask_of_its_lora():
    bound = bind(PROMPT, FACTS, [Binding("tuxcat", mask=MASK), Binding("browndog", mask=OTHER, mask_way="added")])
    assert [(each.mask, each.mask_way) for each in bound.subjects] == [(MASK, "fixed"), (OTHER, "added")]
    assert [each.mask for each in bind(PROMPT, FACTS).subjects] == [None, None]


def test_a_lora_with_a_mask_is_a_subject_and_no_style():
    prompt = "a cat <lora:cat_style:1>"
    assert bind_or_merge(prompt, FACTS).subjects == ()
    (subject,) = bind_or_merge(prompt, FACTS, [Binding("cat_style", mask=MASK)]).subjects
    assert (subject.lora, subject.words, subject.mask) == ("cat_style", "cat", MASK)


@pytest.mark.parametrize(
    ("binding", "words", "field"),
    [
        ({"lora": "cat_style", "mask": MASK}, "has a mask, but is not in the prompt", "bindings[0].mask"),
        ({"lora": "nobody", "mask": MASK}, "nobody", "bindings[0].lora"),
        ({"lora": "cat_style", "role": "style", "mask": MASK}, "takes no “mask”", "bindings[0].mask"),
        ({"lora": "tuxcat", "mask_way": "fixed"}, "there is no “mask”", "bindings[0].mask_way"),
        ({"lora": "tuxcat", "mask": MASK, "mask_way": "here"}, "one of fixed, limited, added", "bindings[0].mask_way"),
        ({"lora": "tuxcat", "mask": 3}, "must be text", "bindings[0].mask"),
        ({"lora": "tuxcat", "mask": "?"}, "a picture in base64", "bindings[0].mask"),
    ],
)
def test_what_can_not_be_is_told_with_its_field(binding: Mapping[str, Any], words: str, field: str):
    with pytest.raises(CLoRAError, match=words) as caught:
        bind(PROMPT, FACTS, read_request({"bindings": [binding]}).bindings)
    assert caught.value.field == field


def test_the_panel_keeps_masks_by_lora_beside_the_bindings():
    masks = {"TuxCat": {"mask": MASK, "mask_way": "limited"}, "browndog": {"mask": OTHER}}
    for given in (masks, json.dumps(masks)):
        found = read_request({"bindings": "tuxcat: cat", "masks": given}).bindings
        assert found == (
            Binding("tuxcat", subject="cat", mask=MASK, mask_way="limited"),
            Binding("browndog", mask=OTHER),
        )
    assert read_request({"bindings": "tuxcat: cat", "masks": ""}).bindings == (Binding("tuxcat", subject="cat"),)


@pytest.mark.parametrize(
    ("bindings", "masks", "words"),
    [
        ("", "[1]", "an object of LoRAs"),
        ("", "{", "an object of LoRAs"),
        ("", {"a": MASK}, "an object with the fields mask and mask_way"),
        ("", {"a": {"mask": MASK, "on": "b"}}, "an object with the fields mask and mask_way"),
        ("a: cat\na: dog", {"a": {"mask": MASK}}, "several subjects"),
        ("a: cat", {"a": {"mask": "", "mask_way": "fixed"}}, "The mask of “a” is not here: paint it"),
    ],
)
def test_masks_of_another_shape_are_refused(bindings: str, masks: object, words: str):
    with pytest.raises(BindingError, match=words) as caught:
        read_request({"bindings": bindings, "masks": masks})
    assert caught.value.field == "masks"


def test_an_infotext_tells_masks_apart_and_does_not_hold_them():
    request = read_request(
        {"bindings": [{"lora": "tuxcat", "subject": "cat", "mask": MASK}, {"lora": "browndog", "mask": OTHER}]}
    )
    words = to_infotext(request)
    assert words["CLoRA masks"] == (
        "tuxcat fixed d3751d33f9cd, browndog fixed 3aab87f4384d, the pictures are not in here"
    )
    assert json.loads(words["CLoRA bindings"]) == [{"lora": "tuxcat", "subject": "cat"}]
    assert not any(MASK in text or "d2VsdA" in text for text in words.values())
    assert named_masks(words) == [("tuxcat", "fixed", "d3751d33f9cd"), ("browndog", "fixed", "3aab87f4384d")]
    fields = from_infotext(words)
    assert fields is not None
    assert read_request(fields).bindings == (Binding("tuxcat", subject="cat"),)


def test_a_line_of_the_panel_holds_a_mask_too():
    bindings = (Binding("tuxcat", subject="cat", mask=OTHER, mask_way="added"),)
    assert parse_bindings(format_bindings(bindings)) == bindings


def test_the_schema_knows_masks_in_both_places():
    properties = json_schema()["properties"]
    assert properties["bindings"]["items"]["properties"]["mask_way"]["enum"] == ["fixed", "limited", "added"]
    assert properties["masks"]["additionalProperties"]["required"] == ["mask"]
