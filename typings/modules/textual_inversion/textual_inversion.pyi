# WebUI 1.10.1: modules/textual_inversion/textual_inversion.py

class Embedding:
    name: str
    vectors: int

class EmbeddingDatabase:
    word_embeddings: dict[str, Embedding]
