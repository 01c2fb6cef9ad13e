"""The jobs: every profile and method, one to four LoRAs, batches, styles, weights, knobs, and what is refused."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

ONE = "a vako cat in the grass <lora:tuxcat:1>"
TWO = "a vako cat and a pleko dog in the grass <lora:tuxcat:1> <lora:browndog:1>"
THREE = "a vako cat, a pleko dog and a drovi bunny in the snow <lora:tuxcat:1> <lora:browndog:0.9> <lora:hatbunny:1.1>"
FOUR = (
    "a vako cat <lora:tuxcat:1>, a pleko dog <lora:browndog:1>, a drovi bunny <lora:hatbunny:1> and a gluva ball "
    "<lora:starball:1> on the beach"
)
TWINS = "a cat and a cat on the beach <lora:tuxcat:1:bind=cat:occurrence=1> <lora:tigercat:1:bind=cat:occurrence=2>"
LONG = "blurry, " * 40
"""Two chunks of tokens, where each branch's text is one."""
KINDS = {"one": ONE, "two": TWO, "three": THREE, "four": FOUR, "twins": TWINS}


@dataclass(frozen=True, slots=True)
class Job:
    """A job for either host; ``host`` are entries of WebUI's payload, which make it a job for WebUI alone."""

    name: str
    prompt: str = TWO
    fields: Mapping[str, Any] = field(default_factory=dict)
    negative: str = ""
    seeds: tuple[int, ...] = (1,)
    steps: int = 8
    cfg_scale: float = 4.0
    width: int = 128
    height: int = 128
    host: Mapping[str, Any] = field(default_factory=dict)


def jobs() -> tuple[Job, ...]:
    """All jobs; names are unique."""
    found = (*_methods(), *_bindings(), *_knobs(), *_pictures(), *_refused(), *_in_webui())
    assert len({job.name for job in found}) == len(found)
    return found


def _methods() -> Iterator[Job]:
    for kind, prompt in KINDS.items():
        for profile in ("balanced", "fast", "authors"):
            yield Job(f"{profile} {kind}", prompt, {"profile": profile})
        for method in ("masks", "merge", "composite", "switch"):
            yield Job(f"{method} {kind}", prompt, {"method": method})
    yield Job("paper two", TWO, {"profile": "paper", "rounds": 2})
    yield Job("paper three", THREE, {"profile": "paper", "rounds": 1}, steps=4)


def _bindings() -> Iterator[Job]:
    style, on_one = [{"lora": "lineart", "role": "style"}], [{"lora": "lineart", "role": "style_on", "on": "dog"}]
    for profile in ("balanced", "fast", "authors"):
        yield Job(f"{profile} style", fields={"profile": profile, "bindings": style})
        yield Job(f"{profile} style on", fields={"profile": profile, "bindings": on_one})
    for method in ("merge", "composite", "switch", "masks"):
        yield Job(f"{method} style", fields={"method": method, "bindings": style})
    bare = "a cat and a dog in the grass"
    said = [
        {"lora": "tuxcat", "subject": "cat", "trigger": "vako", "weight": 0.8},
        {"lora": "browndog", "subject": "dog", "trigger": "pleko", "weight": 1.2},
    ]
    yield Job("bindings alone", bare, {"bindings": said})
    yield Job("bindings as text", bare, {"bindings": "tuxcat: cat, trigger=vako\nbrowndog: dog, trigger=pleko"})
    yield Job("one bound", bare, {"bindings": said[:1]})
    yield Job("weights apart", "a vako cat and a pleko dog <lora:tuxcat:0.4:1.2> <lora:browndog:te=0.7:unet=0.9>")
    yield Job("weight zero", "a vako cat and a pleko dog <lora:tuxcat:0> <lora:browndog:0>")
    yield Job("disabled", fields={"enabled": False})


