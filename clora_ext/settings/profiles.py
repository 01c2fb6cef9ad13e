"""Methods and profiles: named sets of values, and the one way to make checked ``Settings``."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from clora_ext.errors import SettingsError, shown
from clora_ext.settings.knobs import KNOB, KNOBS, Method, Settings, find_knob

METHODS: Mapping[str, str] = {
    "clora": "masks, and subjects are pushed apart: best separation, slower",
    "masks": "each LoRA inside its own mask: faster",
    "merge": "WebUI's own picture, to compare: all LoRAs everywhere",
    "composite": "the mean of what each LoRA alone would draw",
    "switch": "one LoRA at a time, in turn",
}

BALANCED = Settings()
FAST = replace(BALANCED, profile="fast", compose_by="row")
AUTHORS = replace(
    BALANCED,
    profile="authors",
    count_by="step",
    update_until=30.0,
    step_size=20.0,
    step_decay="constant",
    step_clip=0.0,
    uncond="branches",
    emphasis=1.0,
    beside_style=1.0,
    overlap="average",
    maps_from="both",
    map_level="quarter",
    word_maps="each",
    mask_threshold=0.3,
    mask_tokens="both",
    lock_at=0.0,
    lock_steady=0.0,
    route=False,
    memory=0.0,
)
"""What the authors' released code does."""
PAPER = replace(
    AUTHORS,
    profile="paper",
    count_by="step50",
    update_until=25.0,
    rounds_at=(0.0, 10.0, 20.0),
    maps_from="cond",
    uncond="shared",
)
"""What the paper describes (arXiv 2403.19776)."""

PROFILES: Mapping[str, Settings] = {made.profile: made for made in (FAST, BALANCED, AUTHORS, PAPER)}
DEFAULT = FAST.profile
"""The profile of a job that names none: docs/quality.md says why."""


def build_settings(profile: str = DEFAULT, method: str = "clora", **values: Any) -> Settings:
    """The profile's settings with the method and the given knobs. Raises ``SettingsError`` naming field and choices."""
    check_profile(profile)
    _check_choice("method", method, METHODS)
    parsed = {name: find_knob(name).parse(value) for name, value in values.items()}
    return replace(PROFILES[profile], method=cast(Method, method), **parsed)


def check_profile(profile: object) -> None:
    """Raise ``SettingsError`` for what is no profile."""
    _check_choice("profile", profile, PROFILES)


def _check_choice(name: str, value: object, known: Mapping[str, object]) -> None:
    if not isinstance(value, str) or value not in known:
        msg = f"“{name}” is {shown(value)}; it must be one of {', '.join(known)}."
        raise SettingsError(msg, field=name)


def profile_value(profile: str, name: str) -> Any:
    """What ``profile`` says of the knob ``name``, as JSON has it."""
    return KNOB[name].kind.plain(getattr(PROFILES[profile], name))


def changed_values(settings: Settings) -> dict[str, Any]:
    """The knobs that differ from the profile, by name: what has to be written down to make the image again."""
    base = PROFILES[settings.profile]
    values = {name: getattr(settings, name) for name in KNOB}
    return {name: value for name, value in values.items() if value != getattr(base, name)}


def plain_changes(settings: Settings) -> dict[str, Any]:
    """The same as JSON has them."""
    return {name: KNOB[name].kind.plain(value) for name, value in changed_values(settings).items()}


def settings_schema() -> dict[str, Any]:
    """JSON schema of profile, method and every knob, by name."""
    properties: dict[str, Any] = {
        "profile": {"type": "string", "enum": list(PROFILES), "default": DEFAULT},
        "method": {"type": "string", "enum": list(METHODS), "default": "clora"},
    }
    return properties | {
        known.name: known.schema() | {"default": profile_value(DEFAULT, known.name)} for known in KNOBS
    }
