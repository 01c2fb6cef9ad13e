"""`python -m bench.compatibility`: writes docs/compatibility.md from what the real WebUI did; `make compatibility`.

Exact checks for every kind of model with every sampler, and for every schedule; then two subjects of the tiny world,
judged, by every sampler and in every pass. Lines that were measured before are kept in out/bench/compatibility, beside
what the suite's tests have shown there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bench.compatibility.judged import PROFILES, SEEDS, Judged, by_pass, by_sampler
from bench.compatibility.page import write_page
from tests.golden.authors.rebuild import parity_folder
from tests.models.kinds import build_all
from tests.webui import rows
from tests.webui.exact import LORAS, asking, differences, largest
from tests.webui.jobs import with_model
from tests.webui.server import Model, Setup, WebUI, WebUIError, find_python, find_webui
from tests.webui.world import tiny_world, xl_world
from tiny_world.worlds import FIRST, XL, World

CHECKOUT = Path(__file__).resolve().parents[2]
Line = dict[str, Any]
Measure = Callable[[], Line]


def sd1() -> Model:
    """The random checkpoint of the reference outputs, with its two LoRAs."""
    folder = parity_folder()
    checkpoint = folder / "checkpoint" / "tiny-sd1.safetensors"
    loras = tuple(sorted((folder / "lora").glob("*.safetensors")))
    return Model(checkpoint, checkpoint.with_suffix(".yaml"), folder / "tiny-clip", loras)


def names_of(host: WebUI, route: str) -> list[str]:
    return [one["label" if route == "schedulers" else "name"] for one in host.get(f"/sdapi/v1/{route}").json()]


def exact(host: WebUI, model: str, sampler: str, scheduler: str) -> Line:
    """One line of the exact checks; where one is not exact, how far WebUI alone is from its own picture."""
    way = {"sampler_name": sampler, "scheduler": scheduler, "steps": 4}
    ask = asking(host, model, **way)
    try:
        found = differences(ask, model)
    except WebUIError as error:
        return {"error": str(error)[:300]}
    line = {"largest": max(found.values()), "checks": found}
    return line if line["largest"] <= 1 else {**line, "alone": alone(host, model, way)}


def alone(host: WebUI, model: str, way: Mapping[str, Any]) -> int:
    """The largest difference of WebUI's own picture when its rows are joined to batches otherwise, of 255."""
    one = asking(host, model, **way)()
    apart = asking(host, model, **way, **with_model(model, batch_cond_uncond=False))()
    return max(largest(asking(host, model, **way, batch_size=3)(), one), largest(apart, one))


def exact_lines(host: WebUI) -> Iterator[tuple[str, Measure]]:
    """Keys of lines with what measures them, a model's together."""
    samplers, schedulers = names_of(host, "samplers"), names_of(host, "schedulers")
    for model in LORAS:
        for sampler in samplers:
            yield f"exact|{model}|{sampler}|Automatic", lambda m=model, s=sampler: exact(host, m, s, "Automatic")
    for name in schedulers:
        yield f"exact|tiny-sdxl|DPM++ 2M|{name}", lambda n=name: exact(host, "tiny-sdxl", "DPM++ 2M", n)


def judged_lines(host: WebUI, pictures: Path, world: World) -> Iterator[tuple[str, Measure]]:
    """The same for what is judged in a world; the pictures are kept to be looked at."""
    judged = Judged(host, world)
    pictures.mkdir(parents=True, exist_ok=True)

    def measure(case: Any) -> Line:
        right = {}
        for profile in PROFILES:
            right[profile], found = judged.right(case, profile)
            for seed, picture in enumerate(found, 1):
                picture.save(pictures / f"{case.name.replace(' ', '-').replace(',', '')}-{profile}-{seed}.png")
        told = {"right": right, "of": len(SEEDS), "method": judged.method(), "plain": judged.plain(case)}
        return {**told, "alone": judged.alone(case)} if "enable_hr" in case.payload else told

    for kind, cases in (("sampler", by_sampler(names_of(host, "samplers"))), ("pass", by_pass())):
        for case in (case for case in cases if case.world is world):
            yield f"{kind}|{case.name}", lambda case=case: measure(case)


def measured(lines: Iterator[tuple[str, Measure]], kept: Path, only: str) -> None:
    """Measure what is missing in ``kept`` of the lines whose key has ``only`` in it, one after the other."""
    done = read_lines(kept)
    for key, measure in tqdm(list(lines), unit="line"):
        if key not in done and only in key:
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, **measure()}) + "\n")


def read_lines(kept: Path) -> dict[str, Line]:
    if not kept.exists():
        return {}
    lines = [json.loads(text) for text in kept.read_text(encoding="utf-8").splitlines()]
    return {line["key"]: line for line in lines}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 if all is exact and right, 1 if not, 2 without a WebUI."""
    parser = argparse.ArgumentParser(description="What composes with what?")
    parser.add_argument("--only", default="", help="lines whose key has this in it")
    parser.add_argument("--out", type=Path, default=Path("out/bench/compatibility"))
    options = parser.parse_args(arguments)
    webui = find_webui()
    if webui is None or find_python(webui) is None:
        print("A WebUI with its Python is needed: set WEBUI_DIR.", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "lines.jsonl"
    with tempfile.TemporaryDirectory(prefix="models-") as folder:
        more = build_all(Path(folder), sd1())
        with WebUI(Setup(webui, sd1(), (CHECKOUT,), ui=False, more=more)) as host:
            measured(exact_lines(host), kept, options.only)
    for world, model in ((FIRST, tiny_world()), (XL, xl_world())):
        with WebUI(Setup(webui, model, (CHECKOUT,), ui=False)) as host:
            measured(judged_lines(host, options.out, world), kept, options.only)
    page = CHECKOUT / "docs" / "compatibility.md"
    return 0 if write_page(read_lines(kept), rows.outcomes(), page) else 1


if __name__ == "__main__":
    sys.exit(main())
