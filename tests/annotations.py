"""Checks the annotations of a function on every call: types, and the shapes of tensors."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""As annotations are read by PEP 484: a whole number is a number."""
