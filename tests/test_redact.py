"""What a report leaves out: paths of every system, and words of prompts."""

from pathlib import Path

import pytest

from clora_ext.errors import BindingError, LoraError, causes
from clora_ext.redact import cause_lines, without_paths, without_words

ROOTS = {"/home/ann/ui": "webui", "/home/ann": "home", "D:\\webui": "webui"}
PATHS = (
    ("no /home/ann/ui/models/x y.pt there", "no <webui>/<path> there"),
    ("in /home/ann, and", "in <home>, and"),
    ("cannot open '/mnt/my disk/a b/c d' now", "cannot open '<path>' now"),
    ("cannot open /mnt/my disk/a b/c.safetensors: gone", "cannot open <path>: gone"),
    ("at ~/secret/x.pt.", "at <path>."),
    (r"C:\Users\Ann Lee\a b.safetensors is gone", "<path> is gone"),
    (r"‘\\nas\share\Ann Lee\f.pt’ is gone", "‘<path>’ is gone"),
    (r"D:\webui\models\Lora\x.pt is gone", "<webui>/<path> is gone"),
    ("C:/Users/Ann/x.ckpt", "<path>"),
    ('File "/home/ann/ui/x.py", line 3', 'File "<webui>/<path>", line 3'),
    ("/tmp", "<path>"),
)


@pytest.mark.parametrize(("text", "told"), PATHS)
def test_paths_of_every_system_are_replaced(text: str, told: str):
    assert without_paths(text, ROOTS) == told


@pytest.mark.parametrize("text", ["1/2 and/or 3 / 4", "expected [2, 4]: got (3)", "clora_ext/core/loss.py:3 in f"])
def test_what_is_no_path_stays(text: str):
    assert without_paths(text, ROOTS) == text


def test_words_of_prompts_are_left_out_and_plain_ones_stay():
    told = without_words("The prompt has no “Horse” and there is a cat-girl.", ["a HORSE and the cat", "girl"])
    assert told == "The prompt has no “…” and there is a …-…."


def failed() -> LoraError:
    try:
        try:
            raise OSError("disk")
        except OSError as error:
            raise BindingError("no horse", field="subject") from error
    except BindingError as error:
        found = LoraError("gone")
        found.__context__ = error
        return found


def test_the_chain_of_causes_is_told_with_the_places_in_our_files():
    lines = list(cause_lines(failed(), Path(__file__).parents[1]))
    assert [line for line in lines if not line.startswith(" ")] == [
        "LoraError: gone",
        "because of BindingError (subject): no horse",
        "because of OSError: disk",
    ]
    (place, other) = [line for line in lines if line.startswith(" ")]
    assert place.startswith("    at tests/test_redact.py:")
    assert other.endswith(" in failed")
    assert "at tests/test_redact.py:" in place
    assert not any(str(Path(__file__).parent) in line for line in lines)


def test_a_circle_of_causes_ends():
    one, other = ValueError("1"), ValueError("2")
    one.__cause__, other.__cause__ = other, one
    assert list(causes(one)) == [one, other]
