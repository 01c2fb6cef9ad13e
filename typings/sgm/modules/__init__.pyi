# WebUI 1.10.1: repositories/generative-models/sgm/modules/__init__.py

from modules.sd_hijack_clip import PromptChunk
from torch import Tensor, nn

# The methods are WebUI's own (modules/sd_models_xl.py) and ask the first encoder that can answer.
class GeneralConditioner(nn.Module):
    embedders: nn.ModuleList

    def tokenize(self, texts: list[str]) -> list[list[int]]: ...
    def process_texts(self, texts: list[str]) -> tuple[list[list[PromptChunk]], int]: ...
    def get_target_prompt_token_count(self, token_count: int) -> int: ...
    def forward(
        self, batch: dict[str, object], force_zero_embeddings: list[str] | None = None
    ) -> dict[str, Tensor]: ...