def _knobs() -> Iterator[Job]:
    sets: tuple[dict[str, Any], ...] = (
        {"uncond": "branches"}, {"uncond": "shared"}, {"route": False}, {"overlap": "soft"}, {"overlap": "average"},
        {"emphasis": 1.0}, {"emphasis": 3.5}, {"maps_from": "both"}, {"word_maps": "each"}, {"mask_tokens": "both"},
        {"lock_at": 0.0, "lock_steady": 0.0}, {"lock_at": 10.0}, {"morphology": "open, dilate"}, {"presence": 1.0},
        {"rounds_at": "0", "rounds": 2}, {"step_clip": 0.0, "step_size": 3}, {"temperature": 0.1},
        {"count_by": "step", "update_until": 3, "lock_at": 5}, {"count_by": "step50"}, {"text_encoder": False},
        {"memory": 0.001}, {"memory": 0.0}, {"map_level": "quarter"}, {"step_decay": "constant"}, {"step_size": 0.0},
        {"compose_by": "row", "uncond": "branches"}, {"compose_by": "row", "maps_from": "both"},
        {"mask_threshold": 0.6}, {"beside_style": 1.0}, {"method": "switch", "switch_every": 2},
    )  # fmt: skip
    for values in sets:
        yield Job(f"knobs {values}", fields=values)


def _pictures() -> Iterator[Job]:
    for profile in ("balanced", "fast", "authors"):
        yield Job(f"{profile} batch", fields={"profile": profile}, seeds=(1, 2, 3))
    yield Job("batch of four kinds", FOUR, seeds=(4, 5))
    yield Job("negative", negative="blurry, dark")
    yield Job("long negative", negative=LONG)
    yield Job("long negative fast", negative=LONG, fields={"profile": "fast"})
    yield Job("long prompt", TWO + ", very detailed, sharp focus" * 16)
    yield Job("wide", width=192, height=128)
    yield Job("tall", width=96, height=160, fields={"profile": "fast"})
    yield Job("cfg 1", cfg_scale=1.0)
    yield Job("cfg 9", cfg_scale=9.0)
    yield Job("three steps", steps=3)
    yield Job("twenty steps", steps=20)


def _refused() -> Iterator[Job]:
    yield Job("refused: no such lora", "a vako cat and a dog <lora:tuxcat:1> <lora:nobody:1>")
    yield Job("refused: which", "a house and a tree <lora:tuxcat:1> <lora:browndog:1>")
    yield Job("refused: same word", "a cat <lora:tuxcat:1:bind=cat> <lora:tigercat:1:bind=cat>")
    yield Job("refused: AND", "a vako cat AND a pleko dog <lora:tuxcat:1> <lora:browndog:1>")
    yield Job("refused: tag", "a vako cat and a pleko dog <lora:tuxcat:much> <lora:browndog:1>")
    for values in (
        {"profile": "default"}, {"method": "lora"}, {"temperature": 0}, {"overlap": "sum"}, {"step_sise": 3},
        {"bindings": [{"subject": "cat"}]}, {"bindings": "tuxcat cat"}, {"rounds_at": "0, ten"}, {"enabled": "yes"},
        {"bindings": [{"lora": "tuxcat", "subject": "horse"}]}, {"morphology": "melt"}, {"refresh": "maybe"},
    ):  # fmt: skip
        yield Job(f"refused: {values}", fields=values)


def _in_webui() -> Iterator[Job]:
    for sampler in ("Euler", "Euler a", "DPM++ 2M", "DDIM"):
        for profile in ("balanced", "fast", "authors"):
            yield Job(f"{sampler} {profile}", fields={"profile": profile}, host={"sampler_name": sampler})
    for name, host in {
        "batch count": {"n_iter": 2},
        "rows apart": {"override_settings": {"batch_cond_uncond": False}},
        "padded": {"override_settings": {"pad_cond_uncond": True}},
        "early cond skipped": {"override_settings": {"skip_early_cond": 0.3}},
        "masks shown": {},
        "heun": {"sampler_name": "Heun"},
        "hires": {"enable_hr": True, "denoising_strength": 0.5, "hr_scale": 1.5},
    }.items():
        yield Job(f"webui {name}", fields={"show_masks": name == "masks shown"}, host={"sampler_name": "Euler", **host})
    edited = "a vako cat and a pleko dog in the [grass:snow:0.5] <lora:tuxcat:1> <lora:browndog:1>"
    yield Job("webui edited", edited, host={"sampler_name": "DPM++ 2M"})
    yield Job(
        "webui emphasis",
        "a (vako cat:1.2) and a pleko dog BREAK grass <lora:tuxcat:1> <lora:browndog:1>",
        host={"n_iter": 1},
    )
    yield Job("webui long negative", negative=LONG, host={"override_settings": {"batch_cond_uncond": False}})
    yield Job("webui style by setting", host={"override_settings": {"sd_lora": "lineart"}})
