"""Masks that come as text: what is read, and the sentence for what can not be."""

import base64
import io
import re

import pytest
import torch
from PIL import Image

from clora_ext.errors import BindingError
from clora_ext.hosts.pictures import LONGEST_SIDE, check_masks, read_mask, read_masks
from clora_ext.prompt import LARGEST, Binding, Subject


def sent(picture: Image.Image, kind: str = "PNG") -> str:
    """A picture as base64 of its file."""
    kept = io.BytesIO()
    picture.save(kept, kind)
    return base64.b64encode(kept.getvalue()).decode("ascii")


def pixels(mode: str, *values: object) -> Image.Image:
    """A picture of one line."""
    made = Image.new(mode, (len(values), 1))
    made.putdata(values)
    return made


@pytest.mark.parametrize(
    ("picture", "shares"),
    [
        (pixels("L", 0, 51, 255), [0.0, 0.2, 1.0]),
        (pixels("1", 0, 1), [0.0, 1.0]),
        (pixels("RGB", (0, 0, 0), (255, 255, 255)), [0.0, 1.0]),
        (pixels("RGBA", (255, 255, 255, 0), (255, 255, 255, 255)), [0.0, 1.0]),
    ],
)
def test_white_is_one_and_what_is_transparent_is_nothing(picture: Image.Image, shares: list[float]):
    assert read_mask(sent(picture))[0].tolist() == pytest.approx(shares)
    assert torch.equal(read_mask("data:image/png;base64," + sent(picture)), read_mask(sent(picture)))


def test_a_mask_of_a_finished_picture_is_read_as_it_was_told():
    shares = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    levels = (shares * 255.0).round()
    picture = Image.fromarray(levels.to(torch.uint8).numpy())
    assert torch.equal(read_mask(sent(picture)), levels / 255.0)


def test_other_kinds_of_files_are_read():
    for kind in ("JPEG", "WEBP"):
        assert float(read_mask(sent(Image.new("L", (16, 16), 255), kind)).min()) > 0.98


PNG = base64.b64decode(sent(Image.new("L", (64, 64), 255)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (base64.b64encode(b"no picture").decode(), "is no picture that can be read; save it as PNG"),
        (base64.b64encode(PNG[:60]).decode(), "is no picture that can be read"),
        (sent(Image.new("L", (8, 8), 255), "GIF"), "is no picture that can be read"),
        (sent(Image.new("L", (8, 8))), "black all over; make white"),
        (sent(Image.new("RGBA", (8, 8))), "black all over"),
        (sent(Image.new("L", (LONGEST_SIDE + 1, 1), 255)), f"has {LONGEST_SIDE + 1}x1 pixels; make it smaller"),
        (sent(Image.new("I;16", (8, 8), 9)), "more than 8 bits"),
    ],
)
def test_what_is_no_mask_is_told_with_its_field(text: str, words: str):
    with pytest.raises(BindingError, match=re.escape(words)) as caught:
        check_masks([Binding("a"), Binding("b", mask=text)])
    assert caught.value.field == "bindings[1].mask"
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("text", ["", "words, not base64", "data:image/png;base64,", "A" * (LARGEST * 4 // 3 + 8)])
def test_a_text_that_holds_no_file_or_one_too_large_is_told_in_short(text: str):
    with pytest.raises(BindingError, match="must be a picture in base64 of at most 8 MB") as caught:
        Binding("a", mask=text)
    assert len(caught.value.message) < 300


def test_subjects_hand_their_masks_on_in_order():
    mask = sent(pixels("L", 0, 255))
    subject = Subject("a", 1.0, 1.0, None, "cat", None, 1)
    own = read_masks([subject, Subject("b", 1.0, 1.0, None, "dog", None, 1, mask, "added")])
    assert own.masks[0] is None
    assert own.masks[1] is not None
    assert (own.masks[1].way, own.masks[1].picture.tolist()) == ("added", [[0.0, 1.0]])
