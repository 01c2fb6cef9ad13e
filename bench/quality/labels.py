"""How far the detector can be believed: pictures labelled by eye, and its confusion matrix on them.

python -m bench.quality.labels sheet    pictures of the last run, numbered, without prompts or verdicts: write down
                                        what is there in seen.txt, a line each: `17: tuxcat, dog*` (* mixed marks)
python -m bench.quality.labels keep     seen.txt and the pictures into labels.jsonl, which is committed
python -m bench.quality.labels matrix   the detector of today against labels.jsonl

With --world xl it is about the other tiny world, whose labels are labels-xl.jsonl.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from bench.quality import runner
from bench.quality.detection import wanted_of
from bench.quality.encoding import unpack_image
from bench.quality.methods import table
from bench.quality.prompts import REPORTED, read
from bench.quality.store import Store
from bench.quality.worker import find
from tiny_world.concepts import XL_CONCEPTS
from tiny_world.judge import Found, Judge, kind_of, verdict
from tiny_world.scene import CLASSES
from tiny_world.worlds import WORLDS

LABELS = Path(__file__).resolve().parent / "labels.jsonl"
NOTHING = "-"
NAMES = (*CLASSES, *XL_CONCEPTS)
_SIDE, _LINE, _COLUMNS, _ROWS = 192, 18, 6, 5


@dataclass(frozen=True, slots=True)
class Labelled:
    """A generated picture with what a person saw in it: some of NAMES, ``*`` for mixed marks."""

    picture: Image.Image
    wanted: tuple[str, ...]
    seen: tuple[str, ...]
    method: str


def sheet(store: Store, out: Path, count: int, seed: int = 1, asked: Path = REPORTED) -> int:
    """``count`` kept pictures of the store, rows and splits in turn, on numbered sheets; gives how many there are."""
    known = {prompt.id: prompt for prompt in read(asked).prompts}
    rows = table()
    kept = [line for line in store.lines.values() if len(line.get("webp", ())) == 1 and line["prompt"] in known]
    kept = [line for line in kept if rows.get(line["method"]) and rows[line["method"]].draws != "single"]
    rng = np.random.default_rng(seed)
    places: Counter[tuple[str, str]] = Counter()
    ranked = []
    for i in rng.permutation(len(kept)):
        group = kept[i]["method"], kept[i]["split"]
        ranked.append((places[group], rng.random(), i))
        places[group] += 1
    chosen = [kept[i] for _, _, i in sorted(ranked)[:count]]
    out.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, line in enumerate(chosen, start=1):
        draws = rows[line["method"]].draws
        wanted = wanted_of(known[line["prompt"]], draws)
        entries.append({"number": number, "prompt": line["prompt"], "method": line["method"], "seed": line["seed"]}
                       | {"wanted": wanted, "webp": line["webp"][0]})  # fmt: skip
    (out / "pictures.json").write_text(json.dumps(entries), encoding="utf-8")
    for start in range(0, len(entries), _COLUMNS * _ROWS):
        part = entries[start : start + _COLUMNS * _ROWS]
        _numbered(part).save(out / f"sheet-{start // (_COLUMNS * _ROWS) + 1:02}.png")
    template = out / "seen.txt"
    if not template.exists():
        template.write_text("".join(f"{entry['number']}: \n" for entry in entries), encoding="utf-8")
    return len(entries)


def _numbered(entries: Sequence[Mapping[str, Any]]) -> Image.Image:
    page = Image.new("RGB", (_COLUMNS * (_SIDE + 4), _ROWS * (_SIDE + _LINE)), "white")
    pen = ImageDraw.Draw(page)
    for place, entry in enumerate(entries):
        x, y = place % _COLUMNS * (_SIDE + 4), place // _COLUMNS * (_SIDE + _LINE)
        page.paste(unpack_image(entry["webp"]).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), (x, y + _LINE))
        pen.text((x + 2, y + 2), str(entry["number"]), "black")
    return page


def read_seen(text: str) -> dict[int, tuple[str, ...]]:
    """Lines `number: name, name*`; an empty list is a picture without things, a line that ends after the number is not
    labelled unless it says `-`. Raises ``ValueError`` that names the line and the words there are."""
    found = {}
    for line in filter(str.strip, text.splitlines()):
        number, _, words = line.partition(":")
        names = tuple(word.strip() for word in words.split(",") if word.strip())
        for name in names:
            if name.rstrip("*") not in NAMES and name != NOTHING:
                msg = f"“{line}”: “{name}” is none of {', '.join(NAMES)}."
                raise ValueError(msg)
        if names:
            found[int(number)] = tuple(name for name in names if name != NOTHING)
    return found


def keep(out: Path, path: Path = LABELS) -> int:
    """Writes the labelled pictures to ``path``; gives how many."""
    seen = read_seen((out / "seen.txt").read_text(encoding="utf-8"))
    listed = json.loads((out / "pictures.json").read_text(encoding="utf-8"))
    entries = [entry for entry in listed if entry["number"] in seen]
    lines = [json.dumps({**entry, "seen": seen[entry["number"]]}) for entry in entries]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def load(path: Path = LABELS) -> list[Labelled]:
    """The labelled pictures. Raises ``FileNotFoundError`` with what to run when there are none."""
    if not path.is_file():
        msg = f"there are no labels at {path}: run `python -m bench.quality.labels sheet`, write seen.txt, then `keep`"
        raise FileNotFoundError(msg)
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Labelled(unpack_image(e["webp"]), tuple(e["wanted"]), tuple(e["seen"]), e["method"]) for e in entries]


def name_of(thing: Found) -> str:
    """As a person writes it down."""
    return thing.name + ("*" if thing.mixed else "")


def pairs(seen: Sequence[str], found: Sequence[str]) -> list[tuple[str, str]]:
    """(by eye, by detector) for every thing: equal names first, then of one class; what is left has no partner."""
    mine, theirs, made = list(seen), list(found), []
    for fits in (str.__eq__, lambda a, b: kind_of(a.rstrip("*")) == kind_of(b.rstrip("*"))):
        for name in list(mine):
            partner = next((other for other in theirs if fits(name, other)), None)
            if partner is not None:
                made.append((name, partner))
                mine.remove(name)
                theirs.remove(partner)
    return [*made, *((name, NOTHING) for name in mine), *((NOTHING, name) for name in theirs)]


def person(names: Sequence[str]) -> list[Found]:
    """What a person saw, as the verdict takes it."""
    plain = [(name.rstrip("*"), name.endswith("*")) for name in names]
    return [Found(n, kind_of(n), n != kind_of(n), mixed, 1.0, (0, 0, 0, 0), (0, 0)) for n, mixed in plain]


def matrix(judge: Judge, labelled: Sequence[Labelled]) -> dict[str, Any]:
    """``confusion[by eye][by detector]``, the share of things that agree, and of pictures whose verdicts do.

    ``strict`` and ``lenient`` count pictures as [both right, detector alone, eye alone, both wrong].
    """
    confusion: dict[str, Counter[str]] = {}
    verdicts = {"strict": [0, 0, 0, 0], "lenient": [0, 0, 0, 0]}
    for one in labelled:
        (things,) = find(judge, [one.picture])
        for mine, theirs in pairs(one.seen, [name_of(thing) for thing in things]):
            confusion.setdefault(mine, Counter())[theirs] += 1
        both = [verdict(found, one.wanted) for found in (things, person(one.seen))]
        for name, answers in (("strict", [v.right for v in both]), ("lenient", [v.lenient for v in both])):
            verdicts[name][(not answers[0]) * 2 + (not answers[1])] += 1
    total = sum(sum(row.values()) for row in confusion.values())
    agree = {name: round((counts[0] + counts[3]) / max(1, len(labelled)), 4) for name, counts in verdicts.items()}
    return {
        "pictures": len(labelled),
        "things": total,
        "things_agree": round(sum(row[name] for name, row in confusion.items()) / max(1, total), 4),
        "verdicts_agree": agree,
        **verdicts,
        "confusion": {name: dict(row.most_common()) for name, row in sorted(confusion.items())},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.quality.labels", description="The detector against the eye.")
    parser.add_argument("do", choices=("sheet", "keep", "matrix"))
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--store", type=Path, help="quality.jsonl of out/bench by default")
    parser.add_argument("--out", type=Path, help="out/bench/labels by default")
    options = runner.world_options(parser).parse_args(arguments)
    world = WORLDS[options.world]
    results, labelled = world.beside(runner.OUT), world.beside(LABELS)
    out = options.out or results / "labels"
    if options.do == "sheet":
        store = Store(options.store or results / "quality.jsonl")
        print(f"{sheet(store, out, options.count, asked=world.beside(REPORTED))} pictures in {out}")
    elif options.do == "keep":
        print(f"{keep(out, labelled)} labelled pictures in {labelled}")
    else:
        print(json.dumps(matrix(world.judge(world.weights), load(labelled)), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
