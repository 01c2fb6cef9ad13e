"""docs/benchmarks.md from what was measured: ``python -m bench.speed.page``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.speed import card
from bench.speed.cases import Case
from bench.speed.growth import law, plot
from bench.speed.hollow import table as hollow_table
from clora_ext.settings.profiles import profile_value

DOCS = Path("docs")
FILES = {
    "cpu": DOCS / "bench" / "speed.json",
    "gpu": DOCS / "bench" / "speed-gpu.json",
    "page": DOCS / "bench" / "page.json",
    "hollow": DOCS / "bench" / "hollow.json",
}
GIB = 2**30


def line(case: Case) -> str:
    """One case on the screen."""
    name = f"{_name(asdict(case)):24}"
    parts = [f"{case.model:5} {name} K={case.k} rank {case.rank:3}  {case.rows:5} rows"]
    if case.flops_ratio is not None:
        parts.append(f"{case.flops_ratio:6.2f} x FLOPs")
    parts.append(f"{(case.peak_bytes - case.plain_peak_bytes) / GIB:+6.2f} GiB")
    if case.ratio is not None:
        parts.append(f"{case.seconds:8.2f} s, {case.ratio:.2f} x")
    return "  ".join(parts)


def table(data: dict[str, Any]) -> str:
    """All cases as a Markdown table."""
    head = "| model | profile | LoRAs | rank | FLOPs | UNet rows | peak over plain | seconds | seconds against plain |"
    rows = [head, "|---" * 9 + "|"]
    for case in data["cases"]:
        over = (case["peak_bytes"] - case["plain_peak_bytes"]) / GIB
        rows.append(
            f"| {case['model']} | {_name(case)} | {case['k']} | {case['rank']} | {_times(case['flops_ratio'])} "
            f"| {case['rows']} | {over:+.2f} GiB | {_number(case['seconds'])} | {_times(case['ratio'])} |"
        )
    return "\n".join(rows)


def _name(case: dict[str, Any]) -> str:
    name = case["profile"] if case["method"] == "clora" else case["method"]
    limited = case["method"] == "clora" and case["memory"] != profile_value(case["profile"], "memory")
    return f"{name}, memory {case['memory']:g}" if limited else name


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} x"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def text(found: dict[str, dict[str, Any]]) -> str:
    """The page. ``found`` has the data of the CPU's run and, where their files were kept, of GPU's and WebUI's page."""
    cpu = found["cpu"]
    parts = [INTRODUCTION, "## Counted, and timed on a CPU", _where(cpu["machine"]), table(cpu), *cpu.get("notes", [])]
    parts.append(ON_A_GPU)
    if "gpu" in found:
        gpu = found["gpu"]
        parts += ["### Steps in turn with plain ones", card.where(gpu["machine"]), card.table(gpu)]
    if "hollow" in found:
        parts += [HOLLOW, _where(found["hollow"]["machine"]), hollow_table(found["hollow"]["steps"])]
    if cpu["growth"]:
        parts += ["## Growth", "![cost and peak against LoRAs, size and steps](bench/growth.png)", _laws(cpu["growth"])]
    if cpu["setup"]:
        parts += ["## Beside the UNet", _beside(cpu)]
    if "page" in found:
        parts += ["## WebUI's page", _page(found["page"])]
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """# What composing costs

`python tasks.py bench-speed` writes `out/bench/speed.json` (`TIME_LIMIT=seconds` ends earlier), with `DEVICE=cuda` it
measures a GPU into `out/bench/speed-gpu.json`; this page is made from `docs/bench` by `python -m bench.speed.page`.

A ratio is to a plain picture of the same model with the LoRAs merged into its weights: 50 steps, two UNet rows each,
SD1.5 at 512 pixels and SDXL at 1024, weights random. LoRAs sit on all linear layers of the transformer blocks. The
real engine runs on a UNet without weights and every subject has a stripe of the picture for its region; FLOPs are
those of the UNet, the LoRAs' products and the gradient included, as its operations are called. A multiplication and
an addition are two: one plain row of SD1.5 is 803 GFLOP. The peak is the most bytes alive beside the UNet's weights
in the same trace, in half precision with a fused attention kernel, the LoRAs' factors included; an allocator takes
some more. SDXL is measured with the setting `map_level: quarter`, as it has no cross-attention at an eighth of the
latent.

CPU seconds are the process's own in float32, each kind of UNet call timed three times and summed by the schedule; an
empty column was not measured. The regions do not move here, so masks lock as early as the settings allow: in a
picture whose masks settle later, `balanced` costs more. A schedule is counted with the memory that the engine finds
in its first step; that first step itself may take one forward more. “memory 2” is the low-memory form of a profile that
has no limit of its own: at most 2 GiB beyond a plain picture, by running rows again in parts.

## The floor, and what was expected

Every pixel needs one conditional and one unconditional prediction a step, so 100 rows of SD1.5 are the floor of 50
steps, 1.2 % more with rank 16 worn by the pixel. The floor of an update is the backward from its last map to the
latent: the forward up to there is 0.50 of a row, backward costs 1.16 times as much, 0.58 of a row for each row that is
compared. The forward itself is not extra where its prediction is kept for the step. So for two LoRAs, with the schedule
that is counted here:

- `fast` differentiates one row in 20 steps, and its first step predicts one more: 102 rows and 20 * 0.58, 1.15 expected
  with the LoRAs.
- `balanced`: 11 steps of three differentiated rows and an unconditional one, the rest routed: 123 rows and 33 * 0.58,
  1.45 expected with the LoRAs. Its limit of 1 GiB differentiates in two parts, which runs one row to its last map
  again: 1.50.
- `paper`: 85 updates of three rows, of which 60 stop at the last map, and 126 more rows:
  (180 * 0.50 + 75 + 126 + 255 * 0.58) / 100, 4.45 expected with the LoRAs.
- Memory: the graph of a row saves 0.35 GiB, so three rows take 1.05 GiB and every further LoRA as much again; in parts,
  the largest part. No graph goes beyond the last map, not even in the first pass, which one row whose graph keeps
  nothing precedes to find that map and what a row would save: a graph of the whole UNet takes twice as much. Where
  not even one row fits, its inner layers keep their inputs alone and run again in the backward."""

