"""Where something stands: characters of a text, or words of a prompt."""

Span = tuple[int, int]
"""A half-open range of characters of a text."""

WordSpan = tuple[int, ...]
"""Indices into ``PromptText.words``, in order. The words of a trigger need not be neighbours."""
