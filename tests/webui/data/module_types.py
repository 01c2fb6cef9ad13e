"""Run by WebUI's own Python: `python module_types.py WEBUI CHECKOUT SCRATCH`, prints one JSON line per kind of LoRA.

For every kind of module that the built-in Lora extension knows, a layer with some rows wearing it by our hooks is
compared with the same layer after the built-in extension has merged it. The line has the largest difference on the
rows that wear it, on the others, and how much the LoRA changes at all.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bare_host import start

start()  # first of all, for it puts WebUI's modules and ours where they can be imported

import network  # noqa: E402
import networks  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

Make = Callable[[nn.Module], nn.Module]
LAYER = "diffusion_model_probe"
ROWS = (True, False, True, True)


def values(*shape: int, scale: float = 0.2) -> Tensor:
    """Random numbers."""
    return torch.randn(shape) * scale


def linear() -> nn.Module:
    return nn.Linear(24, 16)


def bare_linear() -> nn.Module:
    return nn.Linear(24, 16, bias=False)


def conv(kernel: int = 3, stride: int = 1) -> nn.Module:
    return nn.Conv2d(12, 16, kernel, stride=stride, padding=kernel // 2)


def conv1() -> nn.Module:
    return conv(1)


def strided() -> nn.Module:
    return conv(3, 2)


def tiling() -> nn.Module:
    layer = conv(3)
    layer.padding_mode = "circular"
    return layer


def group_norm() -> nn.Module:
    return nn.GroupNorm(4, 12)


def layer_norm() -> nn.Module:
    return nn.LayerNorm(24)


def low_rank(rank: int = 4, outputs: int = 16, inputs: int = 24, *tail: int) -> dict[str, Tensor]:
    """Factors and alpha of a LoRA; `tail` is the kernel of a convolution."""
    return {
        "lora_down.weight": values(rank, inputs, *tail),
        "lora_up.weight": values(outputs, rank, *[1] * len(tail)),
        "alpha": torch.tensor(2.0),
    }


@dataclass(frozen=True)
class Kind:
    """A LoRA module: the layer it is for, its tensors, and what the extension must call it."""

    name: str
    layer: Callable[[], nn.Module]
    weights: dict[str, Tensor]
    module: str
    dyn: int | None = None


def kinds() -> list[Kind]:
    """One of every kind, and the forms in which it comes."""
    conv_rank, conv_kernel = low_rank(4, 16, 12, 1, 1), low_rank(4, 16, 12, 3, 3)
    no_alpha = {name: value for name, value in low_rank().items() if name != "alpha"}
    peft = {"lora_A.weight": values(4, 24), "lora_B.weight": values(16, 4), "alpha": torch.tensor(4.0)}
    cp = {**low_rank(4, 16, 12, 1, 1), "lora_mid.weight": values(4, 4, 3, 3)}
    hada = {
        "hada_w1_a": values(16, 4),
        "hada_w1_b": values(4, 24),
        "hada_w2_a": values(16, 4),
        "hada_w2_b": values(4, 24),
        "alpha": torch.tensor(4.0),
    }
    hada_conv = {
        "hada_w1_a": values(4, 16),
        "hada_w1_b": values(4, 12),
        "hada_t1": values(4, 4, 3, 3),
        "hada_w2_a": values(4, 16),
        "hada_w2_b": values(4, 12),
        "hada_t2": values(4, 4, 3, 3),
        "alpha": torch.tensor(4.0),
    }
    lokr = {"lokr_w1": values(4, 4), "lokr_w2": values(4, 6), "alpha": torch.tensor(1.0)}
    lokr_split = {
        "lokr_w1": values(4, 4),
        "lokr_w2_a": values(4, 2),
        "lokr_w2_b": values(2, 6),
        "alpha": torch.tensor(1.0),
    }
    lokr_conv = {"lokr_w1": values(4, 4), "lokr_w2": values(4, 3, 3, 3), "alpha": torch.tensor(1.0)}
    glora = {
        "a1.weight": values(4, 24),
        "a2.weight": values(24, 4),
        "b1.weight": values(4, 24),
        "b2.weight": values(16, 4),
        "alpha": torch.tensor(4.0),
    }
    skew = values(4, 4, 4, scale=0.1)
    return [
        Kind("lora", linear, low_rank(), "NetworkModuleLora"),
        Kind("lora-without-alpha", bare_linear, no_alpha, "NetworkModuleLora"),
        Kind("lora-peft-names", linear, peft, "NetworkModuleLora"),
        Kind("lora-dyn", linear, low_rank(), "NetworkModuleLora", dyn=2),
        Kind("lora-bias", linear, {**low_rank(), "bias": values(16, 24)}, "NetworkModuleLora"),
        Kind("lora-linear-on-conv-1x1", conv1, low_rank(4, 16, 12), "NetworkModuleLora"),
        Kind("lora-conv-1x1", conv1, conv_rank, "NetworkModuleLora"),
        Kind("lora-conv-3x3", conv, conv_kernel, "NetworkModuleLora"),
        Kind("lora-conv-3x3-stride", strided, conv_kernel, "NetworkModuleLora"),
        Kind("lora-conv-3x3-tiling", tiling, conv_kernel, "NetworkModuleLora"),
        Kind("lora-conv-cp", conv, cp, "NetworkModuleLora"),
        Kind("dora", linear, {**low_rank(), "dora_scale": values(1, 24).abs() + 0.5}, "NetworkModuleLora"),
        Kind("dora-conv", conv, {**conv_kernel, "dora_scale": values(1, 12, 1, 1).abs() + 0.5}, "NetworkModuleLora"),
        Kind("loha", linear, hada, "NetworkModuleHada"),
        Kind("loha-conv-cp", conv, hada_conv, "NetworkModuleHada"),
        Kind("lokr", linear, lokr, "NetworkModuleLokr"),
        Kind("lokr-factors", linear, lokr_split, "NetworkModuleLokr"),
        Kind("lokr-conv", conv, lokr_conv, "NetworkModuleLokr"),
        Kind("ia3-output", linear, {"weight": values(16), "on_input": torch.tensor(False)}, "NetworkModuleIa3"),
        Kind("ia3-input", linear, {"weight": values(24), "on_input": torch.tensor(True)}, "NetworkModuleIa3"),
        Kind("full", linear, {"diff": values(16, 24)}, "NetworkModuleFull"),
        Kind("full-bias", linear, {"diff": values(16, 24), "diff_b": values(16)}, "NetworkModuleFull"),
        Kind("full-conv-bias", conv, {"diff": values(16, 12, 3, 3), "diff_b": values(16)}, "NetworkModuleFull"),
        Kind("full-group-norm", group_norm, {"diff": values(12), "diff_b": values(12)}, "NetworkModuleFull"),
        Kind("norm-group", group_norm, {"w_norm": values(12), "b_norm": values(12)}, "NetworkModuleNorm"),
        Kind("norm-layer", layer_norm, {"w_norm": values(24), "b_norm": values(24)}, "NetworkModuleNorm"),
        Kind("glora", linear, glora, "NetworkModuleGLora"),
        Kind("oft-kohya", linear, {"oft_blocks": skew, "alpha": torch.tensor(0.01)}, "NetworkModuleOFT"),
        Kind("oft-lycoris", linear, {"oft_diag": values(4, 4, 4) + torch.eye(4)}, "NetworkModuleOFT"),
        Kind("oft-conv", conv, {"oft_blocks": skew, "alpha": torch.tensor(0.01)}, "NetworkModuleOFT"),
    ]  # fmt: skip


def module_of(net: Any, kind: Kind, layer: nn.Module) -> Any:
    """The extension's module for a kind's tensors, found as it finds it when it loads a file."""
    weights = network.NetworkWeights("lora_unet_probe", LAYER, dict(kind.weights), layer)
    made = [found for found in (known.create_module(net, weights) for known in networks.module_types) if found]
    return made[0]


def inputs(layer: nn.Module) -> Tensor:
    """Four rows for a layer: images for convolutions and group norms, tokens for the others."""
    wide = isinstance(layer, nn.Conv2d | nn.GroupNorm)
    return torch.randn(4, 12, 10, 8) if wide else torch.randn(4, 7, 24)


def compare(kind: Kind) -> dict[str, Any]:
    """Largest differences between our rows and the built-in merge."""
    from clora_ext.batch.context import Forward, ForwardContext
    from clora_ext.batch.rows import BranchLoras, Row
    from clora_ext.hosts.webui.drive.networks import delta_of
    from clora_ext.lora.routing import layer_deltas, loras_on_rows

    layer = kind.layer()
    layer.network_layer_name = LAYER
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    net = network.Network("probe", None)
    net.unet_multiplier, net.dyn_dim = 0.7, kind.dyn
    module = net.modules[LAYER] = module_of(net, kind, layer)
    x, rows = inputs(layer), tuple(Row(0, branch) for branch in range(4))

    with torch.no_grad():
        plain = layer(x)
        loras = BranchLoras({branch: ("probe",) if chosen else () for branch, chosen in enumerate(ROWS)})
        context, delta = ForwardContext(loras), delta_of(module, layer)
        layers = layer_deltas({"probe": {layer: delta}}, x.device, x.dtype)
        with loras_on_rows(layers, context), context.running(Forward(rows)):
            context.advance(len(rows))
            ours = layer(x)
        networks.loaded_networks[:] = [net]
        merged = layer(x)
        networks.loaded_networks[:] = []
        restored = layer(x)
    chosen = torch.tensor(ROWS)
    return {
        "kind": kind.name,
        "module": type(module).__name__,
        "delta": type(delta).__name__,
        "change": float((merged - plain).abs().max()),
        "worn": float((ours - merged)[chosen].abs().max()),
        "others_equal": torch.equal(ours[~chosen], plain[~chosen]),
        "restored": torch.equal(restored, plain),
        "hooks": len(layer._forward_hooks),
        "expected": kind.module,
    }


def main() -> None:
    """Compare every kind."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for kind in kinds():
        print(json.dumps(compare(kind)), flush=True)
    print(json.dumps({"known": [type(known).__name__ for known in networks.module_types]}), flush=True)


if __name__ == "__main__":
    main()
