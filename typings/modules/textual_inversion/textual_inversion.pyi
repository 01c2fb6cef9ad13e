# WebUI 1.10.1: modules/textual_inversion/textual_inversion.py

from modules.sd_models_types import WebuiSdModel

class Embedding:
    name: str
    vectors: int
    # Numbers of a vector.
    shape: int

class EmbeddingDatabase:
    word_embeddings: dict[str, Embedding]
    # Numbers of a vector of the loaded model; -1 before it is known.
    expected_shape: int

    def register_embedding(self, embedding: Embedding, model: WebuiSdModel) -> Embedding: ...
