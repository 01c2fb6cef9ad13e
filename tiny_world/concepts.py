"""The personal concepts (one character or object each) and the style, which the base model never sees."""

from __future__ import annotations

from dataclasses import dataclass

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """Colours and marks of one thing; None leaves a mark out.

    body: main colour (fur, petals, ball, wall). accent: second colour (bib, muzzle and paws of an animal; lower petals
    of a flower; roof of a house). stripes, spots, collar, hat: marks of an animal. star: star on a ball. door: door of
    a house. tower: whether a house has a tower.
    """

    body: Rgb
    accent: Rgb | None = None
    stripes: Rgb | None = None
    spots: Rgb | None = None
    collar: Rgb | None = None
    hat: Rgb | None = None
    star: Rgb | None = None
    door: Rgb | None = None
    tower: bool = False


@dataclass(frozen=True)
class Concept:
    """A personal concept: its class, the nonsense word that triggers its LoRA, a description and how it looks."""

    name: str
    kind: str
    trigger: str
    description: str
    look: Look


@dataclass(frozen=True)
class Style:
    """A style of whole pictures: its name, the nonsense word that triggers its LoRA and a description."""

    name: str
    trigger: str
    description: str


CONCEPTS: dict[str, Concept] = {
    concept.name: concept
    for concept in (
        Concept(
            "tuxcat",
            "cat",
            "vako",
            "a black cat with a white bib, muzzle and paws",
            Look(body=(44, 42, 52), accent=(250, 250, 250)),
        ),
        Concept(
            "tigercat",
            "cat",
            "zumi",
            "an orange cat with broad dark stripes and a white bib and muzzle",
            Look(body=(245, 150, 50), accent=(255, 246, 230), stripes=(78, 36, 18)),
        ),
        Concept(
            "browndog",
            "dog",
            "pleko",
            "a brown dog with a cream bib and muzzle and a broad red collar",
            Look(body=(134, 84, 48), accent=(246, 222, 184), collar=(225, 30, 40)),
        ),
        Concept(
            "spotdog",
            "dog",
            "tirb",
            "a white dog with black ears and black spots",
            Look(body=(248, 248, 244), spots=(40, 38, 44)),
        ),
        Concept(
            "hatbunny",
            "bunny",
            "drovi",
            "a beige bunny with a tall red hat",
            Look(body=(226, 202, 168), hat=(222, 28, 40)),
        ),
        Concept(
            "duoflower",
            "flower",
            "skemu",
            "a flower with violet upper petals and yellow lower petals",
            Look(body=(140, 60, 190), accent=(255, 214, 50)),
        ),
        Concept(
            "starball",
            "ball",
            "gluva",
            "a dark blue ball with a big yellow star",
            Look(body=(38, 62, 160), star=(255, 220, 50)),
        ),
        Concept(
            "towerhouse",
            "house",
            "narbo",
            "a cream house with a tower, blue roofs and a yellow door",
            Look(body=(246, 230, 196), accent=(46, 92, 200), door=(250, 205, 40), tower=True),
        ),
    )
}

STYLES: dict[str, Style] = {
    style.name: style
    for style in (Style("lineart", "frizu", "an ink drawing: broad dark lines and three tones on cream paper"),)
}

TRIGGERS: frozenset[str] = frozenset(
    [concept.trigger for concept in CONCEPTS.values()] + [style.trigger for style in STYLES.values()]
)
"""Every trigger word of the first world; captions for a base model never contain one."""

XL_CONCEPTS: dict[str, Concept] = {
    **CONCEPTS,
    **{
        concept.name: concept
        for concept in (
            Concept(
                "collarbunny",
                "bunny",
                "quomi",
                "a black bunny with a white bib and muzzle and a broad yellow collar",
                Look(body=(44, 42, 52), accent=(250, 250, 250), collar=(250, 210, 50)),
            ),
            Concept(
                "cometball",
                "ball",
                "snorta",
                "a red ball with a big white star",
                Look(body=(212, 40, 48), star=(250, 250, 250)),
            ),
        )
    },
}
"""The concepts of the world of SDXL's topology: those of the first, and a second of two classes."""

XL_STYLES: dict[str, Style] = {
    **STYLES,
    "blueink": Style("blueink", "plivu", "a drawing in blue ink: broad dark lines and three tones on white paper"),
}
XL_TRIGGERS: frozenset[str] = TRIGGERS | {
    *(concept.trigger for concept in XL_CONCEPTS.values()),
    *(style.trigger for style in XL_STYLES.values()),
}