ON_A_GPU = """## On a GPU

Whole pictures of SD1.5 at 512 pixels in float16, 50 steps, two LoRAs of rank 16, on one NVIDIA H200 with torch 2.11:
the seconds of single runs, as they were noted; the file of that run was not kept. `python tasks.py bench-speed
DEVICE=cuda` is one prepared run of twelve minutes: the tests of `tests/cuda`; then plain steps and ours in turn, called
and replayed, of SD1.5 and SDXL with two LoRAs and four, one picture at once and as many as keep the card busy; the
lines that wait for the device; whole pictures. What it has found when its time is up is kept. `DEVICE=cpu SIZE=tiny`
tries it without a GPU.

| profile | FLOPs | seconds | seconds against plain | peak over plain |
|---|---|---|---|---|
| plain | 1.00 x | 1.39 | 1.00 x | |
| balanced | 1.53 x | 4.82 | 3.46 x | +0.71 GiB |
| fast | 1.18 x | 6.68 | 4.80 x | +0.34 GiB |
| authors | 4.11 x | 5.50 | 3.95 x | +2.25 GiB |
| paper | 4.44 x | 10.50 | 7.55 x | +1.15 GiB |
| masks | 1.27 x | 3.26 | 2.34 x | +0.18 GiB |
| composite | 2.02 x | | 1.99 x | |
| switch | 1.01 x | | 1.47 x | |

**Seconds do not follow the FLOPs there.** A plain step is 12.0 ms of kernels, begun by 1194 launches, in 30 ms; a late
step of `fast` is 14.3 ms of kernels (1.19 times, as counted), begun by 1824 launches, in 105 ms. The GPU waits for
Python: small pictures on the largest of cards are bound by the host. A card an eighth as fast would wait less; none
was measured. Stacking the LoRAs' factors took a third of the operations of a routed step off (5360 to 3250 for two
LoRAs, 11228 to 3250 for eight), which is in these figures. Four pictures at once: `balanced` 6.37 x, `fast` 5.76 x,
`masks` 2.21 x of plain ones' 1.58 s, as their limit of 1 GiB parts the gradient into many groups."""

