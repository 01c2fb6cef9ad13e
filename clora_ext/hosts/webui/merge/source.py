"""What layers are given while each LoRA of a merge draws alone, on the model that WebUI has loaded."""

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import k_diffusion.sampling
from modules import devices, lowvram, processing, prompt_parser, sd_models, shared
from modules.sd_samplers_kdiffusion import KDiffusionSampler
from torch import Tensor

from clora_ext.batch.conditions import Condition, stacked
from clora_ext.batch.plan import Columns
from clora_ext.core.maps import Grid
from clora_ext.engine import device
from clora_ext.errors import HostError
from clora_ext.hosts.webui.drive.conditions import condition_of, model_arguments
from clora_ext.hosts.webui.drive.families import predicts_velocity
from clora_ext.hosts.webui.drive.loaded_model import LoadedCheckpoint
from clora_ext.hosts.webui.drive.networks import take_off_networks
from clora_ext.hosts.webui.drive.obstacles import require_no_obstacle
from clora_ext.hosts.webui.drive.shortcuts import shortcuts_off
from clora_ext.hosts.webui.drive.tokens import columns_of, contents
from clora_ext.hosts.webui.merge.layers import model_layers, own_size
from clora_ext.merge.layer import LayerDelta
from clora_ext.merge.learnt import Learnt
from clora_ext.merge.lessons import Lessons, Pictures
from clora_ext.merge.prompted import PromptedSource
from clora_ext.merge.prompts import PROMPTS, Prompts
from clora_ext.merge.run import See, Stage

_SAMPLER = "sample_dpmpp_2m"
"""k-diffusion's name of ``merge.prompted.SAMPLER``."""


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
        super().__init__(triggers, prompts, size or own_size(shared.sd_model), on_step)
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

    def pictures(self, lora: int, own: Mapping[str, LayerDelta], tell: Callable[[], None]) -> Pictures:
        """As ``PromptedSource`` has it."""
        with self._alone():
            return super().pictures(lora, own, tell)

    def noised(
        self, lora: int, own: Mapping[str, LayerDelta], clean: Iterable[Tensor], tell: Callable[[], None]
    ) -> Lessons:
        """As ``PromptedSource`` has it."""
        with self._alone():
            return super().noised(lora, own, clean, tell)

    @contextmanager
    def learning(self, learnt: Mapping[str, Learnt], fixed: Mapping[str, LayerDelta]) -> Generator[None, None, None]:
        """As ``PromptedSource`` has it."""
        with self._alone(), _texts_with_graph(), super().learning(learnt, fixed):
            yield

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

    def encode_all(self, written: Sequence[str]) -> list[Condition]:
        """By the host's conditioner, with its emphasis and clip skip."""
        return self._encoded(written, are_negative=False)

    def nothing(self) -> Condition:
        """By the same, as a negative prompt."""
        return self._encoded([""], are_negative=True)[0]

    def _encoded(self, written: Sequence[str], *, are_negative: bool) -> list[Condition]:
        height, width = self.size
        asked = prompt_parser.SdConditioning(written, is_negative_prompt=are_negative, width=width, height=height)
        with devices.autocast():
            found = shared.sd_model.get_learned_conditioning(asked)
        return [condition_of(found, row) for row in range(len(written))]

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
        with _computing():
            k_diffusion.sampling.sample_dpmpp_2m(
                wrapped, latent, sigmas, {"cond": arguments}, lambda _: self.on_step(), disable=True
            )

    def predict(self, z: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """By the host's model, as its samplers call it."""
        height, width = self.size
        image = processing.txt2img_image_conditioning(shared.sd_model, z.detach(), width, height)
        with _computing():
            found: Tensor = shared.sd_model.apply_model(z, timesteps, model_arguments(condition, image))
        return found.float()

    @property
    def alphas_cumprod(self) -> Tensor:
        """The model's, with the host's override."""
        found: Tensor = shared.sd_model.alphas_cumprod
        return found

    @property
    def predicts_velocity(self) -> bool:
        """As the host has loaded the model."""
        return predicts_velocity(shared.sd_model)

    @property
    def room(self) -> float | None:
        """What torch tells of the device."""
        return device.free_bytes(self.device)


def _computing() -> AbstractContextManager[object]:
    """What the UNet is called in."""
    return devices.without_autocast() if devices.unet_needs_upcast else devices.autocast()


@contextmanager
def _texts_with_graph() -> Generator[None, None, None]:
    """While inside, SDXL's conditioner encodes with a graph where one is asked for (sgm's GeneralConditioner)."""
    with ExitStack() as stack:
        for encoder in getattr(getattr(shared.sd_model, "conditioner", None), "embedders", ()):
            stack.callback(setattr, encoder, "is_trainable", encoder.is_trainable)
            encoder.is_trainable = True
        yield
