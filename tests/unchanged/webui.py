"""The jobs through the real WebUI, and what its routes answer."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.unchanged.jobs import KINDS, Job
from tests.unchanged.record import of_report, picture_sha1
from tests.webui.conftest import OVERRIDDEN
from tests.webui.server import Setup, WebUI, WebUIError, find_webui
from tests.webui.world import tiny_world

CHECKOUT = Path(__file__).resolve().parents[2]


def drawn(jobs: Iterable[Job]) -> Iterator[tuple[str, Any]]:
    """Name and record of every job, and of every route."""
    folder = find_webui()
    if folder is None:
        print("There is no WebUI here: set WEBUI_DIR to a checkout of AUTOMATIC1111 WebUI 1.10.1.")
        return
    settings = OVERRIDDEN | {"sd_lora": "None"}
    with WebUI(Setup(webui=folder, model=tiny_world(), extensions=(CHECKOUT,), settings=settings)) as host:
        for job in jobs:
            yield job.name, _record(host, job)
        yield from _routes(host)


def _record(host: WebUI, job: Job) -> dict[str, Any]:
    asked = {
        "prompt": job.prompt, "negative_prompt": job.negative, "seed": job.seeds[0], "batch_size": len(job.seeds),
        "steps": job.steps, "cfg_scale": job.cfg_scale, "width": job.width, "height": job.height,
        "sampler_name": "DDIM", "alwayson_scripts": {"CLoRA": {"args": [dict(job.fields)]}}, **job.host,
    }  # fmt: skip
    try:
        result = host.txt2img(**asked)
    except WebUIError as error:
        return {"error": str(error), "status": error.status, "report": _last(host)}
    pictures = [picture_sha1(image) for image in result.images]
    return {"pictures": pictures, "infotexts": list(result.infotexts), "report": _last(host)}


def _last(host: WebUI) -> Any:
    answer = host.get("/clora/v1/last")
    return of_report(answer.json()) if answer.ok else answer.status_code


def _routes(host: WebUI) -> Iterator[tuple[str, Any]]:
    for route in ("schema", "version", "presets", "masks"):
        yield f"GET {route}", host.get(f"/clora/v1/{route}").json()
    for kind, prompt in KINDS.items():
        for profile in ("balanced", "fast", "paper", "authors"):
            for method in ("clora", "masks", "switch", "composite", "merge"):
                asked = {"prompt": prompt, "steps": 12, "clora": {"profile": profile, "method": method}}
                yield f"estimate {kind} {profile} {method}", host.post("/clora/v1/estimate", asked).json()
        yield f"tokenize {kind}", host.post("/clora/v1/tokenize", {"prompt": prompt}).json()
    for prompt in ("a cat", "a cat and a dog <lora:tuxcat:1> <lora:nobody:1>", "a tree <lora:tuxcat:1>", "<lora:x"):
        yield f"tokenize {prompt}", host.post("/clora/v1/tokenize", {"prompt": prompt}).json()
    saved = host.put("/clora/v1/presets/mine", {"profile": "paper", "step_size": 3, "overlap": "soft"})
    yield "PUT preset", saved.json()
    yield "PUT bad preset", host.put("/clora/v1/presets/mine", {"step_sise": 3}).json()
    yield "DELETE preset", host.delete("/clora/v1/presets/mine").json()
    yield "DELETE no preset", host.delete("/clora/v1/presets/mine").json()
