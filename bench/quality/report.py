"""A page that a person can read in five minutes: figures, then pictures nobody picked, failures beside successes."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.quality.markdown import TITLES, in_order, rows_in_order
from bench.quality.prompts import Prompt, PromptSet
from bench.quality.summary import Table
from clora_ext.prompt import remove_tags

LARGEST = 12_000_000
"""Characters of the page, pictures included."""
SHOWN = 6
"""Prompts of each split in the grid."""

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1440px;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.3rem .5rem;vertical-align:top;text-align:left}
.n td,.n th{border-bottom:1px solid #ddd;text-align:right}.n td:first-child,.n th:first-child{text-align:left}
img{width:128px;height:128px;display:block;border:4px solid #bbb}.ok img{border-color:#2a9d4a}.no img{border-color:#d33}
.g td{font-size:12px;max-width:136px}.g .words{min-width:8rem;max-width:12rem;font-size:14px}
.g th{position:sticky;top:0;background:#fff}
.no{color:#b00}.ok{color:#176b30}small{color:#666}
.bar{display:inline-block;height:.7em;background:#3a7;vertical-align:middle}code{background:#f3f3f3}
"""


def page(found: Mapping[str, Any], asked: PromptSet, table: Table) -> str:
    """The whole page, self-contained: what is right, pictures, and then the figures behind it."""
    head = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Does it compose?</title><style>{_STYLE}</style>",
        "<h1>Does it compose?</h1>",
        _intro(found),
        _figures(found),
    ]
    rest = [_failures_by_kind(found), _differences(found), _similarities(found), _judge(found.get("judge"))]
    room = LARGEST - sum(map(len, [*head, *rest]))
    parts: list[str] = []
    for section in (_grid(found, asked, table), _wrong(asked, table)):
        kept = _within(section, room)
        room -= sum(map(len, kept))
        parts += kept
    return "\n".join([*head, *parts, *rest, "</html>"])


def _within(section: Sequence[str], room: int) -> list[str]:
    """As many rows of a section as there is room for."""
    kept, used = [], 0
    for part in section:
        used += len(part)
        if used > room:
            return [*kept, "</table><p>More did not fit on this page.</p>"]
        kept.append(part)
    return kept


def _intro(found: Mapping[str, Any]) -> str:
    hashes = ", ".join(f"{name} <code>{digest}</code>" for name, digest in found["hashes"].items()
                       if name in ("checkpoint", "judge", "eye", "dino", "clip"))  # fmt: skip
    state = "" if found["complete"] else "<p class=no><b>Not complete:</b> the run was stopped before its end.</p>"
    return f"""<p>Every method drew the same prompts from the same noise. A picture counts as right when a detector that
was frozen before any tuning finds exactly the subjects that the prompt asks for, each with its own looks and once, and
no other of their classes; with a style everywhere: the right classes and the style; with a style on one subject: the
right classes, the style there and not on the other, which is itself. <i>base</i> is the model without LoRAs, asked for
the plain classes: what it can not count nobody can compose. <i>single</i> wears one LoRA at a time: a ceiling.
Intervals (95 %) come from resampling prompts, and seeds within prompts. It is a toy world of cartoon animals whose
attention was supervised and whose judge was trained on the same renderer: it shows which method composes, not how
beautiful pictures get.</p>{state}
<p><small>{html.escape(found["mode"])} run, prompts “{html.escape(found["prompts"])}”, {found["seeds"]} seeds a prompt,
{found["sampling"]["steps"]} DDIM steps, guidance {found["sampling"]["cfg_scale"]:g}; commit
<code>{found["commit"]}</code>; {html.escape(found["device"])}, torch {found["torch"]}; {hashes}</small></p>"""


def _splits(found: Mapping[str, Any]) -> list[str]:
    every = [split for own in found["methods"].values() for split in own]
    return in_order({*found["base_rate"], *every})


