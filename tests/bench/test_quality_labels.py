"""Sheets, labels and the confusion matrix on rendered pictures whose truth is known."""

import json

import numpy as np
import pytest
from PIL import Image

from bench.quality import labels
from bench.quality.encoding import pack_image
from bench.quality.store import Store
from tiny_world.judge import Judge
from tiny_world.render import render
from tiny_world.scene import sample_scene


def _rendered(seed: int) -> tuple[Image.Image, list[str]]:
    scene = sample_scene(np.random.default_rng(seed), (0, 1.0), personal=["tuxcat", "browndog"])
    return Image.fromarray(render(scene).pixels), ["tuxcat", "browndog"]


def test_pairs_match_names_then_classes():
    assert labels.pairs(["tuxcat", "dog"], ["dog", "tuxcat"]) == [("tuxcat", "tuxcat"), ("dog", "dog")]
    assert labels.pairs(["tuxcat", "ball"], ["cat*"]) == [("tuxcat", "cat*"), ("ball", "-")]
    assert labels.pairs([], ["house"]) == [("-", "house")]


def test_what_was_seen_is_read_and_errors_name_the_line():
    assert labels.read_seen("1: tuxcat, dog*\n2: -\n3: \n") == {1: ("tuxcat", "dog*"), 2: ()}
    with pytest.raises(ValueError, match="4: horse"):
        labels.read_seen("4: horse\n")


def test_labels_that_are_not_there_are_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match="labels sheet"):
        labels.load(tmp_path / "labels-xl.jsonl")
    assert labels.read_seen("3: cometball, collarbunny*\n") == {3: ("cometball", "collarbunny*")}


def test_the_matrix_finds_the_mistakes_that_are_there():
    rendered = [_rendered(seed) for seed in range(8)]
    wanted = ("tuxcat", "browndog")
    true = [labels.Labelled(picture, wanted, tuple(seen), "balanced") for picture, seen in rendered]
    found = labels.matrix(Judge.load(), true)
    assert found["pictures"] == 8
    assert found["things_agree"] >= 0.9
    assert found["verdicts_agree"]["strict"] >= 0.85
    wrong = [labels.Labelled(picture, wanted, ("tigercat", "browndog"), "balanced") for picture, _ in rendered]
    found = labels.matrix(Judge.load(), wrong)
    assert found["things_agree"] <= 0.55
    assert found["strict"][1] >= 7  # the detector alone says right
    assert found["confusion"]["tigercat"]["tuxcat"] >= 7


def test_sheets_take_turns_and_labels_come_back(tmp_path, monkeypatch):
    store = Store(tmp_path / "quality.jsonl")
    picture = pack_image(_rendered(1)[0])
    store.add(
        {"key": f"{split}{method}{seed}", "prompt": f"{split}-01", "split": split, "method": method, "seed": seed,
         "webp": [picture]}
        for split in ("two", "three") for method in ("base", "merge", "balanced") for seed in range(9)
    )  # fmt: skip
    out = tmp_path / "labels"
    assert labels.sheet(store, out, 36) == 36
    entries = json.loads((out / "pictures.json").read_text(encoding="utf-8"))
    groups = {(entry["method"], entry["prompt"]): 0 for entry in entries}
    for entry in entries:
        groups[entry["method"], entry["prompt"]] += 1
    assert set(groups.values()) == {6}
    base = next(entry for entry in entries if (entry["method"], entry["prompt"]) == ("base", "two-01"))
    assert base["wanted"] == ["house", "cat"]
    assert Image.open(out / "sheet-02.png").size == Image.open(out / "sheet-01.png").size
    (out / "seen.txt").write_text("1: tuxcat, browndog\n2: \n", encoding="utf-8")
    kept = tmp_path / "labels.jsonl"
    assert labels.keep(out, kept) == 1
    (one,) = labels.load(kept)
    assert one.seen == ("tuxcat", "browndog")
    assert one.picture.size == (128, 128)
