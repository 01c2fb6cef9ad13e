"""Embeddings that LoRA files bring along: in the host's vocabulary while a job has their LoRA, whoever applies that.

The host takes embeddings out of its vocabulary when it next loads LoRAs, if it finds them in a network that it applies.
A LoRA that is bound is not among those, so an empty network carries its embeddings.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from modules import sd_hijack, shared

from clora_ext.hosts.webui.drive.catalogue import builtin

_CARRIER = "embeddings of bound LoRAs"


def bring_embeddings(net: Any) -> Iterator[str]:
    """Put the embeddings of ``net`` into the host's vocabulary, where it has not; notes on those that do not fit.

    The host's own rule (extensions-builtin/Lora/networks.py): a word that is known already keeps its meaning.
    """
    words = sd_hijack.model_hijack.embedding_db
    brought: dict[str, Any] = {}
    for name, embedding in net.bundle_embeddings.items():
        if name in words.word_embeddings:
            continue
        if words.expected_shape not in (-1, embedding.shape):
            yield f"the embedding {name} of LoRA {net.mentioned_name} is for another kind of model and is not read"
            continue
        embedding.loaded = True
        words.register_embedding(embedding, shared.sd_model)
        brought[name] = embedding
    if brought:
        builtin().loaded_networks.append(_carrier(brought))


def carriers(nets: Sequence[Any]) -> list[Any]:
    """A network of nothing but the embeddings of ``nets`` that are in the host's vocabulary, if there are any."""
    brought: dict[str, Any] = {}
    for net in nets:
        brought |= {name: one for name, one in net.bundle_embeddings.items() if one.loaded}
    return [_carrier(brought)] if brought else []


def _carrier(embeddings: dict[str, Any]) -> Any:
    found = builtin().network.Network(_CARRIER, None)
    found.bundle_embeddings = embeddings
    return found