def _figures(found: Mapping[str, Any]) -> str:
    splits = _splits(found)
    rows = []
    for name in [*(["base"] if "base" in found["methods"] else []), *rows_in_order(found["methods"])]:
        own = found["methods"][name]
        cells = "".join(f"<td>{_rate(own.get(split))}</td>" for split in splits)
        cost = next((own[split] for split in ("two", *splits) if split in own), {})
        rows.append(f"<tr><td>{name}<td>{cost.get('unet_rows', 0):.0f}{cells}")
    heads = "".join(f"<th>{TITLES.get(split, split)}" for split in splits)
    return f"<h2>All subjects right</h2><table class=n><tr><th>method<th>UNet rows{heads}{''.join(rows)}</table>"


def _rate(own: Mapping[str, Any] | None) -> str:
    if own is None or "all_present" not in own:
        return "-"
    low, high = own["ci"]
    share = f"<br><small>{own['share_of_base']:.0%} of base</small>" if "share_of_base" in own else ""
    bar = f"<span class=bar style='width:{48 * own['all_present']:.0f}px'></span>"
    return f"{bar} <b>{own['all_present']:.0%}</b><br><small>{low:.0%} to {high:.0%}, n {own['n']}</small>{share}"


def _numbers(found: Mapping[str, Any], split: str, names: Mapping[str, str], *, percent: bool) -> str:
    rows = []
    for name in rows_in_order(found["methods"]):
        own = found["methods"][name].get(split, {})
        if any(key in own for key in names):
            form = "{:.0%}" if percent else "{:.3f}"
            cells = "".join(f"<td>{form.format(own[key]) if key in own else '-'}" for key in names)
            rows.append(f"<tr><td>{name}{cells}")
    if not rows:
        return ""
    heads = "".join(f"<th>{title}" for title in names.values())
    return f"<h3>{TITLES.get(split, split)}</h3><table class=n><tr><th>method{heads}{''.join(rows)}</table>"


def _failures_by_kind(found: Mapping[str, Any]) -> str:
    names = {
        "identity": "right identity", "missing": "missing", "wrong": "wrong identity", "mixed": "mixed marks",
        "duplicated": "twice", "extra": "extra of a class", "lenient": "every class there (lenient)",
    }  # fmt: skip
    parts = [_numbers(found, split, names, percent=True) for split in _splits(found)]
    note = "Shares of subjects, those in line art left out; the last two of pictures."
    return f"<h2>How it fails</h2><p>{note}</p>" + "".join(parts)


def _similarities(found: Mapping[str, Any]) -> str:
    names = {
        "dino_min": "DINO min", "dino_avg": "avg", "dino_max": "max", "clip_min": "CLIP-I min", "clip_avg": "avg",
        "clip_t": "CLIP-T", "dino_crop_min": "DINO min, crops", "dino_crop_avg": "avg, crops", "strength": "strength",
        "leakage": "leakage", "mask_iou": "mask IoU",
    }  # fmt: skip
    parts = [_numbers(found, split, names, percent=False) for split in _splits(found)]
    if not any(parts):
        return ""
    note = "<p>Strength: how near the subjects are to pictures of their LoRAs alone; 1 is as near as those are.</p>"
    if "eye" in found["hashes"]:
        note += "<p>DINO and CLIP here are a small encoder trained on the renderer's pictures.</p>"
    return f"<h2>Similarity to each LoRA alone, leakage, masks</h2>{note}" + "".join(parts)


def _differences(found: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><td>{TITLES.get(split, split)}<td>{name}<td>{100 * entry['difference']:+.0f}"
        f"<td>{100 * entry['ci'][0]:+.0f} to {100 * entry['ci'][1]:+.0f}<td>{entry['n']}"
        for split, entries in found["differences"].items()
        for name, entry in entries.items()
        if name.startswith(("balanced", "fast"))
    ]
    heads = "<tr><th>split<th>difference<th>points<th>95 % interval<th>pictures"
    return f"<h2>Paired differences</h2><table class=n>{heads}{''.join(rows)}</table>" if rows else ""


