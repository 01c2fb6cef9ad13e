"""The panel's fields as one text: what is as at first is not there, and what is wrong is told."""

import pytest

from clora_ext.errors import CLoRAError, SettingsError
from clora_ext.hosts.webui.page.fields_text import (
    FIELDS,
    MAIN,
    all_fields,
    expand_advanced,
    fields_of_defaults,
    format_fields,
    read_fields,
    request_to_fields,
)
from clora_ext.settings.knobs import KNOB
from clora_ext.settings.profiles import DEFAULT, PROFILES, profile_value

TURNED = {"profile": "authors", "mask_threshold": 0.41, "bindings": "tuxcat: cat", "advanced": "temperature = 0.4"}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_as_it_is_needs_no_more_than_its_name(profile: str):
    text = format_fields(request_to_fields({"profile": profile}))
    assert text == ("" if profile == DEFAULT else f'{{"profile":"{profile}"}}')
    assert {name: all_fields(text)[name] for name in MAIN} == {name: profile_value(profile, name) for name in MAIN}


def test_what_differs_comes_back():
    text = format_fields(all_fields(format_fields(TURNED)))
    assert read_fields(text) == TURNED
    assert all_fields(text).keys() == set(FIELDS)
    assert expand_advanced(read_fields(text))["temperature"] == 0.4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "can not be read: write an object"),
        ("[1]", "can not be read"),
        (3, "can not be read"),
        ('{"masks": ""}', "There is no field “masks”; known are show_masks, profile"),
    ],
)
def test_a_text_that_is_none_is_told(text: object, sentence: str):
    with pytest.raises(SettingsError, match=sentence):
        read_fields(text)


def test_defaults_that_an_older_version_kept_are_taken_over():
    label = KNOB["mask_threshold"].label
    saved = {
        "customscript/clora.py/txt2img/Profile/value": "authors",
        f"customscript/clora.py/txt2img/{label}/value": 0.41,
        "customscript/clora.py/txt2img/Advanced settings/value": "",
        "customscript/clora.py/txt2img/Show masks/value": False,
        "customscript/clora.py/img2img/Profile/value": "best",
        "txt2img/Width/value": 512,
    }
    assert read_fields(fields_of_defaults(saved, "txt2img")) == {"profile": "authors", "mask_threshold": 0.41}
    assert fields_of_defaults({}, "txt2img") == ""
    with pytest.raises(CLoRAError):
        fields_of_defaults(saved, "img2img")
