"""What layers are given while each LoRA of a merge draws alone, in the embedded host."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from clora_ext.batch.conditions import Condition, stacked
from clora_ext.batch.plan import Columns
from clora_ext.batch.rows import Half, Row
from clora_ext.core.maps import Grid
from clora_ext.engine import device
from clora_ext.hosts.diffusers import texts
from clora_ext.hosts.diffusers.checkpoint import Model
from clora_ext.hosts.diffusers.host import EmbeddedDenoiser, EncodedTexts
from clora_ext.hosts.diffusers.samplers import SAMPLERS, Sampler
from clora_ext.lora.layers import text_layers, unet_layers
from clora_ext.merge.prompted import SAMPLER, PromptedSource
from clora_ext.merge.prompts import PROMPTS, Prompts


class DrawnFeatures(PromptedSource):
    """Meets ``merge.work.MergeModel`` with ``model``; see ``PromptedSource``."""

    def __init__(
        self,
        model: Model,
        triggers: Sequence[str],
        prompts: Prompts = PROMPTS,
        steps: int = 20,
        size: Grid | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(triggers, prompts, size or (model.size, model.size), on_step)
        self.model, self.steps = model, steps
        self.device, self.dtype, self.family = model.device, model.dtype, model.family.value
        encoders = text_layers([encoder.network for encoder in model.text_encoders])
        self.modules = encoders | unet_layers(model.unet, model.unet_names)
        self.is_quick = self.device.type == "cpu" and self.dtype is torch.float32 and _has_bfloat16()
        """Whether predictions are worked out in bfloat16; what is learnt stays in single precision."""

    @property
    def weights(self) -> dict[str, Tensor]:
        """Of all layers, by the same names."""
        return {name: cast(Tensor, module.weight).detach() for name, module in self.modules.items()}

    def encode_all(self, written: Sequence[str]) -> list[Condition]:
        """By the model's text encoders."""
        tokens = [texts.tokenize(self.model, text) for text in written]
        parts = [texts.encode_tokens(encoder, tokens) for encoder in self.model.text_encoders]
        joined = [texts.side_by_side(each) for each in zip(*parts, strict=True)]
        return [texts.text_condition(self.model, text, self.size) for text in joined]

    def nothing(self) -> Condition:
        """For SDXL all zeros, as in a picture."""
        found = self.encode("")
        return found if found.pooled is None else replace(found, tokens=0.0 * found.tokens, pooled=0.0 * found.pooled)

    def concept(self, text: str, trigger: str) -> tuple[Columns, int]:
        """By the tokenizer's places."""
        tokens = texts.tokenize(self.model, text)
        start = text.find(trigger)
        columns = tokens.columns([(start, start + len(trigger))]) if trigger else ()
        return columns, len(tokens.offsets) + 1

    def draw(self, written: Sequence[str], noise: Tensor) -> None:
        """By diffusers' sampler."""
        condition = stacked(self.encode_all(written))
        sampler = Sampler(SAMPLERS[SAMPLER](self.model, self.steps), ())
        latent = sampler.begin(noise.to(self.device))
        rows = [Row(image, 0, Half.COND) for image in range(len(written))]
        for call, timestep in enumerate(sampler.calls):
            denoiser = EmbeddedDenoiser(self.model, EncodedTexts({}), timestep)
            predicted = denoiser.predict(sampler.z_of(latent, call), rows, condition)
            latent = sampler.step(predicted, latent, call)
            self.on_step()

    def predict(self, z: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """By diffusers' UNet, on a CPU that has bfloat16 in that."""
        rows = [Row(image, 0, Half.COND) for image in range(len(z))]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_quick):
            return EmbeddedDenoiser(self.model, EncodedTexts({}), timesteps).predict(z, rows, condition).float()

    @property
    def alphas_cumprod(self) -> Tensor:
        """The model's."""
        return self.model.alphas_cumprod

    @property
    def predicts_velocity(self) -> bool:
        """By its files, or as was said."""
        return self.model.prediction == "v_prediction"

    @property
    def room(self) -> float | None:
        """What torch tells of the device."""
        return device.free_bytes(self.device)


def _has_bfloat16() -> bool:
    """Whether this CPU multiplies in it faster."""
    found: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 - as torch's own tests ask
    return found
