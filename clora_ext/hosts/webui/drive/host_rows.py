"""The host's own rows: which text they stand for, and which LoRAs the host applies to them."""

from collections.abc import Sequence
from typing import Any

from modules import extra_networks

from clora_ext.engine.branches import ActiveLora
from clora_ext.engine.prepare import Prepared
from clora_ext.hosts.webui.drive import networks
from clora_ext.hosts.webui.drive.port import WebUIHost
from clora_ext.prompt import BoundPrompt, Style, Subject
from clora_ext.settings.request import KEY


def let_host_draw(p: Any, bound: Sequence[BoundPrompt], only: int | None = None) -> None:
    """All LoRAs on everything, or those of the subject ``only`` and the styles on it. Only what a binding adds to the
    prompt's tags, and the text of a single subject, is seen to.
    """
    first = bound[0]
    subjects = [each for each in first.subjects if each.leads] if only is None else [first.subjects[only]]
    styles = first.styles if only is None else tuple(style for style in first.styles if style.on in (None, only))
    worn: list[Subject | Style] = [*subjects, *styles]
    loras = [ActiveLora(part.lora, part.te, part.unet, part.dyn) for part in worn]
    nets = networks.load_networks([lora.name for lora in loras], lambda note: p.comment(f"{KEY}: {note}"))
    wanted = networks.add_strengths((lora.name, lora.te, lora.unet) for lora in loras)
    if networks.applied_by_host() != wanted:
        networks.let_host_apply(loras, nets)
        _mark_conditions(p.extra_network_data, repr(loras))
    if only is not None or len(first.subjects) == 1:
        p.prompts = [each.branches[only or 0] for each in bound]  # an explicit trigger is put in, those of others out


def take_over(p: Any, host: WebUIHost, prepared: Prepared) -> None:
    """Give the host the text that its own rows stand for in a pass; the other texts are ours."""
    settings, branches = prepared.settings, prepared.branches[0]
    first = 0 if settings.masked else 1
    host.load(branches, first)
    texts = [each.texts[first] for each in prepared.branches]
    words = [sorted(net.bundle_embeddings) for net in host.nets.values()]
    fingerprint = f"{settings.method} {branches.text_loras[first]!r} {branches.everywhere!r} {words!r}"
    if host.sampling.hires:
        p.hr_prompts = texts
        _mark_conditions(p.hr_extra_network_data, fingerprint)
    else:
        p.prompts = texts
        _mark_conditions(p.extra_network_data, fingerprint)


def take_loras(host: WebUIHost, prepared: Prepared) -> None:
    """Leave the host the LoRAs that are everywhere and those of its own rows' text; the rest is ours."""
    branches = prepared.branches[0]
    own = branches.text_loras[host.host_branch]
    host.written = {name: net.unet_multiplier for name, net in host.nets.items()}
    networks.let_host_apply([*branches.everywhere, *own], host.nets)


def _mark_conditions(data: dict[str, Any], fingerprint: str) -> None:
    """Make the host's cache of conditions tell ours from those of an ordinary job with the same prompt."""
    items = [fingerprint.replace("=", " ")]
    data["clora"] = [extra_networks.ExtraNetworkParams(items=items)]
