"""A new user's first minutes, counted in actions, in a real browser: no syntax is typed, and nothing is explained."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from safetensors.torch import load_file, save_file

from tests.webui.browser import find_chromium, open_page
from tests.webui.hand import Hand
from tests.webui.jobs import last
from tests.webui.panel import JOB, Panel
from tests.webui.server import WebUI
from tiny_world.judge import Judge, verdict

MOST = 14
"""Actions of a first visit."""

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="No browser: install Debian's package chromium.")


COUNT = """() => {
    const written = new Set();
    window.clicks = 0;
    window.actions = () => window.clicks + written.size;
    document.addEventListener('pointerdown', () => { window.clicks += 1; }, true);
    document.addEventListener('input', ({target, isTrusted}) => {
        if (isTrusted && target.matches('textarea, input[type=number]')) written.add(target);
    }, true);
}"""
"""Counts what a hand does on the page: each click, and each field that is written in, by keys or by pasting."""


COPIED = (
    "masterpiece, best quality, (very detailed:1.2), score_9, a vako cat and a pleko dog sitting in the grass, "
    "looking at viewer <lora:tuxcat:1> <lora:browndog:1> <lora:{more}:0.5>"
)
"""As prompts stand beside pictures on the pages of models, with a third LoRA that has no metadata."""


@pytest.fixture
def bare(world: WebUI) -> Iterator[list[str]]:
    """LoRA files without metadata: one of details by its name, and one of which nothing is known."""
    folder, names = world.data_dir / "models" / "Lora", ["add_detail", "xq_v2"]
    tensors = load_file(folder / "lineart.safetensors")
    for name in names:
        save_file(tensors, folder / f"{name}.safetensors")
    world.post("/sdapi/v1/refresh-loras").raise_for_status()
    yield names
    for name in names:
        (folder / f"{name}.safetensors").unlink()
    world.post("/sdapi/v1/refresh-loras").raise_for_status()


@pytest.mark.row("Prompts", "composed at once", name="a prompt copied from a page, with a LoRA for details")
def test_a_new_users_first_minutes(world: WebUI, bare: list[str]):
    """A copied prompt is composed at once; where nobody can know what a LoRA is, one question has a button for it."""
    known, unknown = bare
    with open_page(world) as page:
        panel = Panel(page)
        page.sampling(**JOB)
        page.prompt(COPIED.format(more=known))
        panel.switch()
        panel.says(f"tuxcat on “cat”, browndog on “dog”, {known} everywhere")
        page.generate()
        assert last(world)["composed"] is True
        page.prompt(COPIED.format(more=unknown))
        panel.says(f"“{unknown}”")
        asked = panel.board.get_by_role("group", name="What does")
        assert asked.count() == 1
        asked.get_by_role("button", name="everything (a style)").click()
        panel.says(f"tuxcat on “cat”, browndog on “dog”, {unknown} everywhere")
        page.generate()
        assert last(world)["composed"] is True
        assert page.errors_outside_gradio() == []


def same_share(one: Image.Image, other: Image.Image) -> float:
    """How much of two pictures of one size is the same to the bit."""
    same = (np.asarray(one) == np.asarray(other)).all(axis=2)
    return float(same.mean())


def test_a_first_visit_takes_at_most_fourteen_actions(world: WebUI, bare: list[str]):
    """Cards, an unknown style, a question, a word moved, a weight by keys, Generate, masks, one cat inpainted."""
    _, style = bare
    with open_page(world) as page:
        page.sampling(**JOB)
        hand = Hand(page)
        extra = page.page.locator("#txt2img_extra_tabs > .tab-nav button")
        extra.get_by_text("Lora", exact=True).click()
        page.page.locator("#txt2img_lora_extra_refresh:visible").first.click()  # cards may be those of before
        page.page.locator(f"#txt2img_lora_cards .card[data-name={style}]").wait_for()
        extra.get_by_text("Generation", exact=True).click()
        page.page.evaluate(COUNT)
        hand.area.focus()
        page.page.keyboard.type("a cat and a cat in the grass")
        extra.get_by_text("Lora", exact=True).click()
        for lora in ("tuxcat", "tigercat", style):
            page.page.locator(f"#txt2img_lora_cards .card[data-name={lora}]").click()
        extra.get_by_text("Generation", exact=True).click()
        hand.switch()
        expect(hand.line).to_have_text(f"What does “{style}” draw?")
        hand.row(style).get_by_role("button", name="everything (a style)").click()
        expect(hand.line).to_contain_text("tuxcat on “cat” (number 1), tigercat on “cat” (number 2)")
        hand.chip("cat", 2).click()
        expect(hand.line).to_contain_text("“cat” goes from tigercat to tuxcat. tuxcat on “cat” (number 2)")
        hand.entry("tuxcat").focus()
        for _ in range(4):
            hand.press("ArrowDown")
        hand.element("show_masks").locator("input").click()
        composed = page.generate()
        assert f"<lora:tuxcat:0.8> <lora:tigercat:1> <lora:{style}:1>" in page.infotext()
        assert '"lora": "tuxcat", "subject": "cat", "occurrence": 2' in page.infotext().replace("\\", "")
        assert last(world)["composed"] is True
        assert hand.pictures() == 2, "the picture and its masks"
        finished = page.element("clora_txt2img_finished")
        finished.get_by_role("button", name=re.compile("Inpaint.* tuxcat")).click()
        expect(page.element("img2img_prompt").locator("textarea")).to_be_focused()
        assert page.page.evaluate("window.actions()") == MOST - 1
        inpainted = page.generate(tab="img2img")
        assert page.page.evaluate("window.actions()") <= MOST
        text = page.infotext(tab="img2img")
        assert "<lora:tuxcat:0.8>" in text
        assert "tigercat" not in text
        assert "Mask blur" in text
        assert 0.05 < same_share(composed, inpainted) < 0.98, "one cat is drawn anew, and the other stays"
        assert page.errors_outside_gradio() == []


def test_at_most_four_actions_to_two_characters(world: WebUI):
    """Of the small model's own size; one of three seeds must be right to the judge."""
    judge = Judge.load()
    for seed in (1, 2, 3):
        with open_page(world) as page:
            page.sampling(steps=20, width=128, height=128, seed=seed)
            page.page.evaluate(COUNT)
            page.prompt("a vako cat and a pleko dog in the grass <lora:tuxcat:1> <lora:browndog:1>")
            Panel(page).switch()
            image = page.generate()
            assert 3 <= page.page.evaluate("window.actions()") <= 4
        if verdict(judge.find(image), ("tuxcat", "browndog")).right:
            return
    pytest.fail("none of three seeds has both subjects")
