"""LoRAs that draw no subject, LoRAs alone, LoRAs that are named twice, and the names of a file."""

import pytest

from clora_ext.errors import BindingError
from clora_ext.prompt import Binding, BoundPrompt, LoraFacts, bind, bind_or_merge, edit_binding, inspect, lora_key
from clora_ext.prompt.rules import subjects

LORAS = {
    facts.name: facts
    for facts in (
        LoraFacts("tuxcat", triggers=("vako cat",)),
        LoraFacts("browndog", aliases=("Rex v1.0",), triggers=("pleko dog",)),
        LoraFacts("add_detail"),
        LoraFacts("ink", labels=("style, anime",)),
        LoraFacts("elf", triggers=("lyra elf",), labels=("style", "character")),
        LoraFacts("frizu", triggers=("frizu style",)),
        LoraFacts("robe", triggers=("zk robe",), labels=("clothing",)),
        LoraFacts("xyzzy"),
    )
}
TWO = "a vako cat and a pleko dog <lora:tuxcat:1> <lora:browndog:1>"


def roles(bound: BoundPrompt) -> dict[str, str | None]:
    return {subject.lora: subject.words for subject in bound.subjects} | {
        style.lora: style.why for style in bound.styles
    }


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ("<lora:add_detail:0.5>", "by its name"),
        ("<lora:ink:0.5>", "by its metadata"),
        ("<lora:frizu:0.5>", "by its activation text"),
        ("<lora:xyzzy:0>", "at weight 0"),
        ("<lora:xyzzy:-1>", "at weight -1"),
        ("in xyzzy style <lora:xyzzy:1>", "by the prompt"),
    ],
)
def test_a_style_says_what_told_it(tag: str, why: str):
    bound = bind(f"{TWO} {tag}", LORAS)
    assert [(style.on, style.why) for style in bound.styles] == [(None, why)]
    assert [subject.words for subject in bound.subjects] == ["cat", "dog"]
    assert inspect(f"{TWO} {tag}", LORAS).rows[-1].why == why


def test_a_label_of_a_subject_beside_style_decides_nothing():
    assert roles(bind(f"{TWO}, lyra elf <lora:elf:1>", LORAS))["elf"] == "elf"


def test_what_somebody_says_wins_over_what_tells():
    bound = bind(f"{TWO} and a bird <lora:add_detail:1:bind=bird>", LORAS)
    assert roles(bound)["add_detail"] == "bird"
    bound = bind(
        f"{TWO} and a bird <lora:add_detail:1>", LORAS, (Binding("add_detail", role="subject", subject="bird"),)
    )
    assert roles(bound)["add_detail"] == "bird"


def test_clothes_go_to_who_wears_them_or_ask():
    bound = bind("a vako cat next to a pleko dog in a zk robe <lora:tuxcat:1> <lora:browndog:1> <lora:robe:1>", LORAS)
    (robe,) = bound.styles
    assert (bound.subjects[robe.on].lora, robe.trigger) == ("browndog", "zk robe")
    assert "zk robe" in bound.branches[1]
    assert "zk robe" not in bound.base + bound.branches[0]
    with pytest.raises(BindingError, match=r"clothes does “robe” draw.*on=.*role=style.*bind="):
        bind(f"{TWO}, zk robe <lora:robe:1>", LORAS)
    (robe,) = bind("a vako cat in a zk robe <lora:tuxcat:1> <lora:robe:1>", LORAS).styles
    assert robe.on is None


def test_clothes_of_nobody_are_a_subject():
    assert roles(bind("a zk robe on a chair <lora:robe:1>", LORAS)) == {"robe": "robe"}


def test_the_question_names_all_three_answers():
    with pytest.raises(BindingError, match=r"“xyzzy”.*bind=.*role=style.*on="):
        bind(f"{TWO} <lora:xyzzy:1>", LORAS)


@pytest.mark.parametrize("tags", ["<lora:xyzzy:1>", "<lora:xyzzy:1> <lora:add_detail:1>"])
def test_a_lora_alone_needs_no_subject(tags: str):
    bound = bind_or_merge(f"a cat and a dog {tags}", LORAS)
    assert bound.subjects == ()
    assert roles(bound)["xyzzy"] == "alone"
    assert inspect(f"a cat and a dog {tags}", LORAS).rows[0].role == "style"


def test_a_lora_alone_keeps_its_weight_and_what_was_said_of_it():
    (style,) = bind_or_merge("a cat and a dog", LORAS, (Binding("xyzzy", weight=0.5),)).styles
    assert (style.te, style.unet) == (0.5, 0.5)
    for wrong in ("a cat <lora:xyzzy:1:bind=bird>", "a cat and a cat <lora:xyzzy:1:bind=cat>"):
        with pytest.raises(BindingError):
            bind_or_merge(wrong, LORAS)
    with pytest.raises(BindingError):
        bind_or_merge("a cat <lora:xyzzy:1> <lora:ink:1:on=cat>", LORAS)


