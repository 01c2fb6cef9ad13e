"""Prompts as people write them: which LoRA draws which words, and every branch's text. Pure strings, no host."""

from clora_ext.prompt.bind import BoundPrompt, bind, bind_or_merge
from clora_ext.prompt.bindings.add_words import add_words
from clora_ext.prompt.bindings.binding import BINDING_FIELDS, ROLES, Binding, Role
from clora_ext.prompt.bindings.edit import Shared, drop_tags, edit_binding, edit_shared, part_bindings
from clora_ext.prompt.bindings.masks import MASK_FIELDS, mask_key, with_masks
from clora_ext.prompt.bindings.objects import read_bindings
from clora_ext.prompt.bindings.own_mask import LARGEST, MASK_WAYS, MaskWay, mask_digest, picture_bytes
from clora_ext.prompt.bindings.text import format_bindings, parse_bindings
from clora_ext.prompt.branches import SubjectPlace
from clora_ext.prompt.grammar.spans import Span
from clora_ext.prompt.grammar.tags import Tag, find_tags, lora_key, remove_tags
from clora_ext.prompt.inspect import Inspection, LoraRow, PromptWord, inspect
from clora_ext.prompt.rules.facts import LoraFacts
from clora_ext.prompt.rules.question import Question
from clora_ext.prompt.rules.styles import Style
from clora_ext.prompt.rules.subjects import Subject

__all__ = [
    "BINDING_FIELDS",
    "LARGEST",
    "MASK_FIELDS",
    "MASK_WAYS",
    "ROLES",
    "Binding",
    "BoundPrompt",
    "Inspection",
    "LoraFacts",
    "LoraRow",
    "MaskWay",
    "PromptWord",
    "Question",
    "Role",
    "Shared",
    "Span",
    "Style",
    "Subject",
    "SubjectPlace",
    "Tag",
    "add_words",
    "bind",
    "bind_or_merge",
    "drop_tags",
    "edit_binding",
    "edit_shared",
    "find_tags",
    "format_bindings",
    "inspect",
    "lora_key",
    "mask_digest",
    "mask_key",
    "parse_bindings",
    "part_bindings",
    "picture_bytes",
    "read_bindings",
    "remove_tags",
    "with_masks",
]
