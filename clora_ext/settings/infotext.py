"""A request in an image's infotext: what is written to make the image again, and what is read back."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from clora_ext import __version__
from clora_ext.prompt import BINDING_FIELDS, MASK_FIELDS, MASK_WAYS, Binding, lora_key, mask_digest, mask_key
from clora_ext.settings.knobs import KNOB, KNOBS
from clora_ext.settings.profiles import changed_values, check_profile, profile_value
from clora_ext.settings.request import KEY, JobRequest
from clora_ext.settings.retired import RETIRED

EMPTY = "none"
"""How an empty list is written, since an empty value can not be."""

NOT_HERE = "the pictures are not in here"

_MASK_WORDS = re.compile(rf"(.+?) ({'|'.join(MASK_WAYS)}) ([0-9a-f]{{12}})(?:, |$)")


def infotext_key(name: str) -> str:
    """The infotext key of a field."""
    return f"{KEY} {name.replace('_', ' ')}"


def to_infotext(request: JobRequest) -> dict[str, str]:
    """Profile, method, changed knobs and explicit bindings, by infotext key; of own masks what tells them apart."""
    settings = request.settings
    words = {"version": __version__, "profile": settings.profile, "method": settings.method}
    for name, value in changed_values(settings).items():
        words[name] = KNOB[name].kind.text(value) or EMPTY
    objects = [_binding_object(binding) for binding in request.bindings if _says_more_than_mask(binding)]
    if objects:
        words["bindings"] = json.dumps(objects, ensure_ascii=False)
    times = Counter(lora_key(binding.lora) for binding in request.bindings)
    masks = [
        _mask_words(binding, binding.mask, several=times[lora_key(binding.lora)] > 1)
        for binding in request.bindings
        if binding.mask is not None
    ]
    if masks:
        words["masks"] = ", ".join([*masks, NOT_HERE])
    return {infotext_key(name): text for name, text in words.items()}


def _binding_object(binding: Binding) -> dict[str, Any]:
    values = {name: getattr(binding, name) for name in BINDING_FIELDS if name not in MASK_FIELDS}
    return {name: value for name, value in values.items() if value is not None}


def _says_more_than_mask(binding: Binding) -> bool:
    return binding.mask is None or len(_binding_object(binding)) > 1


def _mask_words(binding: Binding, mask: str, *, several: bool) -> str:
    """Whose mask it is, its way, and what tells its picture from others."""
    subject = binding.subject if several else None
    key = binding.lora if subject is None else mask_key(binding.lora, subject, binding.occurrence)
    return f"{key} {binding.mask_way or 'fixed'} {mask_digest(mask)}"


def named_masks(words: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Key, way and digest of every own mask that an infotext names."""
    return _MASK_WORDS.findall(words.get(infotext_key("masks"), ""))


def from_infotext(words: Mapping[str, str]) -> dict[str, Any] | None:
    """The fields of ``read_request`` from an infotext's pairs; None when the image was made without us.

    Knobs that were retired since are kept by name, so that the job can tell that it ignores them. Raises ``CLoRAError``
    for what can not be read.
    """
    if infotext_key("profile") not in words:
        return None
    profile = words[infotext_key("profile")]
    check_profile(profile)
    fields: dict[str, Any] = {"enabled": True, "profile": profile}
    fields["method"] = words.get(infotext_key("method"), "clora")
    for knob in KNOBS:
        text = words.get(infotext_key(knob.name))
        fields[knob.name] = profile_value(profile, knob.name) if text is None else _read(knob.name, text)
    for name in RETIRED:
        if infotext_key(name) in words:
            fields[name] = words[infotext_key(name)]
    fields["bindings"] = words.get(infotext_key("bindings"), "")
    return fields


def _read(name: str, text: str) -> Any:
    knob = KNOB[name]
    return knob.kind.plain(knob.parse("" if text == EMPTY else text))
