# WebUI 1.10.1: modules/sd_hijack.py

from modules.sd_hijack_clip import TextConditionalModel
from modules.sd_models_types import WebuiSdModel
from modules.textual_inversion.textual_inversion import EmbeddingDatabase
from sgm.modules import GeneralConditioner

class StableDiffusionModelHijack:
    # None before a model is loaded.
    clip: TextConditionalModel | GeneralConditioner | None
    optimization_method: str | None
    circular_enabled: bool
    comments: list[str]
    embedding_db: EmbeddingDatabase
    extra_generation_params: dict[str, str]

    def apply_optimizations(self, option: str | None = None) -> None: ...
    def hijack(self, m: WebuiSdModel) -> None: ...
    def undo_hijack(self, m: WebuiSdModel) -> None: ...

model_hijack: StableDiffusionModelHijack

def undo_optimizations() -> None: ...
