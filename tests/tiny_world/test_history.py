"""The weights' history, and the card that is written from it."""

import json
from pathlib import Path

import pytest

from tiny_world import history
from tiny_world.card import write_card
from tiny_world.lora import lora_files
from tiny_world.model import WEIGHTS
from tiny_world.samples import CASES, Figures

FIGURES = Figures(base=dict.fromkeys(CASES, 0.9), loras={}, count=32, lora_count=20)


def test_a_training_that_was_stopped_is_one_training(tmp_path: Path) -> None:
    work, weights = tmp_path / "work", tmp_path / "weights"
    work.mkdir(), weights.mkdir()
    earlier = [{"stage": "vae", "seconds": 5.0, "device": "x"}]
    (weights / history.FILE).write_text(json.dumps(earlier), encoding="utf-8")

    def stopped() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        history.remember(work, weights, "base", stopped, lambda: {"steps": 1})
    assert len(history.read(weights)) == 1
    for steps in (7, 9):
        history.remember(work, weights, "base", lambda: None, lambda steps=steps: {"steps": steps})
    history.remember(work, weights, "export", lambda: None)
    first, second = history.read(weights)
    assert first["stage"] == "vae"
    assert (second["stage"], second["steps"]) == ("base", 9)
    assert second["seconds"] >= 0


def test_a_later_training_follows_the_earlier_ones(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    for number in (1, 2):
        work = tmp_path / f"work{number}"
        work.mkdir()
        history.remember(work, weights, "base", lambda: None, lambda number=number: {"steps": number})
    assert [entry["steps"] for entry in history.of(history.read(weights), "base")] == [1, 2]


def test_the_card_tells_every_training_of_the_base(tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    write_card(card, WEIGHTS, FIGURES, note="A remark.")
    text = card.read_text(encoding="utf-8")
    sizes = [f"{entry['steps']} steps of {entry['batch']}" for entry in history.of(history.read(WEIGHTS), "base")]
    assert ", then ".join(sizes) in text
    assert "A remark." in text
    loras = [line for line in text.splitlines() if line.startswith("| `") and line.count("|") == 6]
    rows = [line for line in loras if line.split("|")[3].strip().isdigit()]
    assert sum(line.split("|")[1].count("`") // 2 for line in rows) == len(lora_files(WEIGHTS))
    assert text.count("\n| loras |") == len(history.of(history.read(WEIGHTS), "loras"))


def test_a_history_with_a_hole_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="vae"):
        write_card(tmp_path / "card.md", tmp_path, FIGURES)
