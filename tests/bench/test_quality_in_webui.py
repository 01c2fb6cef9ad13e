"""The cases that both hosts draw: what the API is asked for is what the embedded host draws."""

from dataclasses import replace

import pytest

from bench.quality import folder, prompts
from bench.quality.draw import bound, weighed
from bench.quality.in_webui import payload
from bench.quality.jobs import Job, interleaved, seeds_of
from bench.quality.methods import table
from clora_ext.hosts.diffusers.library import Library
from clora_ext.settings.request import read_request

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
