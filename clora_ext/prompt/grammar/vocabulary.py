"""English words that decide where a noun phrase ends, and which of its words can be a subject.

A short list of words, not a parser. Where it can not tell, the binding asks the user.
"""

import re
from typing import Literal


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONJUNCTIONS = _words("and or but plus nor then versus vs")

DETERMINERS = _words(
    "a an the this that these those my your his her its our their another each every some any no both all "
    "one two three four five six seven eight nine ten several many few other"
)

STOPS = _words(
    # prepositions
    "in on at with without within next near nearby beside besides by under underneath over above below behind before "
    "beneath between among amid around across along alongside against inside outside into onto upon from to toward "
    "towards through during for like as off out up down beyond opposite past about per via atop after "
    # relative words, pronouns, copulas and auxiliaries
    "who whom which whose where while when is are was were be been being am has have had does do did "
    "can will would should could may might it he she they him them himself herself itself there here "
    # verbs people use for a scene
    "sits sit sat stands stand stood lies lie lay sleeps slept runs ran plays walks jumps wears wear wore holds hold "
    "held looks looked rides rode carries carried eats ate chases chased watches watched hugs hugged faces facing "
    "dressed seated surrounded perched covered curled made set seen shown posed "
    "full taken drawn slain worn torn broken lit built caught hidden "
    "bites kisses fights carry claps smiles laughs cries jump run kiss hug hugs "
    "throws gives takes pulls pushes kicks catches licks barks growls sniffs meows purrs feeds cuddles lifts "
    "teaches helps saves rescues attacks defends punches slaps shakes dances sings reads cooks drives swims "
    "waits meets greets follows protects steals brings sells buys breaks opens closes pours serves listens "
    "tells asks climbs hides talks speaks whispers shouts yells screams grins nods kneels leans stares gazes "
    "glares peeks"
)
"""Words that end a noun phrase; “of” is decided by the word before it."""

FRAMING = _words(
    "photo photos photograph photography picture image portrait painting drawing illustration sketch rendering render "
    "shot closeup close-up snapshot selfie artwork art view scene pair group couple piece slice kind type sort bunch "
    "lot selection depiction rendition watercolor cartoon poster print still-life macro panorama polaroid"
)
"""Nouns that only frame a subject: “a photo of a cat” is a cat."""

QUALITY = _words(
    "masterpiece quality best high highres absurdres highest resolution detailed detail details ultra hd uhd hdr 4k 8k "
    "16k cinematic lighting realistic photorealistic raw style styled aesthetic solo award-winning trending artstation "
    "professional sharp focus bokeh depth field color colors colour colours background simple worst low dslr "
    "score source rating safe sfw newest very really extremely anime"
)

ADJECTIVES = _words(
    "red orange yellow green blue purple pink brown black white grey gray golden silver blonde blond dark light bright "
    "colorful colourful big small large little tiny huge giant tall short long old young new cute fluffy furry happy "
    "sad angry beautiful pretty handsome adorable lovely striped spotted fat thin slim round soft sunny rainy snowy "
    "wooden left right same different single alone together outdoors indoors"
)

ING_NOUNS = _words(
    "ring king wing string spring morning evening ceiling building painting wedding clothing thing duckling viking "
    "earring pudding drawing swing sibling lightning sling being gosling darling dumpling starling sterling inkling "
    "nothing something everything anything stocking flooring lettering fling bling ping"
)

GENERIC_NAMES = _words(
    "lora loras locon lycoris loha lokr dora lyco safetensors ckpt model models final version test epoch step steps "
    "rank concept character char style train trained training dreambooth the and for with from"
)
"""Parts of file names that name nothing in a picture."""

ED_LY_NOUNS = _words(
    "bed seed steed weed reed sled shed shred speed breed moped biped quadruped thoroughbred hundred ned "
    "ted fred jared ahmed lily lilly family butterfly dragonfly firefly fly jelly belly ally bully doily "
    "emily molly holly kelly billy sally polly willy carly shelly dolly"
)

_AGE = re.compile(r"\d+(?:yo|y/o|yrs?)")
_COUNT = re.compile(r"\d+\+?(?:girl|boy|other)s?")
_PARTICIPLE = re.compile(r"[^\W\d_]{2,}(?:ing|ed|ly)")

WordKind = Literal["of", "stop", "determiner", "participle", "content", "number"]
"""What a word does in a phrase."""


def is_count(word: str) -> bool:
    """Whether ``word`` is a tag such as 1girl, which counts people and is a noun."""
    return _COUNT.fullmatch(word.casefold()) is not None


def is_adjective(word: str) -> bool:
    """Whether ``word`` only describes the noun that follows."""
    return word.casefold() in ADJECTIVES


def is_participle(word: str) -> bool:
    """Whether ``word`` ends in -ing, -ed or -ly: it describes the noun after it, or ends the phrase after its noun."""
    low = word.casefold()
    if low in ING_NOUNS or low in ED_LY_NOUNS or low in FRAMING or low in QUALITY or low in ADJECTIVES:
        return False
    return _PARTICIPLE.fullmatch(low) is not None


def classify(word: str) -> WordKind:
    """What ``word`` does in a phrase."""
    low = word.casefold()
    if low == "of":
        return "of"
    if low in CONJUNCTIONS or low in STOPS:
        return "stop"
    if low in DETERMINERS:
        return "determiner"
    if is_participle(low):
        return "participle"
    has_letter = any(letter.isalpha() for letter in word)
    return "content" if has_letter and not _AGE.fullmatch(low) else "number"


def is_function(word: str) -> bool:
    """Whether ``word`` only joins others, or has no letter in it."""
    return classify(word) not in ("content", "participle")


def can_be_subject(word: str) -> bool:
    """Whether ``word`` may be bound without anybody saying so: no adjective, no word about quality or framing."""
    low = word.casefold()
    if low in QUALITY or low in FRAMING or low in ADJECTIVES:
        return False
    return classify(word) == "content"
