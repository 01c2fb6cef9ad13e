"""What people, programs and accidents write: prompts, objects and texts, sound ones with breaks in them."""

from typing import Any

from hypothesis import strategies as st

from clora_ext.prompt import BINDING_FIELDS, LoraFacts
from clora_ext.settings.knobs import KNOBS
from clora_ext.settings.retired import RETIRED

FACTS = {
    known.name: known
    for known in (
        LoraFacts("tuxcat", triggers=("vako cat",)),
        LoraFacts("browndog", aliases=("rex",), words=("dog", "grass")),
        LoraFacts("miku", triggers=("hatsune miku",)),
        LoraFacts("ink", labels=("style",)),
        LoraFacts("hat", labels=("clothing",), triggers=("red hat",)),
        LoraFacts("bare"),
        LoraFacts("two", triggers=("vako cat", "pleko dog", "ink style"), parts=("vako cat", "pleko dog", "ink style")),
    )
}
"""The LoRAs that there are."""

PIECES = (
    *(
        "a vako cat",
        "pleko dog",
        "hatsune miku",
        "1girl",
        "red hat",
        "man",
        "in the grass",
        "wearing a suit",
        "cat's eyes",
    ),
    *(
        " ",
        ", ",
        " and ",
        "\n",
        "\t",
        ".",
        "_",
        "-",
        "'s",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "|",
        ":",
        ":1.2)",
        ":0.5]",
        "\\(",
    ),
    *(
        "BREAK",
        " AND ",
        "# ",
        "<lora:tuxcat:1>",
        "<lora:browndog:0.5:0.8>",
        "<lora:ink:1:role=style>",
        "<lora:hat:1:on=cat>",
    ),
    *(
        "<lora:bare:1:bind=cat>",
        "<lora:",
        "<lora::1>",
        "<lora:bare:x>",
        "<lora:bare:1e999>",
        "<lyco:rex:1:dyn=0>",
        ">",
        "=",
    ),
    *("<hypernet:x:1>", "<lora:../../x:1>", "<img src=x onerror=a>", "__wild__", "{a|b}", "(cat:1e9)", "((((", "]]]]"),
    *("\u202e", "\u00df", "\u0130", "\U0001f431", "\u4e00\u53ea\u732b", "\x00", "\ud83d", "\u00a0", "'", '"', "9" * 30),
)
ANY_TEXT = st.text(st.characters(), max_size=40)
PROMPTS = st.lists(st.one_of(st.sampled_from(PIECES), ANY_TEXT), max_size=25).map("".join)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    ANY_TEXT,
    st.sampled_from(PIECES),
    st.just(10**400),
    st.just("x" * 5000),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=3), max_leaves=8
)
WORDS = st.sampled_from(
    ("cat", "dog", "vako cat", "miku", "hat", "", " ", "a", "tuxcat", "style", "style_on", "subject")
)
BINDING = st.dictionaries(
    st.sampled_from(BINDING_FIELDS) | ANY_TEXT,
    st.sampled_from(sorted(FACTS)) | WORDS | st.floats() | VALUES,
    max_size=6,
)
BINDINGS = st.lists(BINDING | VALUES, max_size=4) | VALUES
BINDING_LINES = st.lists(
    st.one_of(
        st.sampled_from(
            (
                "tuxcat: cat",
                "browndog: dog #2, trigger=x",
                "ink: style",
                "hat: style on cat",
                "two: dog\n",
                "two: vako cat\n",
                "\n",
                ":",
                "#",
                '"',
                "=",
            )
        ),
        st.sampled_from(("weight=", "1e999", "occurrence=", "9" * 5000, "[", '{"lora"', ", ", "\\", "\r")),
        ANY_TEXT,
    ),
    max_size=12,
).map("".join)


def _knob_value(knob: Any) -> st.SearchStrategy[Any]:
    """Values that the knob takes, at its ends and beside them, and any others."""
    ends = [value for value in (knob.schema().get("minimum"), knob.schema().get("maximum")) if value is not None]
    near = [end + step for end in ends for step in (-1, 0, 1)]
    words = knob.schema().get("enum", [])
    return st.sampled_from([knob.default, *near, *words]) | VALUES


KNOB_VALUES = {knob.name: _knob_value(knob) for knob in KNOBS}
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.booleans() | VALUES,
        "show_masks": st.booleans() | VALUES,
        "profile": st.sampled_from(("balanced", "fast", "authors", "paper")) | VALUES,
        "method": st.sampled_from(("clora", "masks", "merge")) | VALUES,
        "bindings": BINDINGS | BINDING_LINES,
        **KNOB_VALUES,
        **dict.fromkeys(RETIRED, VALUES),
    },
)
ANY_OBJECT = st.dictionaries(ANY_TEXT, VALUES, max_size=4)
SETTINGS_TEXT = st.lists(
    st.one_of(
        st.sampled_from([f"{knob.name} = " for knob in KNOBS]),
        st.sampled_from(("\n", ",", "=", "1", "true", "0, 10")),
        ANY_TEXT,
    ),
    max_size=12,
).map("".join)
