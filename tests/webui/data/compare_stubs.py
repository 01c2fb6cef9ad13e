"""Run by WebUI's own Python: ``python compare_stubs.py WEBUI CHECKOUT SCRATCH``, prints one JSON line per stub.

The line has the stub's module, how many names were compared, and what is not so. See tests/stubs.
"""

import importlib
import json
import sys
from types import ModuleType
from typing import Any

from bare_host import CHECKOUT, SCRATCH, WEBUI, start


def module_of(name: str) -> ModuleType:
    """The module that a stub is of; scripts are not imported by name."""
    if name != "xyz_grid":
        return importlib.import_module(name)
    from modules import scripts

    found = next(data.module for data in scripts.scripts_data if data.module.__name__ == "xyz_grid.py")
    sys.modules[found.__name__] = found  # where ``inspect`` looks for a class's source
    return found


def objects() -> list[Any]:
    """Objects that are cheap to make, so that the types of their attributes can be compared."""
    from modules import extra_networks, infotext_utils, options, prompt_parser, rng, sd_hijack_clip, sd_samplers

    chunk = sd_hijack_clip.PromptChunk()
    sampler = sd_samplers.all_samplers[0]
    components = _components()
    return [
        chunk,
        sampler,
        extra_networks.ExtraNetworkParams(items=["cat", "te=0.5", 1.0]),
        options.OptionInfo(True, "Label", section=("id", "Section")),
        prompt_parser.SdConditioning(["a cat"], width=64, height=64),
        prompt_parser.ComposableScheduledPromptConditioning([]),
        prompt_parser.MulticondLearnedConditioning(shape=(0,), batch=[]),
        rng.ImageRNG((4, 8, 8), [1]),
        infotext_utils.PasteField(components[0], "Steps", api="steps"),
        *components,
        *_networks(),
    ]


def _components() -> list[Any]:
    import gradio as gr

    return [
        gr.Textbox(label="text"),
        gr.Button("press"),
        gr.Checkbox(),
        gr.Dropdown(["a"], value="a"),
        gr.Slider(0, 1),
        gr.Number(1.0),
        gr.Radio(["a"]),
        gr.HTML("text"),
        gr.Row(),
    ]


def _networks() -> list[Any]:
    """A LoRA's file, the network that it makes, and one module of it."""
    import network
    import network_lora
    import torch
    from safetensors.torch import save_file

    tensors = {"lora_up.weight": torch.zeros(16, 2), "lora_down.weight": torch.zeros(2, 24), "alpha": torch.tensor(2.0)}
    file = SCRATCH / "probe.safetensors"
    save_file(tensors, file, {"ss_output_name": "probe"})
    on_disk = network.NetworkOnDisk("probe", str(file))
    net = network.Network("probe", on_disk)
    weights = network.NetworkWeights("lora_unet_probe", "diffusion_model_probe", tensors, torch.nn.Linear(24, 16))
    module = network_lora.ModuleTypeLora().create_module(net, weights)
    net.modules["diffusion_model_probe"] = module
    return [on_disk, net, weights, module]


def main() -> None:
    """Compare all."""
    start()
    sys.path.insert(0, str(CHECKOUT / "tests"))
    from stubs.comparison import Comparison
    from stubs.reading import held, read

    stubs = [stub for stub in read(CHECKOUT / "typings") if not stub.of_tools]
    modules = {stub.name: module_of(stub.name) for stub in stubs}
    instances = held(stubs, modules)
    for made in objects():
        for kind in type(made).__mro__:
            instances.setdefault(kind.__name__, made)
    for stub in stubs:
        found = Comparison(stub, modules[stub.name], instances, (WEBUI, CHECKOUT))
        print(json.dumps({"stub": stub.name, "compared": found.compared, "lies": found.lies}), flush=True)


if __name__ == "__main__":
    main()
