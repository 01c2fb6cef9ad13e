"""The tiny worlds as a WebUI's model, for tests, benchmarks and the README's picture."""

from tests.webui.server import Model
from tiny_world.model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS
from tiny_world.xl_model import XL_CHECKPOINT, XL_CONFIG, XL_WEIGHTS, tokenizer_folder


def tiny_world(*folders: str) -> Model:
    """The checkpoint with the LoRAs of `lora` (the first training), or of other folders of the weights."""
    loras = tuple(path for name in folders or ("lora",) for path in sorted((WEIGHTS / name).glob("*.safetensors")))
    return Model(checkpoint=CHECKPOINT, config=CONFIG, tokenizer=TOKENIZER, loras=loras)


def xl_world() -> Model:
    """The world of SDXL's topology with its LoRAs."""
    loras = tuple(sorted((XL_WEIGHTS / "lora").glob("*.safetensors")))
    return Model(checkpoint=XL_CHECKPOINT, config=XL_CONFIG, tokenizer=tokenizer_folder(), loras=loras)
