"""Prompts as people write them, with the binding that each must give, or the words that its error must have."""

from dataclasses import dataclass

from clora_ext.prompt import LoraFacts

FACTS = {
    facts.name: facts
    for facts in (
        LoraFacts("tuxcat"),
        LoraFacts("tabby_cat"),
        LoraFacts("browndog", aliases=("rex",)),
        LoraFacts("my_bunny_v2"),
        LoraFacts("RedHatBunny"),
        LoraFacts("rex cat", aliases=("0123456789ab", "big dog")),
        LoraFacts("aaa"),
        LoraFacts("bbb"),
        LoraFacts("lineart"),
        LoraFacts("zorv", triggers=("zorv",)),
        LoraFacts("zc", triggers=("zorv cat",)),
        LoraFacts("qd", triggers=("qix",)),
        LoraFacts("cat_sks", triggers=("sks",)),
        LoraFacts("dog_sks", triggers=("sks",)),
        LoraFacts("vela", triggers=("vela, 1girl, silver hair",)),
        LoraFacts("miku", triggers=("hatsune miku",)),
        LoraFacts("x7", words=("cat", "maine coon")),
        LoraFacts("m0k", triggers=("mokk, black cat, white paws",)),
        LoraFacts("pet3", triggers=("pelu",), words=("girl",)),
    )
}


@dataclass(frozen=True, slots=True)
class Case:
    """``subjects``: LoRA and “trigger + words #occurrence”; ``styles``: LoRA and the subject it is on, or ``None``."""

    prompt: str
    subjects: tuple[tuple[str, str], ...] = ()
    styles: tuple[tuple[str, str | None], ...] = ()
    error: tuple[str, ...] = ()
    bindings: str = ""
    base: str | None = None
    branches: tuple[str, ...] | None = None


CAT_DOG = (("tuxcat", "cat"), ("browndog", "dog"))
PLACED = (("aaa", "cat"), ("bbb", "dog"))

