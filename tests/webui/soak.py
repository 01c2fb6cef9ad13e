"""Many mixed jobs against one real WebUI process: ``python -m tests.webui.soak --jobs 1000``.

Every job is one of a few dozen, drawn once on a fresh process before; in any order and after any other, its pictures
must be those. Refused and broken jobs are among them. Told at the end: pictures that were others, hooks that were left,
how far resident memory and the seconds of a job went after the first tenth.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from PIL import Image

from tests.webui.conftest import CHECKOUT, OVERRIDDEN, PROBE
from tests.webui.faults import counts, resident
from tests.webui.jobs import BINDINGS, PROMPT, SMALL, TAGGED, compose, draw, fields
from tests.webui.parity import random_model
from tests.webui.server import Setup, WebUI, WebUIError, find_webui

JOBS = 1000
MOST_DRIFT = 0.02
"""Share by which resident memory may grow after the first tenth."""
MOST_SLOWER = 1.5
"""Times by which the median job may be slower in the last fifth than in the second."""

Drawn = tuple[str, ...]
Job = Callable[[WebUI], Drawn]


def _composed(wanted: Mapping[str, Any], payload: Mapping[str, Any]) -> Job:
    return lambda host: compose(host, wanted, **{**SMALL, **payload}).sha1s


def _half() -> Image.Image:
    """White where it is inpainted."""
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    return mask


def _from_image(mask: Image.Image | None) -> Job:
    """Drawn twice, for the second: WebUI encodes an image by noise that depends on what was drawn before."""
    grey = Image.new("RGB", (64, 64), (120, 140, 90))
    payload = {**SMALL, "prompt": PROMPT, **fields(bindings=list(BINDINGS))}
    return lambda host: [host.img2img(grey, mask, **payload).sha1s for _ in range(2)][-1]


def _plain(prompt: str, seed: int) -> Job:
    return lambda host: draw(host, prompt=prompt, seed=seed, **SMALL).sha1s


def _refused(host: WebUI) -> Drawn:
    try:
        compose(host, {"bindings": [{**BINDINGS[0], "subject": "horse"}, BINDINGS[1]]}, **SMALL)
    except WebUIError as error:
        return (str(error.status),)
    return ()


def _broken(host: WebUI) -> Drawn:
    host.post("/probe/unet", {"call": 2, "act": "raise"}).raise_for_status()
    try:
        compose(host, **SMALL)
    except WebUIError as error:
        return (str(error.status),)
    return ()


def mixed_jobs() -> dict[str, Job]:
    """The jobs by name."""
    jobs: dict[str, Job] = {"refused": _refused, "broken": _broken}
    for seed in (1, 2, 3):
        jobs[f"plain {seed}"] = _plain("a cat and a dog", seed)
        jobs[f"plain with LoRAs {seed}"] = _plain(TAGGED, seed)
        for method in ("clora", "masks", "composite", "switch", "merge"):
            jobs[f"{method} {seed}"] = _composed({"method": method}, {"seed": seed})
        for profile in ("fast", "authors"):
            jobs[f"{profile} {seed}"] = _composed({"profile": profile}, {"seed": seed})
    for sampler in ("DDIM", "Euler a", "DPM++ 2M SDE", "DPM2 a", "UniPC", "LMS"):
        jobs[sampler] = _composed({}, {"sampler_name": sampler, "steps": 4})
    jobs["batch"] = _composed({"show_masks": True}, {"batch_size": 2, "n_iter": 2})
    jobs["wide"] = _composed({}, {"width": 128})
    jobs["hires"] = _composed(
        {}, {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7}
    )
    jobs["img2img"] = _from_image(None)
    jobs["inpaint"] = _from_image(_half())
    return jobs


@dataclass(slots=True)
class Soaked:
    """What the jobs came to."""

    seconds: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    """Bytes after every job."""
    wrong: list[str] = field(default_factory=list)

    @property
    def drift(self) -> float:
        """Share by which resident memory grew after the first tenth: medians, for one job takes more than another."""
        tenth = max(1, len(self.memory) // 10)
        return median(self.memory[-tenth:]) / median(self.memory[tenth : 2 * tenth] or self.memory) - 1

    @property
    def slower(self) -> float:
        """How many times longer a job takes in the last fifth than in the second."""
        fifth = max(1, len(self.seconds) // 5)
        return median(self.seconds[-fifth:]) / median(self.seconds[fifth : 2 * fifth] or self.seconds)


def soak(host: WebUI, names: Sequence[str], expected: Mapping[str, Drawn], before: Mapping[str, Any]) -> Soaked:
    """Draw the jobs of ``names`` and compare with what is ``expected`` and with the counts of ``before``."""
    jobs, found = mixed_jobs(), Soaked()
    for number, name in enumerate(names):
        began = time.monotonic()
        drawn = jobs[name](host)
        found.seconds.append(time.monotonic() - began)
        found.memory.append(resident(host))
        if drawn != expected[name]:
            found.wrong.append(f"job {number} ({name}) drew {drawn} instead of {expected[name]}")
        left = {**counts(host), "worn": []}
        if left != before:
            found.wrong.append(f"job {number} ({name}) left {left} instead of {before}")
    return found


def told(found: Soaked) -> str:
    """The figures in one line."""
    return (
        f"soak: {len(found.seconds)} jobs, {len(found.wrong)} wrong, resident memory {100 * found.drift:+.1f} % after "
        f"the first tenth, {found.slower:.2f} times as long in the last fifth"
    )


def run(number: int, seed: int) -> int:
    """Boot, learn what each job draws, draw ``number`` of them in any order; the exit status."""
    webui = find_webui()
    if webui is None:
        raise SystemExit("No WebUI here: set WEBUI_DIR to a checkout of AUTOMATIC1111 WebUI 1.10.1.")
    names = list(mixed_jobs())
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(webui, random_model(Path(folder)), (CHECKOUT, PROBE), ui=False, settings=OVERRIDDEN)
        with WebUI(setup) as host:
            draw(host, **SMALL)
            before = counts(host)
            expected = {name: job(host) for name, job in mixed_jobs().items()}
            order = Random(seed).choices(names, k=number)
            found = soak(host, order, expected, before)
    print("\n".join(found.wrong))
    print(told(found))
    return int(bool(found.wrong) or found.drift > MOST_DRIFT or found.slower > MOST_SLOWER)


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--seed", type=int, default=1, help="of the order of the jobs")
    arguments = parser.parse_args()
    return run(arguments.jobs, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