HOLLOW = """## Steps that wait for Python

`python tasks.py bench-speed HOLLOW=12` counts and times single steps of SD1.5 and SDXL whose layers are so narrow that
next to nothing is computed: what is left is calling the operations, and a fast GPU waits for that. LoRAs are as kohya
writes them, on SD1.5's 1x1 convolutions too. Plain is a step of two rows with none. “predict” is a late step of
`paper`, K + 1 branches and an unconditional row; “masks” one of the method `masks` before the lock; “late routed” one
after it. Operations are exact. Seconds are the least of some turns, each right after a plain step of the same process,
on a machine with much other work: a third more or less means nothing, and the counts are what to go by.

**The floor** of a late step: 96 linear layers and 32 convolutions of SD1.5 take one product down, one masking and one
adding up, the 64 layers of cross-attention two batched products, and each of its 16 one gathering and one putting back:
826 + 3 * 128 + 2 * 64 + 32 = 1370. Where q, k and v of self-attention share the product down and the masking it is 64
less, 1306 or 1.58 times a plain step, whatever the number of LoRAs. Before layers bound what they do it was 2.25 times
with two LoRAs and 3.67 with eight, whose convolutions went LoRA by LoRA."""


def _where(machine: dict[str, Any]) -> str:
    return f"{machine['device']}, {machine['threads']} threads, torch {machine['torch']}."


def _laws(found: dict[str, Any]) -> str:
    """One line per profile: a + b K of FLOPs and of memory."""
    cost, memory = law(found["k"], "k", "flops_ratio"), law(found["k"], "k", "peak_bytes")
    rows = ["| profile | FLOPs of K LoRAs, times a plain picture | peak of K LoRAs |", "|---|---|---|"]
    for profile, (base, slope) in cost.items():
        low, each = memory[profile]
        rows.append(f"| {profile} | {base:.2f} + {slope:.2f} K | {low / GIB:.2f} + {each / GIB:.2f} K GiB |")
    return "\n".join(rows)


def _beside(data: dict[str, Any]) -> str:
    ready = data["setup"]
    setup = (
        f"From a request to the first UNet call on the tiny world: {ready['clora_first_seconds']:.2f} s composed, "
        f"{ready['merge_first_seconds']:.2f} s merged, for the first picture; {ready['clora_second_seconds']:.2f} and "
        f"{ready['merge_second_seconds']:.2f} s after that."
    )
    over = data["overhead"]
    lead = (
        f"A step of `{over['profile']}` on the tiny world takes {over['step_ms']:.0f} ms under the profiler, "
        f"{over['own_ms_per_step']:.1f} ms of them in our own functions (torch's operations that they call included):"
    )
    rows = ["| function | calls | ms a step |", "|---|---|---|"]
    rows += [f"| `{one['function']}` | {one['calls']} | {one['ms_per_step']:.2f} |" for one in over["top"]]
    return "\n\n".join([setup, lead, "\n".join(rows)])


def _page(data: dict[str, Any]) -> str:
    load, picture = data["load"], data["plain_picture"]
    seconds = load["without_us"] / 1000
    return (
        "In Chromium and over the API, against a WebUI without this extension, in turn (`python tasks.py bench-page`;\n"
        f"medians of {data['times']}): {load['added']:.0f} ms more to load the page of {seconds:.1f} s, "
        f"{data['typing']:.0f} ms from a key to a panel that follows it at\n300 words, and "
        f"{picture['added']:+.0f} ms on {picture['without_us']:.0f} for a plain picture with the extension "
        "installed and off."
    )


def read() -> dict[str, dict[str, Any]]:
    """The data of the files that were kept."""
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in FILES.items() if path.is_file()}


def main() -> None:
    """Write the page and its picture."""
    found = read()
    if found["cpu"]["growth"]:
        plot(found["cpu"]["growth"], DOCS / "bench" / "growth.png")
    (DOCS / "benchmarks.md").write_text(text(found), encoding="utf-8")


if __name__ == "__main__":
    main()
