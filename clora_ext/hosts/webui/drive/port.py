"""WebUI as the engine's host, for one job."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from modules import devices, sd_samplers_common, shared
from torch import nn

from clora_ext.batch.plan import Columns
from clora_ext.engine import device
from clora_ext.engine.branches import ActiveLora, Branches
from clora_ext.engine.port import TextForms
from clora_ext.engine.report import StepReport
from clora_ext.hosts.webui.drive import catalogue, conditions, networks, tokens
from clora_ext.hosts.webui.drive.progress_clock import ProgressClock
from clora_ext.hosts.webui.drive.sampling_pass import SamplingPass
from clora_ext.hosts.webui.options import option
from clora_ext.lora.deltas import Delta
from clora_ext.lora.routing import Deltas
from clora_ext.prompt import LoraFacts, Span


class WebUIHost:
    """Meets ``engine.port.Host`` for one pass of a job; ``load`` its LoRAs before their deltas are asked for."""

    adds_everywhere = True

    def __init__(self, sampling: SamplingPass) -> None:
        self.sampling = sampling
        self.nets: dict[str, Any] = {}
        self.everywhere: list[Any] = []
        """The host's networks of LoRAs that it applies to all rows."""
        self.written: dict[str, float] = {}
        """The strengths in the UNet that the host has given the LoRAs' networks, by name."""
        self.notes: list[str] = []
        """What of the LoRAs' files is left out."""
        self.host_branch = 0
        """The branch that the host's own rows stand for."""
        self.clock = ProgressClock(shared.state)
        """What makes the remaining time right that the host tells."""

    def load(self, branches: Branches, host_branch: int) -> None:
        """Load the LoRAs of ``branches``. Raises ``LoraError`` for a misfit."""
        names = [lora.name for lora in (*branches.all_unet_loras, *branches.everywhere)]
        self.notes = []
        self.nets = networks.load_networks(dict.fromkeys(names), self.notes.append)
        self.everywhere = [self.nets[lora.name] for lora in branches.everywhere]
        self.host_branch = host_branch

    @property
    def unet(self) -> nn.Module:
        """Of the loaded checkpoint."""
        found: nn.Module = shared.sd_model.model.diffusion_model
        return found

    @property
    def device(self) -> torch.device:
        """Where the host computes."""
        found: torch.device = devices.device
        return found

    def facts(self, lora: str) -> LoraFacts:
        """From the LoRA's metadata and the user's notes."""
        return catalogue.lora_facts(lora)

    def text_forms(self, text: str) -> TextForms:
        """The stages of a prompt that is edited while sampling, counted in model calls."""
        return tokens.text_forms(text, self.sampling.calls, self.sampling.hires_calls)

    def columns(self, text: str, form: str, spans: Sequence[Span]) -> Columns:
        """By the host's chunker."""
        return tokens.columns_of(text, form, spans)

    def encode(self, branches: Sequence[Branches]) -> conditions.Schedules:
        """The branches whose text, or whose text encoders' LoRAs, are not those of the host's own rows."""
        first = branches[0]
        own = first.texts[self.host_branch], first.text_loras[self.host_branch]
        other = [branch for branch in first.texts if (first.texts[branch], first.text_loras[branch]) != own]
        texts = {branch: [each.texts[branch] for each in branches] for branch in other}
        return conditions.encode_texts(texts, first.text_loras, self.nets, self.everywhere, self.sampling)

    def deltas(self, loras: Sequence[ActiveLora]) -> Deltas:
        """Against the weights that the layers have with the LoRAs that are everywhere merged in."""
        networks.merge_now(self.unet)
        found: dict[str, Mapping[nn.Module, Delta]] = {}
        for lora in loras:
            found[lora.key] = networks.network_deltas(self.nets[lora.name], lora)
        return found

    def check_interrupt(self) -> None:
        """Raises the host's ``InterruptedException`` after *Interrupt* or *Skip*."""
        if shared.state.interrupted or shared.state.skipped:
            raise sd_samplers_common.InterruptedException

    def show_progress(self, step: StepReport) -> None:
        """The remaining time, and a line beside the progress bar, where the settings page wants it."""
        self.clock.tell(step)
        if option("progress"):
            shared.state.textinfo = f"CLoRA: step {step.index + 1} of {shared.state.sampling_steps}, {_doing(step)}"

    def free_bytes(self) -> float | None:
        """What torch tells of the device."""
        return device.free_bytes(self.device)


def _doing(step: StepReport) -> str:
    """What a step was for, in words."""
    if step.losses:
        return "separating subjects"
    if step.locked:
        return "drawing inside frozen masks"
    return "finding masks" if step.areas else "composing"