CASES = (
    # tags right before their subjects: the phrase after the tag
    Case("a <lora:tuxcat:1> cat and a <lora:browndog:1> dog", CAT_DOG, base="a  cat and a  dog"),
    Case("<lora:aaa:1> fluffy cat in the grass and <lora:bbb:0.8> a big brown dog", PLACED),
    Case("<lora:aaa:1>cat, <lora:bbb:1>dog", PLACED),
    Case("photo of <lora:aaa:1> a cat and <lora:bbb:1> a dog on the beach, best quality", PLACED),
    Case("<lora:aaa:1> a photo of a cat and <lora:bbb:1> a dog", PLACED),
    Case("a <lora:aaa:1> cat BREAK a <lora:bbb:1> dog BREAK in a garden", PLACED),
    Case("a (<lora:aaa:1> fluffy cat:1.2) next to ((<lora:bbb:1> dog))", PLACED),
    Case("a <lora:aaa:1> cat\n<lora:bbb:1> dog", PLACED),
    Case("<lyco:aaa:1> cat, <lora:bbb:0.5:0.7:8> dog", PLACED),
    Case("<lora:aaa:te=0.3:unet=0.9> cat and <lora:bbb:1> sleeping dog", PLACED),
    Case("<lora:aaa:1> fluffy_cat, <lora:bbb:1> brown_dog", PLACED),
    Case("<lora:aaa:1> cat wearing a red hat, <lora:bbb:1> dog with a ball", PLACED),
    Case("<lora:aaa:1> [cat] and <lora:bbb:1> [[dog]]", PLACED),
    Case("a <lora:aaa:1> cat's toy", (("aaa", "toy"),)),
    Case("(a_<lora:aaa:1>cat's_toy:1.2)", (("aaa", "toy"),)),
    Case("a <lora:tuxcat:1> dog and a cat", (("tuxcat", "dog"),)),  # a tag within the prompt says where
    Case("<lora:aaa:1> bowl of soup", (("aaa", "bowl"),)),
    Case("<lora:aaa:1> mario \\(series\\), <lora:bbb:1> dog", (("aaa", "mario"), ("bbb", "dog"))),
    # tags at the end or in a bunch: by name
    Case("a cat and a dog <lora:tuxcat:1> <lora:browndog:1>", CAT_DOG, base="a cat and a dog  "),
    Case("a cat and a dog, <lora:tuxcat:1>, <lora:browndog:0.8>", CAT_DOG, base="a cat and a dog, , "),
    Case("<lora:tuxcat:1><lora:browndog:1> a dog and a cat", CAT_DOG),
    Case("<lora:tuxcat:1>, <lora:browndog:1>, masterpiece, best quality, a dog, a cat", CAT_DOG),
    Case("a cat <lora:tuxcat:1> and a dog <lora:rex:1>", CAT_DOG),
    Case("a cat <lora:tuxcat:1> sitting happily next to a dog <lora:browndog:1>", CAT_DOG),
    Case("a cat <lora:tuxcat:1> a dog <lora:browndog:1>", CAT_DOG),
    Case("a cat <lora:aaa:1> a dog", error=("aaa", "words to choose from: cat, dog")),
    Case("a bunny in a field <lora:my_bunny_v2:0.7>", (("my_bunny_v2", "bunny"),)),
    Case("a bunny with a red hat <lora:RedHatBunny:1>", error=("RedHatBunny", "bunny", "hat")),
    Case("a brown cat and a dog <lora:tuxcat:1><lora:browndog:1>", CAT_DOG),
    Case("a cat licks a dog <lora:tuxcat:1><lora:browndog:1>", CAT_DOG),
    Case("a maine coon on a chair <lora:x7:1>", (("x7", "maine coon"),)),
    Case("<lora:tuxcat:1> <lora:bbb:1> dog, cat", (("tuxcat", "cat"), ("bbb", "dog"))),
    Case("1girl, cat ears, smile <lora:tuxcat:1>", error=("tuxcat", "cat", "ears")),
    # activation texts, taken out of the other texts
    Case(
        "<lora:zorv:1> a zorv cat and a qix dog <lora:qd:1>",
        (("zorv", "zorv + cat"), ("qd", "qix + dog")),
        base=" a cat and a dog ",
        branches=(" a zorv cat and a dog ", " a cat and a qix dog "),
    ),
    Case("a (zorv cat:1.2) in the grass <lora:zc:1>", (("zc", "zorv + cat"),), base="a (cat:1.2) in the grass "),
    Case(
        "a (zorv:1.3) cat, ((qix)) dog <lora:zorv:1><lora:qd:1>",
        base="a cat, dog ",
        subjects=(("zorv", "zorv + cat"), ("qd", "qix + dog")),
    ),
    Case("a Zorv fluffy cat near a dog <lora:zorv:1>", (("zorv", "Zorv + cat"),), base="a fluffy cat near a dog "),
    Case("zorv_cat, qix_dog <lora:zc:1><lora:qd:1>", (("zc", "zorv + cat"), ("qd", "qix + dog")), base="cat, dog "),
    Case(
        "a sks cat and a sks dog <lora:cat_sks:1><lora:dog_sks:1>",
        (("cat_sks", "sks + cat"), ("dog_sks", "sks + dog")),
        branches=("a sks cat and a dog ", "a cat and a sks dog "),
    ),
    Case("a <lora:zorv:1> zorv cat BREAK a dog", (("zorv", "zorv + cat"),), base="a  cat BREAK a dog"),
    Case("a zorv <lora:zorv:1> cat", (("zorv", "zorv + cat"),), base="a cat"),
    Case("a photo of zorv and a dog <lora:zorv:1>", (("zorv", "zorv"),), base="a photo of zorv and a dog "),
    Case("hatsune miku and a dog <lora:miku:1>", (("miku", "hatsune miku"),), base="hatsune miku and a dog "),
    Case(
        "masterpiece, vela, 1girl, silver hair, garden <lora:vela:1>",
        (("vela", "vela silver hair + 1girl"),),
        base="masterpiece, 1girl, garden ",
    ),
    Case("1girl, pelu, red hair, a dog <lora:pet3:1>", (("pet3", "pelu + 1girl"),), base="1girl, red hair, a dog "),
    Case("mokk, black cat, white paws, on a roof <lora:m0k:1>", error=("m0k", "mokk", "cat", "paws")),
    Case(
        "mokk, black cat, white paws, on a roof <lora:m0k:1:bind=cat>",
        (("m0k", "mokk black white paws + cat"),),
        base="cat, on a roof ",
    ),
    Case("a zorv sleeping cat <lora:zorv:1>", error=("zorv", "cat", "bind=")),
    Case("a zorv cat and a zorv dog <lora:zorv:1>", error=("zorv", "cat", "dog")),
    Case("a [zorv:0.3] cat <lora:zorv:1>", error=("zorv", "schedule")),
    # Danbooru
    Case(
        "masterpiece, best quality, 1girl, <lora:aaa:0.8> 1girl, <lora:bbb:0.8> 1boy, solo",
        (("aaa", "1girl #2"), ("bbb", "1boy")),
    ),
    Case("1girl, cat, dog, outdoors, <lora:tuxcat:1>, <lora:browndog:1>", CAT_DOG),
    # explicit
    Case("a cat and a dog <lora:aaa:1:bind=cat> <lora:bbb:1:bind=dog>", PLACED),
    Case("<lora:aaa:1:bind=fluffy cat><lora:bbb:1> a fluffy cat and a dog", error=("bbb", "cat")),
    Case("<lora:aaa:1:bind=fluffy cat> a fluffy cat and a <lora:bbb:1> dog", (("aaa", "fluffy cat"), ("bbb", "dog"))),
    Case("a fluffy (cat:1.2) <lora:aaa:1:bind=FLUFFY CAT>", (("aaa", "fluffy cat"),)),
    Case("a red_collar <lora:aaa:1:bind=red collar>", (("aaa", "red collar"),)),
    Case(
        "a cat and a dog",
        (("aaa", "sks + cat"), ("bbb", "sks + dog")),
        bindings="aaa: cat, trigger=sks\nbbb: dog, trigger=sks",
        base="a cat and a dog",
        branches=("a sks cat and a dog", "a cat and a sks dog"),
    ),
    Case(
        "a sks cat and a sks dog",
        (("aaa", "sks + cat"), ("bbb", "sks + dog")),
        base="a cat and a dog",
        bindings="aaa: cat, trigger=sks\nbbb: dog, trigger=sks",
    ),
    Case("a (cat:1.1) <lora:aaa:1:bind=cat:trigger=ohwx>", (("aaa", "ohwx + cat"),), branches=("a (ohwx cat:1.1) ",)),
    Case("a zorv cat <lora:zorv:1>", (("zorv", "cat"),), bindings='zorv: cat, trigger=""', base="a zorv cat "),
    Case("a cat and a dog <lora:tuxcat:1>", (("tuxcat", "dog"),), bindings="tuxcat: dog"),
    Case("a dog and a <lora:aaa:1:bind=cat> cat", (("aaa", "dog"),), bindings="aaa: dog"),
    Case("a cat <lora:aaa:1:bind=bird>", error=("aaa", "bird", "words to choose from: cat")),
    Case("a [cat:dog:0.5] <lora:aaa:1:bind=cat>", error=("aaa", "cat", "schedule")),
    # the same class twice
    Case("a cat and a cat <lora:tuxcat:1><lora:tabby_cat:1>", (("tuxcat", "cat #1"), ("tabby_cat", "cat #2"))),
    Case("<lora:tuxcat:1><lora:tabby_cat:1> a cat and a cat", (("tuxcat", "cat #1"), ("tabby_cat", "cat #2"))),
    Case("a <lora:aaa:1> cat and a <lora:bbb:1> cat", (("aaa", "cat #1"), ("bbb", "cat #2"))),
    Case("a cat and a <lora:aaa:1:bind=cat> cat", (("aaa", "cat #2"),)),
    Case("a cat and a <lora:aaa:1> cat, <lora:tuxcat:1>", (("aaa", "cat #2"), ("tuxcat", "cat #1"))),
    Case("a cat and a cat <lora:tuxcat:1:occurrence=2>", (("tuxcat", "cat #2"),)),
    Case("a cat and a cat", (("aaa", "cat #2"), ("bbb", "cat #1")), bindings="aaa: cat #2\nbbb: cat"),
    Case("a cat and a cat <lora:tuxcat:1>", error=("tuxcat", "2 places", "occurrence=")),
    Case("a cat <lora:tuxcat:1:bind=cat:occurrence=2>", error=("tuxcat", "once", "occurrence 2")),
    Case("<lora:tuxcat:1><lora:tabby_cat:1> a cat and a dog", error=("tuxcat", "tabby_cat", "cat", "occurrence=")),
    Case("a cat <lora:aaa:1:bind=cat> <lora:bbb:1:bind=cat>", error=("aaa", "bbb", "same “cat”")),
    Case(
        "a cat, a cat and a cat <lora:tuxcat:1:occurrence=2><lora:tabby_cat:1>",
        error=("tabby_cat", "2 places", "occurrence=1 or occurrence=3"),
    ),
    Case(
        "a cat and a cat <lora:tuxcat:1><lora:tabby_cat:1><lora:x7:1>",
        error=("tuxcat", "tabby_cat", "x7", "same “cat”"),
    ),
    Case("a cat, a cat, a [cat|dog] <lora:tuxcat:1>", error=("tuxcat", "occurrence=1 or occurrence=2.")),
    Case("cat and dog <lora:rex cat:1:occurrence=1>", error=("rex cat", "“cat” or the “dog”")),
    # several LoRAs on one subject, and styles
    Case("<lora:lineart:0.7:role=style> a <lora:aaa:1> cat", (("aaa", "cat"),), (("lineart", None),)),
    Case("a <lora:aaa:1><lora:lineart:0.5:on=cat> cat and a <lora:bbb:1> dog", PLACED, (("lineart", "cat"),)),
    Case(
        "a cat and a dog <lora:tuxcat:1><lora:browndog:1><lora:lineart:0.5>",
        CAT_DOG,
        (("lineart", "dog"),),
        bindings="lineart: style on browndog",
    ),
    Case(
        "a cat and a cat <lora:tuxcat:1><lora:tabby_cat:1><lora:lineart:1>",
        (("tuxcat", "cat #1"), ("tabby_cat", "cat #2")),
        (("lineart", "cat"),),
        bindings="lineart: style on cat #2",
    ),
    Case(
        "a cat and a cat <lora:tuxcat:1><lora:tabby_cat:1><lora:lineart:1:on=cat>", error=("lineart", "more than one")
    ),
    Case("a cat <lora:tuxcat:1><lora:lineart:1:on=dog>", error=("lineart", "dog", "“cat” (tuxcat)")),
    Case("a cat <lora:tuxcat:1><lora:lineart:1:role=style_on>", error=("lineart", "“on”", "“cat” (tuxcat)")),
    Case("a cat <lora:lineart:1:role=paint>", error=("lineart", "paint", "subject, style, style_on")),
    Case("a cat <lora:lineart:1:role=style:bind=cat>", error=("lineart", "style", "subject")),
    Case("a cat <lora:tuxcat:1:role=subject:on=cat>", error=("tuxcat", "on")),
    # in doubt or wrong
    Case("<lora:aaa:1> <lora:bbb:1> a dog and a cat", error=("aaa", "dog, cat", "bind=")),
    Case("a cat and a dog <lora:aaa:1>", error=("aaa", "words to choose from: cat, dog")),
    Case("<lora:tuxcat:1> a dog and a cat", error=("tuxcat", "“dog” or the “cat”")),
    Case("<lora:aaa:1> masterpiece, best quality, cat", error=("aaa", "words to choose from: cat")),
    Case("<lora:aaa:1> a woman holding a bowl, holds the, <lora:aaa:0.5>", (("aaa", "woman"),)),
    Case("a cat <lora:tuxcat:1>", error=("tuxcat", "bound twice"), bindings="tuxcat: cat\ntuxcat: cat"),
    Case("a dog <lora:rex:1> <lora:browndog:1>", (("browndog", "dog"),)),
    Case("a cat <lora:tuxkat:1>", error=("tuxkat", "tuxcat")),
    Case("a cat", error=("nocat", "There is no LoRA"), bindings="nocat: cat"),
    Case("a <lora:tuxcat:1> cat AND a dog", error=("AND",)),
    Case("<lora:tuxcat:x> a cat", error=("<lora:tuxcat:x>", "te")),
    Case("<lora:tuxcat:1:bnd=cat> a cat", error=("bnd", "bind")),
    Case("<lora:tuxcat:1:occurrence=two> a cat", error=("tuxcat", "occurrence", "whole number")),
    Case("<lora:aaa:1>", error=("aaa", "no word to choose")),
)
