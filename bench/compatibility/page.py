"""docs/compatibility.md, from measured lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.compatibility.judged import PROFILES
from tests.webui.rows import Outcomes

Lines = Mapping[str, Mapping[str, Any]]
LEAST = 3
"""Of four seeds, how many have to be right, if WebUI alone has as many."""
HEAD = """# What composes with what

Written by `python tasks.py compatibility`, which tries all of it in AUTOMATIC1111 WebUI 1.10.1 on a CPU.

"""
EXACT = """## Kinds of models and samplers

Random models of full structure and tiny size. In each cell three checks: LoRAs of weight 0 are WebUI's own picture
(profiles `balanced`, `fast` and `authors`), an update of size 0 is masks, and a switch that never switches is WebUI's
picture with that LoRA. The number is the largest difference found, of 255: 1 is the order in which a CPU sums. In
brackets, where it is more: what that order alone does to WebUI's own picture, in a batch of three or with its halves
apart. DPM adaptive takes or rejects a step by a bound, and where rounding decides that, it goes another way; on
sdxl-inpainting it takes more than 20 minutes a picture and was not run to its end. sdxl-v makes a difference 20 to 50
times larger with every step: by Euler, three seeds, maps of masks and of an update of size 0 are 3e-6 to 1e-4 apart at
the first of four steps, as those of sdxl are, and 3e-2 to 8e-2 at the last, where those of sdxl are 4e-6 to 4e-4 apart.
Then a cell of the masks changes hands.

"""
JUDGED = """
## Pictures

Two personal subjects of the tiny world (Stable Diffusion 1's structure; see its
[model card](../tiny_world/MODEL_CARD.md)), by the profiles `fast` and `balanced`, seeds 1 to 4. Right is a picture with
exactly both subjects, as its judge sees it. Beside it what WebUI draws right by itself: one cat and one dog without
LoRAs, and in hires. fix each LoRA's subject alone. The model was trained at 128 pixels; a strong second pass at 192
draws twins by itself; the second world, of [SDXL's structure](../tiny_world/MODEL_CARD_XL.md), was trained at both
sizes. Four seeds show what is broken, not how good it is; [quality.md](quality.md) has that.

"""
TESTED: Mapping[str, str] = {
    "Passes and settings": "What a job may do besides, on random models: exact as above, or as it says.",
    "Prompts": "What stands in the prompt. How prompts are bound: [usage.md](usage.md#which-lora-draws-which-words).",
    "LoRA files": "Every naming and kind composes as kohya's own file does, and is WebUI's picture with it where WebUI "
    "reads it by itself. A fault is told before anything is drawn.",
    "LoRA files of full size": "On the layers of whole models: no key is left over.",
    "Other extensions": "The real ones, beside ours.",
    "Attention and memory": "Two subjects by each of WebUI's ways, in its settings and by its flags.",
    "Own masks": "By API and panel.",
}
"""The tables that tests of the real WebUI fill (tests/webui/rows.py), with a line on each."""


def write_page(lines: Lines, outcomes: Outcomes, path: Path) -> bool:
    """Write the page; gives whether all is exact, right and as the tests want it."""
    exact = {key: line for key, line in lines.items() if key.startswith("exact|")}
    text = HEAD + EXACT + _exact_table(exact) + _schedules(exact)
    tables = [table for kind in ("sampler", "pass") if (table := _judged_table(lines, kind))]
    text += JUDGED + "\n".join(tables) if tables else ""
    for title in sorted(outcomes, key=list(TESTED).index):
        text += f"\n## {title}\n\n{TESTED[title]}\n\n" + _table(["", "outcome"], list(outcomes[title].items()))
    path.write_text(text, encoding="utf-8")
    bad = any("fails" in outcome for rows in outcomes.values() for outcome in rows.values())
    good = not bad and all(line.get("largest", 255) <= 1 for line in exact.values())
    judged = [line for line in lines.values() if "right" in line]
    return good and all(min(line["right"].values()) >= min(LEAST, line["plain"]) for line in judged)


def _parts(key: str) -> list[str]:
    return key.split("|")[1:]


def _exact_table(lines: Lines) -> str:
    cells = {
        (model, sampler): line for (model, sampler, scheduler), line in _by_parts(lines) if scheduler == "Automatic"
    }
    models = list(dict.fromkeys(model for model, _ in cells))
    samplers = list(dict.fromkeys(sampler for _, sampler in cells))
    rows = [[sampler, *(_cell(cells.get((model, sampler))) for model in models)] for sampler in samplers]
    return _table(["", *(model.removeprefix("tiny-") for model in models)], rows)


def _by_parts(lines: Lines) -> list[tuple[tuple[str, str, str], Mapping[str, Any]]]:
    found = []
    for key, line in lines.items():
        model, sampler, scheduler = _parts(key)
        found.append(((model, sampler, scheduler), line))
    return found


def _cell(line: Mapping[str, Any] | None) -> str:
    if line is None:
        return "not run"
    if "error" in line:
        return "error"
    return f"{line['largest']} ({line['alone']})" if "alone" in line else str(line["largest"])


def _schedules(lines: Lines) -> str:
    tried = [(scheduler, line) for (_, _, scheduler), line in _by_parts(lines) if scheduler != "Automatic"]
    told = ", ".join(f"{name} {_cell(line)}" for name, line in tried)
    return f"\nThe same for every schedule, DPM++ 2M on SDXL: {told}.\n"


def _judged_table(lines: Lines, kind: str) -> str:
    chosen = {key: line for key, line in lines.items() if key.startswith(f"{kind}|")}
    rows = [[_parts(key)[0], line["method"], *_judged_cells(line)] for key, line in chosen.items()]
    return _table([kind, "by", *PROFILES, "without LoRAs", "each alone"], rows) if rows else ""


def _judged_cells(line: Mapping[str, Any]) -> list[str]:
    alone = " and ".join(map(str, line.get("alone", ())))
    counts = [*(str(line["right"].get(profile, "")) for profile in PROFILES), str(line["plain"]), alone]
    return [f"{count} of {line['of']}" if count else "" for count in counts]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
