"""The random checkpoint of the authors' reference outputs as a WebUI's model."""

from pathlib import Path

from tests.golden.authors.rebuild import parity_folder
from tests.obvious.loras import write_loras
from tests.webui.server import Model


def random_model(folder: Path) -> Model:
    """Random SD1 checkpoint with LoRAs: noise to the eye, exact to compare.

    tinyA and tinyB belong to the authors' reference outputs, tinyC, tinyConv and tinyStyle to our own, which are
    written into ``folder``.
    """
    made = parity_folder()
    checkpoint = made / "checkpoint" / "tiny-sd1.safetensors"
    authors = sorted((made / "lora").glob("*.safetensors"))
    ours = write_loras(folder, made / "lora" / "tinyA.safetensors")
    return Model(
        checkpoint=checkpoint,
        config=checkpoint.with_suffix(".yaml"),
        tokenizer=made / "tiny-clip",
        loras=(*authors, *ours.values()),
    )