def test_a_lora_that_is_named_twice_has_the_last_weight_for_each_name_and_tag():
    twice = "a vako cat <lora:tuxcat:0.3:0.4> <lora:tuxcat:0.5:0.7>"
    (cat,) = bind(twice, LORAS).subjects
    assert (cat.te, cat.unet) == (1.0, 1.4)
    (dog,) = bind("a pleko dog <lora:browndog:0.3> <lora:Rex v1.0:0.5>", LORAS).subjects
    assert (dog.te, dog.unet) == (0.8, 0.8)


def test_one_file_may_draw_two_subjects():
    bound = bind("a cat and a dog <lora:xyzzy:1:bind=cat> <lora:xyzzy:0.5:bind=dog>", LORAS)
    assert [(subject.lora, subject.words, subject.unet) for subject in bound.subjects] == [
        ("xyzzy", "cat", 1.0), ("xyzzy", "dog", 0.5),
    ]  # fmt: skip
    by_lines = (Binding("xyzzy", subject="cat", trigger="sks"), Binding("xyzzy", subject="dog", trigger="ohwx"))
    bound = bind("a cat and a dog", LORAS, by_lines)
    assert bound.branches == ("a sks cat and a dog", "a cat and a ohwx dog")
    rows = inspect("a cat and a dog", LORAS, by_lines).rows
    assert [(row.lora, row.subject) for row in rows] == [("xyzzy", "cat"), ("xyzzy", "dog")]


@pytest.mark.parametrize("name", ["tuxcat", "TuxCat", "pets/tuxcat", "pets\\TUXCAT.safetensors", "tuxcat.pt"])
def test_a_lora_is_its_file(name: str):
    prompt = f"a vako cat <lora:{name}:1>"
    assert lora_key(name) == "tuxcat"
    assert bind(prompt, LORAS).subjects[0].lora == "tuxcat"
    tag, _ = edit_binding(prompt, (), ["tuxcat"], {"weight": 0.8})
    assert tag is not None
    assert tag.text == f"{name}:0.8"


def test_suggestions_ignore_case():
    with pytest.raises(BindingError, match="there is tuxcat"):
        bind("a cat <lora:TUXCATS:1>", LORAS)


@pytest.mark.parametrize(
    ("trigger", "written"),
    [
        ("mr. bean", "Mr Bean"),
        ("r2-d2", "R2 D2"),
        ("yor_briar", "(Yor:1.2) briar"),
        ("d.va \\(overwatch\\)", "d.va_(overwatch)"),
        ("rem \\(re:zero\\)", "rem  \\(Re:Zero\\)"),
    ],
)
def test_a_name_is_found_by_its_letters_and_kept_in_every_branch(trigger: str, written: str):
    facts = LORAS | {"n": LoraFacts("n", triggers=(trigger,))}
    bound = bind(f"{written}, smiling, a vako cat <lora:n:1> <lora:tuxcat:1>", facts)
    name, cat = bound.subjects
    assert name.trigger is None
    assert cat.trigger == "vako"
    for text, places in zip(bound.texts, bound.places, strict=True):
        assert text.startswith(written)
        assert " ".join(text[start:end] for start, end in places[0].subject) == name.words


def test_a_name_that_is_a_trigger_leaves_no_brackets_behind():
    facts = {"m": LoraFacts("m", triggers=("makima \\(chainsaw man\\), ringed eyes",)), "tuxcat": LORAS["tuxcat"]}
    prompt = "1girl, makima \\(chainsaw man\\), ringed eyes, a vako cat <lora:m:1:bind=1girl> <lora:tuxcat:1>"
    bound = bind(prompt, facts)
    assert bound.base.strip() == "1girl, a cat"
    assert bound.branches[0].strip() == "1girl, makima \\(chainsaw man\\), ringed eyes, a cat"


@pytest.mark.parametrize("written", ["frieren \\(sousou no frieren\\)", "(frieren (sousou no frieren):1.2)", "frieren"])
def test_a_class_word_can_stand_for_a_name_in_the_other_branches(monkeypatch: pytest.MonkeyPatch, written: str):
    monkeypatch.setattr(subjects, "NAMES_ELSEWHERE", "class")
    trigger = written.strip("(").removesuffix(":1.2)")
    facts = LORAS | {"f": LoraFacts("f", triggers=(trigger,), words=("solo", "1girl"))}
    bound = bind(f"{written} reading, a vako cat <lora:f:1> <lora:tuxcat:1>", facts)
    assert bound.branches[0].startswith(f"{written} reading, a cat")
    for text, places in ((bound.base, bound.places[0]), (bound.branches[1], bound.places[2])):
        ((start, end),) = places[0].subject
        assert text[start:end] == "girl"
        assert "frieren" not in text
        assert "sousou" not in text
        ((start, end),) = places[1].subject
        assert text[start:end] == "cat"
