"""What layers are given while each LoRA of a merge draws alone, on the model that WebUI has loaded."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import k_diffusion.sampling
from modules import devices, lowvram, processing, prompt_parser, sd_models, shared
from modules.sd_samplers_kdiffusion import KDiffusionSampler
from torch import Tensor

from clora_ext.batch.conditions import Condition, stacked
from clora_ext.batch.plan import Columns
from clora_ext.core.maps import Grid
from clora_ext.errors import HostError
from clora_ext.hosts.webui.drive.conditions import condition_of, model_arguments
from clora_ext.hosts.webui.drive.loaded_model import LoadedCheckpoint
from clora_ext.hosts.webui.drive.networks import take_off_networks
from clora_ext.hosts.webui.drive.obstacles import require_no_obstacle
from clora_ext.hosts.webui.drive.shortcuts import shortcuts_off
from clora_ext.hosts.webui.drive.tokens import columns_of, contents
from clora_ext.hosts.webui.merge.layers import model_layers
from clora_ext.merge.layer import LayerDelta
from clora_ext.merge.prompted import PromptedSource
from clora_ext.merge.prompts import PROMPTS, Prompts
from clora_ext.merge.run import See, Stage

_SAMPLER = "sample_dpmpp_2m"
"""k-diffusion's name of ``merge.prompted.SAMPLER``."""
_XL_SIZE = 1024
"""Pixels of a side of SDXL, whose yaml does not say."""


class LoadedModel(PromptedSource):
    """Meets ``merge.run.Source`` with the checkpoint that WebUI's next picture would be drawn with.

    The host is to draw nothing else while a merge runs: whoever makes one holds its queue. It has no network on
    afterwards, as after a job. Raises ``HostError`` for a checkpoint on which nothing can be merged.
    """

    def __init__(
        self,
        triggers: Sequence[str],
        prompts: Prompts = PROMPTS,
        steps: int = 20,
        size: Grid | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        sd_models.reload_model_weights()
        require_no_obstacle(None)
        take_off_networks()
        side = 8 * getattr(shared.sd_model, "image_size", _XL_SIZE // 8)
        super().__init__(triggers, prompts, size or (side, side), on_step)
        self.steps = steps
        self.device, self.dtype = devices.device, devices.dtype_unet
        self._loaded = LoadedCheckpoint.now()
        self._found = model_layers(shared.sd_model)
        self.modules, self.tokens_first = self._found.modules, self._found.tokens_first

    @property
    def family(self) -> str | None:
        """What the checkpoint is, in words."""
        return self._loaded.family

    @property
    def weights(self) -> dict[str, Tensor]:
        """The layers' own by name, wherever the host keeps them."""
        return self._found.weights

    def show(
        self, stage: Stage, lora: int, active: Mapping[str, LayerDelta], watched: Collection[str], see: See
    ) -> None:
        """As ``merge.run.Source`` has it; what is seen is reckoned in single precision."""

        def see_exactly(layer: str, x: Tensor, held: bool) -> None:  # noqa: FBT001 - told by position
            with devices.without_autocast():
                see(layer, x, held)

        with self._alone():
            super().show(stage, lora, active, watched, see_exactly)

    @contextmanager
    def _alone(self) -> Generator[None, None, None]:
        """While inside, nothing but the deltas that are asked for changes what the model does."""
        if LoadedCheckpoint.now() != self._loaded:
            msg = (
                f"The checkpoint was changed while LoRAs were merged on {self._loaded.name}; load that and merge again."
            )
            raise HostError(msg, field="sd_model_checkpoint")
        take_off_networks()
        sd_models.apply_alpha_schedule_override(shared.sd_model)
        with ExitStack() as stack:
            stack.enter_context(shortcuts_off())
            for attention in self._found.attentions:
                stack.enter_context(attention.split())
            try:
                yield
            finally:
                if lowvram.is_enabled(shared.sd_model):
                    lowvram.send_everything_to_cpu()
                devices.torch_gc()

    def encode(self, text: str) -> Condition:
        """By the host's conditioner, with its emphasis and clip skip."""
        height, width = self.size
        asked = prompt_parser.SdConditioning([text], width=width, height=height)
        with devices.autocast():
            return condition_of(shared.sd_model.get_learned_conditioning(asked), 0)

    def concept(self, text: str, trigger: str) -> tuple[Columns, int]:
        """By the host's chunks."""
        placed = contents(text)
        start = text.find(trigger)
        columns = columns_of(text, text, [(start, start + len(trigger))]) if trigger else ()
        return columns, placed[-1][1] + 1 if placed else 1

    def draw(self, written: Sequence[str], noise: Tensor) -> None:
        """By k-diffusion's sampler and the host's wrapper of the model, without its guidance and its callbacks."""
        model, latent = shared.sd_model, noise.to(self.device)
        height, width = self.size
        condition = stacked([self.encode(text) for text in written])
        arguments = model_arguments(condition, processing.txt2img_image_conditioning(model, latent, width, height))
        wrapped = KDiffusionSampler(_SAMPLER, model).model_wrap
        least, most = float(wrapped.sigmas[0]), float(wrapped.sigmas[-1])
        sigmas = k_diffusion.sampling.get_sigmas_karras(self.steps, least, most)
        latent = latent * (1.0 + sigmas[0] ** 2) ** 0.5  # all that the model sees at first is the noise, of size 1
        with devices.without_autocast() if devices.unet_needs_upcast else devices.autocast():
            k_diffusion.sampling.sample_dpmpp_2m(
                wrapped, latent, sigmas, {"cond": arguments}, lambda _: self.on_step(), disable=True
            )
