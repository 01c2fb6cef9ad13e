"""The ways to merge in a plain line each, for people who choose one."""

from collections.abc import Mapping

WAYS: Mapping[str, str] = {
    "default": "Each as it is alone, and kept from the others; draws pictures with each LoRA, and takes the longest.",
    "span": "Layer by layer alone, with little memory and less exact.",
    "unrestricted": "Layer by layer alone, with all inputs of every layer.",
    "official": "As LoRACLR's authors released it: slower.",
    "fusion": "Each as it is alone, without keeping it from the others; draws a few pictures with each LoRA.",
    "ssr": "Sends each LoRA's own texts its own way; draws a few pictures with each LoRA.",
    "weighted_sum": "All added up, as WebUI draws with all tags.",
    "concat": "The same sum exactly, in a larger file.",
    "svd": "The same sum at a rank, by default the largest of the LoRAs.",
    "ties": "TIES: the largest fifth of each, by majority of sign.",
    "dare": "DARE: a random fifth of each, five times as large.",
    "core_ties": "TIES between the directions that all share.",
    "orthogonal": "Each is made blind to what the others read most, then added up.",
}
"""By name."""
