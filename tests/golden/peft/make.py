"""Made `adapters.safetensors` with PEFT 0.21.2: `python make.py`, where that is installed.

Small layers with random adapters of every kind that PEFT writes in another way than LyCORIS: of each layer the weight
before and after PEFT has merged the adapter, and the adapter's file. The configurations stand in the metadata.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import IA3Config, LoHaConfig, LoKrConfig, OFTConfig, PeftConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
BOTH = {"target_modules": ["to_k", "conv1"], "init_weights": False}
OFT = {**BOTH, "r": 0, "oft_block_size": 4}
CASES: Mapping[str, PeftConfig] = {
    "ia3": IA3Config(target_modules=["to_k", "ff"], feedforward_modules=["ff"], init_ia3_weights=False),
    "oft": OFTConfig(**OFT),
    "oft-shared": OFTConfig(**OFT, block_share=True),
    "oft-terms": OFTConfig(**OFT, num_cayley_neumann_terms=7),
    "oft-exact": OFTConfig(**OFT, use_cayley_neumann=False),
    "loha": LoHaConfig(**BOTH, r=2, alpha=8),
    "lokr": LoKrConfig(**BOTH, r=2, alpha=8),
}


class Layers(nn.Module):
    """As a UNet has them, and smaller."""

    def __init__(self) -> None:
        super().__init__()
        self.to_k = nn.Linear(12, 20, bias=False)
        self.ff = nn.Linear(12, 20)
        self.conv1 = nn.Conv2d(4, 6, 3, padding=1)


def made(name: str, config: PeftConfig) -> dict[str, Tensor]:
    """All tensors of a case."""
    model = get_peft_model(Layers(), config)
    layers = {layer: getattr(model.base_model.model, layer) for layer in config.target_modules}
    found = {f"{name}/{layer}/weight": each.base_layer.weight.detach().clone() for layer, each in layers.items()}
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        written = load_file(Path(folder) / "adapter_model.safetensors")
    found |= {f"{name}/file/{key}": tensor for key, tensor in written.items()}
    for layer, each in layers.items():
        each.merge()
        found[f"{name}/{layer}/merged"] = each.base_layer.weight.detach().clone()
    return found


def main() -> None:
    """Write the file."""
    torch.manual_seed(0)
    tensors: dict[str, Tensor] = {}
    for name, config in CASES.items():
        tensors |= made(name, config)
    told = {name: json.dumps(config.to_dict(), default=sorted) for name, config in CASES.items()}
    save_file(tensors, HERE / "adapters.safetensors", told)


if __name__ == "__main__":
    main()
