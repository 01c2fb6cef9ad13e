"""For tests only: what ControlNet and others do to a job, while it is asked for.

- `POST /probe/neighbour {"does": ["mark"]}`: each text gets a token in front, which the UNet's `forward` takes off.
- `"words"`: each text gets a token behind that is no mark. `"attention"`: cross-attention gets another `forward`.
- `"part"`: the left half of every picture is redrawn by a job of its own, as ADetailer does; with `"whole"` all of it,
  without a mask, and with `"other"` another picture.
- `"call"`: the model is called once more when it has answered, as Self Attention Guidance does.
- `GET /probe/neighbour`: how often its `forward` was called and how often it has called the model, and whether it has
  been told of the end of the last job.
"""

from typing import Any

import torch
from fastapi import Body, FastAPI
from modules import processing, prompt_parser, script_callbacks, scripts, shared
from PIL import Image

MARK = 1024.0
does: list[str] = []
seen = {"forward": 0, "calls": 0, "ended": False}
given: dict[str, Any] = {}


def with_token(schedule: Any, sign: float) -> Any:
    """One scheduled text with a token more."""
    cond = schedule.cond
    if "mark" in does:
        cond = torch.cat([torch.full_like(cond[:1], sign * MARK), cond])
    if "words" in does:
        cond = torch.cat([cond, cond[1:2]])
    return prompt_parser.ScheduledPromptConditioning(schedule.end_at_step, cond)


def change_texts(conditioning: Any, unconditional: Any) -> None:
    for parts in conditioning.batch:
        for part in parts:
            part.schedules = [with_token(each, 1.0) for each in part.schedules]
    unconditional[:] = [[with_token(each, -1.0) for each in schedules] for schedules in unconditional]


def cross_attention() -> list[Any]:
    layers = shared.sd_model.model.diffusion_model.named_modules()
    return [layer for name, layer in layers if name.endswith("attn2")]


def keep_inputs(params: Any) -> None:
    given.update(x=params.x[-1:], sigma=params.sigma[-1:], text=params.text_uncond, image=params.image_cond[-1:])


def call_model(params: Any) -> None:
    if "call" in does:
        cond = {"c_crossattn": [given["text"]], "c_concat": [given["image"]]}
        params.inner_model(given["x"], given["sigma"], cond=cond)
        seen["calls"] += 1


def redrawn(p: Any, picture: Image.Image) -> Image.Image:
    """The picture of job ``p`` after a job without scripts has drawn on it."""
    mask = Image.new("L", picture.size)
    mask.paste(255, (0, 0, picture.width // 2, picture.height))
    given = picture.rotate(180) if "other" in does else picture
    inner = processing.StableDiffusionProcessingImg2Img(
        init_images=[given],
        mask=None if "whole" in does else mask,
        prompt=p.all_prompts[p.batch_index],
        seed=p.seed,
        sampler_name=p.sampler_name,
        steps=p.steps,
        width=p.width,
        height=p.height,
        denoising_strength=0.5,
        inpainting_fill=1,
        inpaint_full_res=False,
        do_not_save_samples=True,
        do_not_save_grid=True,
    )
    return processing.process_images(inner).images[0]


class Neighbour(scripts.Script):
    """Does to a job what is asked for, and undoes it when it is told of its end."""

    def title(self) -> str:
        return "Probe: neighbour"

    def show(self, is_img2img: bool) -> object:
        return scripts.AlwaysVisible

    def process(self, p: Any, *_: Any) -> None:
        seen.update(forward=0, calls=0, ended=False)
        if does:
            p.cached_c, p.cached_uc = [None, None], [None, None]
        if "mark" in does or "words" in does:
            self.take_sample(p)
        if "mark" in does:
            self.take_forward()
        if "attention" in does:
            for layer in cross_attention():
                layer.forward = lambda *args, layer=layer, **kwargs: type(layer).forward(layer, *args, **kwargs)

    def postprocess_image(self, p: Any, pp: Any, *_: Any) -> None:
        if "part" in does:
            pp.image = redrawn(p, pp.image)

    def take_sample(self, p: Any) -> None:
        original = p.sample

        def sample(*args: Any, **kwargs: Any) -> Any:
            change_texts(kwargs["conditioning"], kwargs["unconditional_conditioning"])
            return original(*args, **kwargs)

        p.sample = sample

    def take_forward(self) -> None:
        unet = shared.sd_model.model.diffusion_model

        def forward(x: Any, timesteps: Any = None, context: Any = None, **kwargs: Any) -> Any:
            seen["forward"] += 1
            marks = context[:, 0].mean(dim=1)
            assert set(marks.tolist()) <= {MARK, -MARK}, "every row has its mark"
            return type(unet).forward(unet, x, timesteps, context[:, 1:], **kwargs)

        unet.forward = forward

    def postprocess(self, p: Any, processed: Any, *_: Any) -> None:
        seen["ended"] = True
        unet = shared.sd_model.model.diffusion_model
        if "forward" in vars(unet):
            unet.forward = type(unet).forward.__get__(unet)  # as ControlNet does
        for layer in cross_attention():
            vars(layer).pop("forward", None)


def add_routes(_demo: Any, app: FastAPI) -> None:
    """Register the routes."""

    @app.post("/probe/neighbour")
    def switch(wanted: list[str] = Body(embed=True, alias="does")) -> None:  # noqa: B008
        does[:] = wanted

    @app.get("/probe/neighbour")
    def told() -> dict[str, Any]:
        return seen


script_callbacks.on_app_started(add_routes)
script_callbacks.on_cfg_denoiser(keep_inputs)
script_callbacks.on_cfg_denoised(call_model)
