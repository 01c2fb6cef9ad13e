# WebUI 1.10.1: modules/extra_networks.py

from typing import Any

from modules.processing import StableDiffusionProcessing

_Data = dict[str, list[ExtraNetworkParams]]

extra_network_registry: dict[str, ExtraNetwork]
extra_network_aliases: dict[str, ExtraNetwork]

class ExtraNetworkParams:
    # Parts of a tag as typed, and whatever an extension puts there; those of the form name=value are in ``named``.
    items: list[Any]
    positional: list[Any]
    named: dict[str, str]

    def __init__(self, items: list[Any] | None = None) -> None: ...

class ExtraNetwork:
    name: str

    def __init__(self, name: str) -> None: ...
    def activate(self, p: StableDiffusionProcessing, params_list: list[ExtraNetworkParams]) -> None: ...
    def deactivate(self, p: StableDiffusionProcessing) -> None: ...

def activate(p: StableDiffusionProcessing, extra_network_data: _Data) -> None: ...
def deactivate(p: StableDiffusionProcessing, extra_network_data: _Data) -> None: ...
def parse_prompt(prompt: str) -> tuple[str, _Data]: ...
def parse_prompts(prompts: list[str]) -> tuple[list[str], _Data | None]: ...
def register_extra_network(extra_network: ExtraNetwork) -> None: ...
