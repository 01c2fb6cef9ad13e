# The tools' transformers: transformers/modeling_outputs.py

from torch import Tensor

class BaseModelOutputWithPooling:
    last_hidden_state: Tensor
    pooler_output: Tensor
    # Of the embeddings and of every layer, where they are asked for.
    hidden_states: tuple[Tensor, ...] | None
