"""The cases that both hosts draw: what the API is asked for is what the embedded host draws."""

from dataclasses import replace

import pytest

from bench.quality import folder, prompts
from bench.quality.draw import bound, weighed
from bench.quality.in_webui import chosen_jobs, model_of, payload
from bench.quality.jobs import Job, interleaved, seeds_of
from bench.quality.methods import table
from clora_ext.hosts.diffusers.library import Library
from clora_ext.settings.request import read_request
from tiny_world.worlds import FIRST, XL, World

REPORTED = prompts.read(prompts.REPORTED)


@pytest.mark.world
@pytest.mark.parametrize("prompt", list(interleaved(REPORTED.prompts))[:20], ids=lambda prompt: prompt.id)
def test_the_api_is_asked_for_what_the_embedded_host_draws(prompt: prompts.Prompt) -> None:
    row = replace(table()["balanced"], weight=0.9, knobs={"mask_threshold": 0.42})
    job = Job(prompt, row, seeds_of(prompt, 1), REPORTED.sampling)
    bindings = weighed(job, bound(Library(*folder.tiny_world().loras), job))
    body = payload(job, bindings)
    (fields,) = body["alwayson_scripts"]["CLoRA"]["args"]
    asked = read_request(fields)
    assert asked.settings == row.settings
    assert asked.bindings == bindings
    assert {binding.weight for binding in asked.bindings} == {0.9}
    assert body["seed"] == job.seeds[0]
    assert (body["steps"], body["cfg_scale"]) == (REPORTED.sampling.steps, REPORTED.sampling.cfg_scale)


@pytest.mark.parametrize("world", [FIRST, XL], ids=lambda world: world.name)
def test_the_cases_are_a_worlds_own(world: World) -> None:
    jobs = chosen_jobs(world, "balanced", 20)
    assert len(jobs) == 20
    assert {job.sampling.width for job in jobs} == {world.size}
    assert len({job.prompt.split for job in jobs}) == 7
    endings = tuple(one.ending for one in world.sets)
    assert all(lora.endswith(endings) for job in jobs for lora in job.loras)


def test_the_webui_gets_the_files_that_the_embedded_host_reads() -> None:
    subject = folder.tiny_world()
    model = model_of(subject)
    assert (model.checkpoint, model.config, model.tokenizer) == (subject.checkpoint, subject.config, subject.tokenizer)
    assert {path.stem for path in model.loras} == set(subject.lora_hashes())
