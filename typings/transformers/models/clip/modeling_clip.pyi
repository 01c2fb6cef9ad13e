# The tools' transformers: transformers/models/clip/modeling_clip.py

from torch import Tensor

class CLIPTextModelOutput:
    text_embeds: Tensor
    last_hidden_state: Tensor
    # Of the embeddings and of every layer, where they are asked for.
    hidden_states: tuple[Tensor, ...] | None
