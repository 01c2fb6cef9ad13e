"""Masks that jobs were drawn with come back by the infotext that names them, the latest of them."""

import base64
from collections.abc import Mapping

from clora_ext.hosts.webui.page import kept_masks
from clora_ext.prompt import Binding
from clora_ext.settings.infotext import to_infotext
from clora_ext.settings.knobs import Settings
from clora_ext.settings.request import JobRequest


def binding(lora: str, picture: bytes, **more: str) -> Binding:
    return Binding(lora, mask=base64.b64encode(picture).decode("ascii"), **more)


def words(*bindings: Binding) -> Mapping[str, str]:
    """The infotext of a picture that was drawn with these."""
    return to_infotext(JobRequest(enabled=True, settings=Settings(), bindings=bindings))


def test_an_infotext_brings_back_the_masks_that_it_names():
    cat, dog = binding("a cat, fixed", b"one", mask_way="limited"), binding("dog", b"two")
    kept = kept_masks.KeptMasks()
    kept.keep([cat, dog])
    assert kept.of(words(cat, dog)) == {
        "a cat, fixed": {"mask": cat.mask, "mask_way": "limited"},
        "dog": {"mask": dog.mask, "mask_way": "fixed"},
    }
    assert kept.of(words(Binding("dog", subject="dog"))) == {}


def test_a_mask_that_nobody_knows_is_empty():
    cat = binding("cat", b"one")
    assert kept_masks.KeptMasks().of(words(cat)) == {"cat": {"mask": "", "mask_way": "fixed"}}


def test_the_oldest_give_way(monkeypatch):
    monkeypatch.setattr(kept_masks, "ROOM", 40)
    kept = kept_masks.KeptMasks()
    first, second, third = (binding("cat", bytes([number]) * 12) for number in range(3))
    kept.keep([first])
    kept.keep([second])
    kept.keep([first])
    kept.keep([third])
    known = [bool(kept.of(words(each))["cat"]["mask"]) for each in (first, second, third)]
    assert known == [True, False, True]
