"""The tiny world as a WebUI's model, for tests, benchmarks and the README's picture."""

from tests.webui.server import Model
from tiny_world.model import CHECKPOINT, CONFIG, TOKENIZER, WEIGHTS


def tiny_world(*folders: str) -> Model:
    """The checkpoint with the LoRAs of `lora` (the first training), or of other folders of the weights."""
    loras = tuple(path for name in folders or ("lora",) for path in sorted((WEIGHTS / name).glob("*.safetensors")))
    return Model(checkpoint=CHECKPOINT, config=CONFIG, tokenizer=TOKENIZER, loras=loras)