def _judge(found: Mapping[str, Any] | None) -> str:
    """The detector against a person."""
    if found is None:
        return "<h2>The detector against a person</h2><p class=no>No picture has been labelled by eye yet.</p>"
    seen = list(found["confusion"])
    named = sorted({name for row in found["confusion"].values() for name in row})
    heads = "".join(f"<th>{name}" for name in named)
    rows = "".join(
        f"<tr><td>{mine}" + "".join(f"<td>{found['confusion'][mine].get(name, '')}" for name in named) for mine in seen
    )
    agree = found["verdicts_agree"]
    return f"""<h2>The detector against a person</h2>
<p>{found["pictures"]} generated pictures were labelled by eye: of {found["things"]} things
{found["things_agree"]:.0%} got the same name; strict verdicts agree on {agree["strict"]:.0%} of the pictures (right by
the detector alone: {found["strict"][1]}, by eye alone: {found["strict"][2]}), lenient ones on {agree["lenient"]:.0%}.
Rows: by eye; columns: by the detector; * mixed marks; - nothing there.</p>
<table class=n><tr><th>{heads}{rows}</table>"""


def _grid(found: Mapping[str, Any], asked: PromptSet, table: Table) -> list[str]:
    """Rows are prompts drawn by lot, columns methods, the same seed in a row."""
    every = [name for name in ("base", *rows_in_order(found["methods"])) if name in table]
    parts = ["<h2>The same noise, every method</h2><p>Prompts drawn by lot. Green: right, red: wrong.</p>"]
    for split in _splits(found):
        own = [prompt for prompt in asked.prompts if prompt.split == split]
        lot = np.random.default_rng(0).permutation(len(own))[:SHOWN]
        names = [name for name in every if table[name].get(split)]
        heads = "".join(f"<th>{name}" for name in names)
        parts.append(f"<h3>{TITLES.get(split, split)}</h3><table class=g><tr><th>{heads}")
        for prompt in (own[i] for i in sorted(lot)):
            lines = [_kept(table.get(name, {}).get(split, {}).get(prompt.id, {})) for name in names]
            cells = "".join(f"<td>{_picture(line)}" for line in lines)
            parts.append(f"<tr><td class=words>{_words(prompt)}{cells}")
        parts.append("</table>")
    return parts


def _wrong(asked: PromptSet, table: Table) -> list[str]:
    """Every kept picture of our default that is wrong."""
    by_id = {prompt.id: prompt for prompt in asked.prompts}
    parts = ["<h2>Everything that balanced got wrong (first seeds)</h2><table class=g><tr>"]
    count = 0
    for found in table.get("balanced", {}).values():
        for name, seeds in found.items():
            line = _kept(seeds)
            if line is not None and not line.get("all", True):
                count += 1
                end = "<tr>" if count % 7 == 0 else ""
                parts.append(f"<td>{_picture(line)}<small>{_words(by_id[name])}</small>{end}")
    return [*parts, "</table>"] if count else []


def _kept(seeds: Mapping[int, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return next((line for _, line in sorted(seeds.items()) if "webp" in line), None)


def _words(prompt: Prompt) -> str:
    style = f" <b>[style on {html.escape(prompt.style.on)}]</b>" if prompt.style and prompt.style.on else ""
    return html.escape(" ".join(remove_tags(prompt.prompt).split())) + style


def _picture(line: Mapping[str, Any] | None) -> str:
    if line is None:
        return "-"
    shown = "".join(f"<img src='data:image/webp;base64,{text}'>" for text in line["webp"])
    if "subjects" not in line:
        return shown
    said = "<br>".join(f"{name}: {status}" for name, status in line["subjects"])
    if line.get("style"):
        shares = line["style"]["shares"].items()
        said += "<br>style " + ", ".join(f"{name} {share:.0%}".strip() for name, share in shares)
    return f"<div class={'ok' if line['all'] else 'no'}>{shown}{said}</div>"
