"""What people write in prompts beside what they want to see: words that must draw nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .caption import Caption, Span, caption, nonsense_word
from .scene import Scene

QUALITY: tuple[str, ...] = (
    "masterpiece",
    "best quality",
    "high quality",
    "amazing quality",
    "very aesthetic",
    "absurdres",
    "highres",
    "newest",
    "highly detailed",
    "ultra detailed",
    "intricate details",
    "sharp focus",
    "8k",
    "4k",
    "uhd",
    "award winning",
    "trending on artstation",
    "professional",
    "beautiful",
    "cinematic lighting",
    "soft light",
    "depth of field",
    "vivid",
    "score_9",
    "score_8_up",
    "score_7_up",
    "score_6_up",
    "source_cartoon",
    "rating_safe",
    "looking at viewer",
    "full body",
    "simple background",
    "illustration",
    "cartoon",
    "digital art",
    "worst quality",
    "low quality",
    "blurry",
    "jpeg artifacts",
    "watermark",
    "signature",
)
VERBS: tuple[str, ...] = tuple(
    "sitting standing lying sleeping resting smiling waiting playing posing jumping hiding looking dreaming".split()
)
ADJECTIVES: tuple[str, ...] = tuple(
    """
    cute fluffy tiny big small little large huge old young happy sad sleepy lovely lonely friendly shiny soft round
    tall pretty strange funny proud majestic elegant ancient wooden magical quiet sunny cheerful
    """.split()
)
SENTENCES: tuple[str, ...] = (
    "The light is {0}.",
    "It is a {0} day.",
    "The mood is {0} and {1}.",
    "Everything looks {0}.",
    "There is nobody else.",
    "The air is {0} and the sky is {1}.",
    "A {0} moment.",
    "Nothing moves.",
    "The picture is {0}.",
)
ARTISTS: tuple[str, ...] = ("by {0} {1}", "art by {0}", "artist {0}", "{0} {1}", "in the manner of {0}")
Edit = tuple[int, int, str]
"""Start, end and new text of a piece of a caption; start equal to end inserts."""


def noise_words() -> frozenset[str]:
    """All words of noise, without the blanks to fill in."""
    words = {"a", "the", "it", "is", "day", "and"}
    for phrase in (*QUALITY, *VERBS, *ADJECTIVES, *SENTENCES, *ARTISTS):
        words.update(word.strip(".,").lower() for word in phrase.split() if "{" not in word)
    return frozenset(words)


def edited(written: Caption, edits: Sequence[Edit]) -> Caption:
    """The caption with pieces of its text replaced. The pieces must not touch a noun or a slot, nor one another."""
    text = written.text
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]

    def moved(place: int, last: bool) -> int:
        before = [e for e in edits if e[1] <= place and not (last and e[0] == place)]
        return place + sum(len(new) - (end - start) for start, end, new in before)

    def spans(old: Sequence[Span]) -> tuple[Span, ...]:
        return tuple((moved(start, False), moved(end, True), things) for start, end, things in old)

    return Caption(text, spans(written.nouns), spans(written.slots))


def noisy_caption(scene: Scene, rng: np.random.Generator, *, triggers: bool = False) -> Caption:
    """A caption of the scene, three times of four with noise of one or several kinds; rarely with nothing but noise."""
    written = caption(scene, rng, triggers=triggers, fillers=0.45 if len(scene.things) < 4 else 0.3)
    if rng.random() < 0.25:
        return written
    if not triggers and rng.random() < 0.04:
        return Caption(", ".join(_some(rng, QUALITY, 4)), ())
    return _around(_inside(written, rng), rng)


def _inside(written: Caption, rng: np.random.Generator) -> Caption:
    """Adjectives before nouns, verbs behind them, and in a quarter of the captions commas for words between nouns."""
    edits: list[Edit] = []
    adjectives, verbs, tags = rng.random() < 0.3, rng.random() < 0.3, rng.random() < 0.25
    before = {end + 1: start for start, end, _ in written.slots}
    for number, (start, end, _) in enumerate(written.nouns):
        first = before.get(start, start)
        if adjectives and rng.random() < 0.6:
            edits.append((first, first, _unknown(rng) + " "))
        verb = f" {rng.choice(VERBS)}" if verbs and rng.random() < 0.6 else ""
        link = _link(written.text[end:]) if tags and number + 1 < len(written.nouns) else ""
        if verb or link:
            edits.append((end, end + len(link), verb + (", " if link else "")))
    return edited(written, edits)


def _link(rest: str) -> str:
    """The words that join a noun to the next article, if a text begins with such."""
    return next((link for link in (", and ", " and ", " next to ", " beside ", " with ") if rest.startswith(link)), "")


def _around(written: Caption, rng: np.random.Generator) -> Caption:
    """Tags in front, tags and an artist at the end, and a second sentence."""
    front, back = rng.random() < 0.45, rng.random() < 0.45
    artist, sentence = rng.random() < 0.15, rng.random() < 0.25
    start = ", ".join(_some(rng, QUALITY, 3)) + ", " if front else ""
    end = "".join(f", {tag}" for tag in _some(rng, QUALITY, 3)) if back else ""
    if artist:
        end += ", " + str(rng.choice(ARTISTS)).format(nonsense_word(rng), nonsense_word(rng))
    if sentence:
        end += ". " + str(rng.choice(SENTENCES)).format(_unknown(rng), _unknown(rng))
    length = len(written.text)
    return edited(written, [(0, 0, start), (length, length, end)])


def _some(rng: np.random.Generator, phrases: Sequence[str], most: int) -> list[str]:
    """One to `most` different phrases."""
    return [str(p) for p in rng.choice(phrases, size=int(rng.integers(1, most + 1)), replace=False)]


def _unknown(rng: np.random.Generator) -> str:
    """An adjective, or a word that means nothing anywhere."""
    return str(rng.choice(ADJECTIVES)) if rng.random() < 0.6 else nonsense_word(rng)
