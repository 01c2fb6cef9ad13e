# The tools' transformers: transformers/modeling_outputs.py

from torch import Tensor

class BaseModelOutputWithPooling:
    last_hidden_state: Tensor
    pooler_output: Tensor
