"""Run by WebUI's own Python: ``python compare_kinds.py WEBUI CHECKOUT SCRATCH``: our kinds of LoRA and the host's.

Prints one JSON line a case of ``tests.lora.obvious_kinds``: the largest difference between the host's weight and ours,
or null where the host knows no such kind.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

from bare_host import start


def host_difference(parts: Mapping[str, Any], layer: Any) -> Any:
    """What the host's own classes add to the layer's weight; None where they refuse the parts."""
    import networks
    from network import Network, NetworkWeights

    net = Network("net", None)
    net.unet_multiplier = 0.7
    weights = NetworkWeights("lora_unet_layer", "diffusion_model_layer", dict(parts), layer)
    modules = (kind.create_module(net, weights) for kind in networks.module_types)
    module = next((module for module in modules if module is not None), None)
    return None if module is None else module.calc_updown(layer.weight)[0].reshape(layer.weight.shape)


def our_difference(parts: Mapping[str, Any], layer: Any) -> Any:
    """The same by our kinds."""
    from clora_ext.lora.deltas import LowRank
    from clora_ext.lora.kinds import delta_of_parts

    delta = delta_of_parts(parts, layer.weight, 0.7)
    if not isinstance(delta, LowRank):
        return delta.weight
    return (delta.up.flatten(1) @ delta.down.flatten(1) * delta.scale).reshape(layer.weight.shape)


def layer_of(shape: tuple[int, ...]) -> Any:
    """A layer with a weight of that shape."""
    from torch import nn

    if len(shape) == 1:
        return nn.GroupNorm(2, *shape)
    return nn.Linear(*reversed(shape)) if len(shape) == 2 else nn.Conv2d(shape[1], shape[0], shape[2:])


def main() -> None:
    """All cases."""
    start()
    import torch

    from tests.lora.obvious_kinds import cases

    torch.manual_seed(0)
    with torch.no_grad():
        for name, (parts, shape, _) in cases().items():
            layer = layer_of(shape)
            theirs, ours = host_difference(parts, layer), our_difference(parts, layer)
            far = None if theirs is None or ours is None else float((theirs - ours).abs().max())
            print(json.dumps({"case": name, "far": far}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
