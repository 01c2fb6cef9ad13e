"""Prompts as people write them: which LoRA draws which words, and every branch's text. Pure strings, no host."""

from clora_ext.prompt.asks import LoraFacts
from clora_ext.prompt.binding import Bound, Style, Subject, bind
from clora_ext.prompt.lines import format_requests, parse_requests
from clora_ext.prompt.outlook import Outlook, outlook
from clora_ext.prompt.requests import FIELDS, ROLES, Request, Role, read_requests
from clora_ext.prompt.tags import Span, Tag, find_tags, remove_tags
from clora_ext.prompt.texts import Place
from clora_ext.prompt.writing import write

__all__ = [
    "FIELDS",
    "ROLES",
    "Bound",
    "LoraFacts",
    "Outlook",
    "Place",
    "Request",
    "Role",
    "Span",
    "Style",
    "Subject",
    "Tag",
    "bind",
    "find_tags",
    "format_requests",
    "outlook",
    "parse_requests",
    "read_requests",
    "remove_tags",
    "write",
]
